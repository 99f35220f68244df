"""The compiled pipeline: one YAML file of kfp's intermediate representation, byte-identical between compilations of equal sources."""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

from pipelines.profiles import Profile


def compile_pipeline(output: Path, profile: Profile | None = None) -> None:
    """Compiles the training pipeline into a YAML file, replacing it only when the compilation succeeds."""
    text = compiled_text(profile)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=output.parent, prefix=f".{output.name}.", delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, output)


def compiled_text(profile: Profile | None = None) -> str:
    """The compiled training pipeline as YAML text; with a profile, a second document holds what Kubernetes is told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import compiler

        from pipelines.training import training_pipeline

        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "pipeline.yaml"
            compiler.Compiler().compile(training_pipeline(profile), str(path))
            text = path.read_text(encoding="utf-8")
    # kfp's leading comment prints the structs' fields in an order that changes from process to process; the document itself is sorted.
    document = [line for line in text.splitlines(keepends=True) if not line.startswith("#")]
    return "# Compiled by `nann pipeline compile`; edit pipelines/training.py instead.\n" + "".join(document)


def compiled_spec() -> dict[str, Any]:
    """The compiled training pipeline as a parsed document."""
    import yaml

    document: dict[str, Any] = next(yaml.safe_load_all(compiled_text()))
    return document
