"""The whole DAG in containers of the image of these sources, where there is one: the numbers of a run here, and a failure that is told."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from components.image import image
from nann.steps.table import NAMES_OF
from pipelines.cli import main
from pipelines.containers import EngineError, engine_address, require_image

pytestmark = pytest.mark.slow
docker = pytest.importorskip("docker")
CONFIG = """
generate: {users: 600, items: 400, categories: 12, events_per_user: 14}
convert: {shards: 1, max_length: 12, threads: 1}
train: {emb_dim: 8, batch_size: 64, num_neg: 16, max_steps: 40, xla: false}
rewrite: {ef: [60, 20], rounds: [4, 1], top_k: 50}
evaluate: {ks: [20, 50], curve_users: 0}
benchmark: {warmup_seconds: 0, duration_seconds: 0.5}
"""


def run(directory: Path, name: str, *arguments: str) -> Result:
    (directory / "config.yaml").write_text(CONFIG)
    fixed = ["pipeline", "run", "--run-dir", str(directory / name), "--config", str(directory / "config.yaml")]
    return CliRunner().invoke(main, [*fixed, *arguments])


@pytest.fixture(scope="module", autouse=True)
def _image_of_these_sources() -> None:
    try:
        with engine_address() as address:
            client = docker.DockerClient(base_url=address)
            require_image(client, image())
            client.close()
    except (EngineError, docker.errors.DockerException) as error:
        pytest.skip(f"no image of these sources to run in: {error}")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    for name, runner in (("processes", "process"), ("containers", "docker")):
        result = run(directory, name, "--runner", runner)
        assert result.exit_code == 0, result.output
    return directory


def test_the_same_numbers_in_containers_and_in_processes(runs: Path) -> None:
    here, there = (json.loads((runs / name / "evaluation" / "metrics.json").read_text()) for name in ("processes", "containers"))
    assert there == here
    summary = json.loads((runs / "containers" / "summary.json").read_text())
    assert (summary["state"], summary["failed_step"]) == ("SUCCEEDED", "")
    assert [entry["status"] for entry in summary["steps"]] == ["done"] * len(NAMES_OF["training"])


def test_a_step_that_fails_on_purpose_fails_the_run(runs: Path) -> None:
    # Only training is new; conversion finds its dataset, and nothing after the failure may start.
    result = run(runs, "containers", "--runner", "docker", "--set", "train.learning_rate=1e30", "--overwrite")
    assert result.exit_code == 1
    assert "error: step train failed: the loss is " in result.stderr
    summary = json.loads((runs / "containers" / "summary.json").read_text())
    assert (summary["state"], summary["failed_step"]) == ("FAILED", "train")
    assert summary["error"].startswith("the loss is ")
    statuses = {entry["step"]: entry["status"] for entry in summary["steps"]}
    assert statuses == {"convert": "done", "train": "failed", **dict.fromkeys(NAMES_OF["training"][2:], "not run")}
