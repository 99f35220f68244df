"""The compiled DAG against golden files, one per profile; after an intended change: `python tests/pipelines/test_compilation.py`."""

import difflib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from components.image import image
from nann.digests import code_digest
from nann.steps.table import STEP_BY_NAME, TRAINING_STEPS
from pipelines.cli import main
from pipelines.compilation import compiled_spec, compiled_text, steps_dag
from pipelines.profiles import profile_names, read_profile

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"


def normalised(text: str) -> str:
    """Without what changes with every commit or release: images, code digest, SDK version."""
    for flavour in ("cpu", "gpu"):
        text = text.replace(image(flavour), f"IMAGE-{flavour}")
    return re.sub(r"(?m)^sdkVersion: .*$", "sdkVersion: SDK", text.replace(code_digest(), "CODE_DIGEST"))


GOLDENS = [*(("training", profile) for profile in profile_names()), ("retraining", "cpu")]


def compiled(dag: str, profile: str) -> str:
    return normalised(compiled_text(dag, read_profile(profile)))


@pytest.mark.parametrize(("dag", "profile"), GOLDENS)
def test_golden(dag: str, profile: str) -> None:
    found, golden = compiled(dag, profile), (GOLDEN / f"{dag}-{profile}.yaml").read_text()
    difference = difflib.unified_diff(golden.splitlines(), found.splitlines(), "golden", "compiled", lineterm="", n=1)
    assert found == golden, "write it anew if that is intended: python tests/pipelines/test_compilation.py\n" + "\n".join(difference)


def test_compilations_are_byte_identical_between_processes(tmp_path: Path) -> None:
    code = "import sys; from pipelines.cli import main; main(['pipeline', 'compile', '--output', sys.argv[1]])"
    for name in ("a.yaml", "b.yaml"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], cwd=ROOT, check=True, capture_output=True, timeout=120)
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()


def test_the_dag_is_the_table_of_steps() -> None:
    spec = compiled_spec()
    tasks = steps_dag(spec)["tasks"]
    assert set(tasks) == {step.name for step in TRAINING_STEPS}
    for name, task in tasks.items():
        artifacts = task["inputs"].get("artifacts", {})
        assert set(artifacts) == set(STEP_BY_NAME[name].reads), name
        outputs = spec["components"][task["componentRef"]["name"]]["outputDefinitions"]["artifacts"]
        assert {STEP_BY_NAME[name].writes, "metrics", "summary"} <= set(outputs), name


def test_every_task_carries_what_keeps_caches_honest() -> None:
    for name, task in steps_dag(compiled_spec())["tasks"].items():
        parameters = task["inputs"]["parameters"]
        assert parameters["code_digest"] == {"componentInputParameter": "pipelinechannel--code_digest"}, name
        source = str(parameters["input_digest"])
        assert "input_digest" in source if name == "convert" else "Output" in source, name


def test_images_are_pinned_and_nothing_is_installed_at_run_time() -> None:
    for executor in compiled_spec()["deploymentSpec"]["executors"].values():
        assert not executor["container"]["image"].endswith(":latest")
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_command_writes_yaml_and_picture(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["pipeline", "compile", "--output", str(tmp_path / "new" / "dag.yaml"), "--picture", str(tmp_path / "dag.svg")]
    )
    assert result.exit_code == 0, result.output
    assert yaml.safe_load((tmp_path / "new" / "dag.yaml").read_text())["pipelineInfo"]["name"] == "nann-training"
    assert (tmp_path / "dag.svg").read_text().startswith("<svg")
    assert CliRunner().invoke(main, ["pipeline", "compile", "--output", str(tmp_path / "dag.json")]).exit_code == 2


def test_the_exit_task_runs_whatever_happened_and_is_never_cached() -> None:
    tasks = compiled_spec()["root"]["dag"]["tasks"]
    assert set(tasks) == {"exit-handler-1", "summarise"}
    exit_task = tasks["summarise"]
    assert exit_task["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert exit_task["dependentTasks"] == ["exit-handler-1"]
    assert exit_task["inputs"]["parameters"]["status"] == {"taskFinalStatus": {"producerTask": "exit-handler-1"}}
    assert not exit_task["cachingOptions"].get("enableCache")


@pytest.mark.parametrize("dag", ["training", "retraining"])
def test_every_parameter_of_the_pipeline_is_described(dag: str) -> None:
    for name, parameter in compiled_spec(dag)["root"]["inputDefinitions"]["parameters"].items():
        assert parameter["parameterType"] in {"LIST", "STRING", "BOOLEAN", "STRUCT"}, name
        assert len(parameter["description"].split()) > 3, name
        assert ("defaultValue" in parameter) == (name not in ("inputs", "service")), name


@pytest.mark.parametrize("dag", ["training", "retraining"])
def test_every_task_shows_metrics_a_summary_and_a_page(dag: str) -> None:
    spec = compiled_spec(dag)
    for name, task in steps_dag(spec)["tasks"].items():
        outputs = spec["components"][task["componentRef"]["name"]]["outputDefinitions"]["artifacts"]
        kinds = {key: output["artifactType"]["schemaTitle"] for key, output in outputs.items()}
        assert (kinds["metrics"], kinds["summary"], kinds["page"]) == ("system.Metrics", "system.Markdown", "system.HTML"), name


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for dag, profile in GOLDENS:
        (GOLDEN / f"{dag}-{profile}.yaml").write_text(compiled(dag, profile))
