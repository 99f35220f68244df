"""The compiled pipeline: one YAML file of kfp's intermediate representation, byte-identical between compilations of equal sources."""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

from components.steps import load_object

DAGS = {"training": "pipelines.training:training", "conversion": "pipelines.conversion:conversion"}


def compile_pipeline(output: Path, dag: str = "training") -> None:
    """Compiles a pipeline of `DAGS` into a YAML file, replacing it only when the compilation succeeds."""
    text = compiled_text(dag)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=output.parent, prefix=f".{output.name}.", delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, output)


def compiled_text(dag: str = "training") -> str:
    """A compiled pipeline of `DAGS` as YAML text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import compiler

        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "pipeline.yaml"
            compiler.Compiler().compile(load_object(DAGS[dag]), str(path))
            text = path.read_text(encoding="utf-8")
    # kfp's leading comment prints the structs' fields in an order that changes from process to process; the document itself is sorted.
    document = [line for line in text.splitlines(keepends=True) if not line.startswith("#")]
    return f"# Compiled by `nann pipeline compile`; edit pipelines/{dag}.py instead.\n" + "".join(document)


def compiled_spec(dag: str = "training") -> dict[str, Any]:
    """A compiled pipeline of `DAGS` as a parsed document."""
    import yaml

    document: dict[str, Any] = yaml.safe_load(compiled_text(dag))
    return document
