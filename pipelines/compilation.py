"""The compiled pipeline: one YAML file of kfp's intermediate representation, byte-identical between compilations of equal sources."""

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.errors import ConfigError
from data_prep.durable import write_file
from nann.steps.table import load_object
from pipelines.profiles import Profile

DAGS = {
    "training": "pipelines.training:training",
    "retraining": "pipelines.retraining:retraining",
    "conversion": "pipelines.conversion:conversion",
}
# What an exit task alone takes: how the tasks before it ended.
STATUS_INPUT = "taskFinalStatus"
# Those that can be made with the resources of a profile.
FACTORIES = {
    "training": "pipelines.training:training_pipeline",
    "retraining": "pipelines.retraining:retraining_pipeline",
}


def compile_pipeline(output: Path, dag: str = "training", profile: Profile | None = None) -> None:
    """Compiles a pipeline of `DAGS` into a YAML file, replacing it only when the compilation succeeds."""
    text = compiled_text(dag, profile)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_file(output, text)


def compiled_text(dag: str = "training", profile: Profile | None = None) -> str:
    """A compiled pipeline of `DAGS` as YAML text; with a profile, a second document holds what Kubernetes is told.

    Raises:
        ConfigError: a profile is given for a pipeline that takes none.
    """
    if profile is not None and dag not in FACTORIES:
        raise ConfigError(f"the pipeline {dag!r} takes no profile; those that do: {', '.join(FACTORIES)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import compiler

        pipeline = load_object(DAGS[dag]) if profile is None else load_object(FACTORIES[dag])(profile)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "pipeline.yaml"
            compiler.Compiler().compile(pipeline, str(path))
            text = path.read_text(encoding="utf-8")
    # kfp's leading comment prints the structs' fields in an order that changes from process to process; the document itself is sorted.
    document = [line for line in text.splitlines(keepends=True) if not line.startswith("#")]
    return f"# Compiled by `nann pipeline compile`; edit pipelines/{dag}.py instead.\n" + "".join(document)


def compiled_spec(dag: str = "training") -> dict[str, Any]:
    """A compiled pipeline of `DAGS` as a parsed document."""
    import yaml

    document: dict[str, Any] = next(yaml.safe_load_all(compiled_text(dag)))
    return document


def cluster_spec(dag: str = "training", profile: Profile | None = None) -> dict[str, Any]:
    """A compiled pipeline as the API takes it: the document, or both of them when there is one for Kubernetes."""
    return parsed_spec(compiled_text(dag, profile))


def parsed_spec(text: str) -> dict[str, Any]:
    """The text of a compiled pipeline as the API takes it (see `cluster_spec`)."""
    import yaml

    documents: list[dict[str, Any]] = list(yaml.safe_load_all(text))
    return documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}


def steps_dag(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The DAG of a compiled pipeline that holds its steps: the one an exit task waits for, or the outermost where there is none."""
    dag: dict[str, Any] = spec["root"]["dag"]
    for task in dag["tasks"].values():
        for parameter in task.get("inputs", {}).get("parameters", {}).values():
            if STATUS_INPUT in parameter:
                group = dag["tasks"][parameter[STATUS_INPUT]["producerTask"]]
                return dict(spec["components"][group["componentRef"]["name"]]["dag"])
    return dag


def with_caching(spec: dict[str, Any], enabled: bool, *, inputs_known: bool = False) -> dict[str, Any]:
    """The document with its tasks' caches as asked for.

    A task that reads what its inputs do not describe never has a cache in the compiled document: the exit task, and the first step, which
    reads logs by their paths.

    Args:
        spec: the compiled pipeline.
        enabled: false turns the cache of every task off.
        inputs_known: the parameter ``input_digest`` identifies the contents of the logs, so the steps that take it may be cached too.
    """
    for dag in [spec["root"]["dag"], *(component["dag"] for component in spec.get("components", {}).values() if "dag" in component)]:
        for task in dag["tasks"].values():
            reads_logs = "inputs" in task.get("inputs", {}).get("parameters", {}) and "input_digest" in task["inputs"]["parameters"]
            if not enabled:
                task["cachingOptions"] = {}
            elif inputs_known and reads_logs:
                task["cachingOptions"] = {"enableCache": True}
    return spec
