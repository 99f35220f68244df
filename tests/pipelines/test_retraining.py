"""The DAG of retraining, through kfp's local runner, on two successive windows of a generated log; and its compiled form."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nann.artifacts import open_artifact
from nann.service.shelf import Shelf
from nann.steps.table import RETRAINING_STEPS
from pipelines.cli import main
from pipelines.compilation import compiled_spec, steps_dag
from pipelines.runner import read_timings
from pipelines.schedules import read_schedule

CONFIG = """
generate: {users: 200, items: 150, categories: 6, events_per_user: 16, days: 4}
convert: {shards: 1, max_length: 10}
train: {emb_dim: 4, batch_size: 16, num_neg: 8, max_steps: 12, keep: last, xla: false, keep_moments: true, embedding: adaptive,
        promote_after: 3, shared_rows: 16, evict_after: 5}
rewrite: {ef: [50, 10], rounds: [2, 1], top_k: 50}
evaluate: {ks: [20, 50], curve_users: 0}
benchmark: {warmup_seconds: 0, duration_seconds: 0.2}
gate: {k: 50, min_users: 5, latency_requests: 3, min_coverage: 0, min_baseline_ratio: 0, max_recall_loss: 1, max_coverage_loss: 1,
       max_catalogue_loss: 1, max_latency_ratio: 0}
"""


def nann(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_only_conversion_and_training_go_on_from_what_is_in_service() -> None:
    tasks = steps_dag(compiled_spec("retraining"))["tasks"]
    assert set(tasks) == {step.name for step in RETRAINING_STEPS}
    readers = {name for name, task in tasks.items() if "in_service" in task["inputs"].get("artifacts", {})}
    assert readers == {"convert", "check-data", "train", "gate"}
    for name in ("in-service", "check-data", "publish"):
        assert not tasks[name]["cachingOptions"].get("enableCache"), name
    for name in ("in-service", "publish"):
        assert "service" in tasks[name]["inputs"]["parameters"]
    assert "check-data" in tasks["train"]["dependentTasks"]
    assert {"evaluate", "benchmark"} <= set(tasks["gate"]["dependentTasks"])
    assert "publish" in tasks["report"]["dependentTasks"]


def test_the_schedule_fits_the_pipeline() -> None:
    _, schedule = read_schedule("daily-retraining")
    assert schedule.pipeline == "retraining"
    parameters = compiled_spec("retraining")["root"]["inputDefinitions"]["parameters"]
    filled = schedule.filled_parameters()
    assert set(filled) <= set(parameters)
    assert {name for name, parameter in parameters.items() if "defaultValue" not in parameter} <= set(filled)
    assert str(schedule.window_days) in filled["inputs"][0]


def test_a_service_is_asked_for_with_this_pipeline_only(tmp_path: Path) -> None:
    for arguments in (("--pipeline", "retraining"), ("--service", tmp_path / "service"), ("--start-from", "gate", "--run-dir", tmp_path)):
        result = nann("pipeline", "run", *arguments)
        assert result.exit_code == 2, result.output
    assert "has no step gate" in result.output


@pytest.mark.slow
def test_two_windows_and_a_candidate_that_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    log, service = tmp_path / "log.csv", tmp_path / "service"
    assert nann("generate", "--output", tmp_path / "all.csv", "--config", tmp_path / "config.yaml", "--quiet").exit_code == 0
    rows = [line.split(",") for line in (tmp_path / "all.csv").read_text().splitlines()]
    middle = sorted(int(row[-1]) for row in rows)[len(rows) // 2]
    # Items of ids divisible by 5 are published in the second window.
    log.write_text("".join(",".join(row) + "\n" for row in rows if int(row[-1]) > middle or int(row[1]) % 5))

    def run(name: str, *settings: str) -> Path:
        arguments = [part for setting in settings for part in ("--set", setting)]
        result = nann(
            *("pipeline", "run", "--pipeline", "retraining", "--service", service, "--input", log, "--run-dir", tmp_path / name),
            *("--config", tmp_path / "config.yaml", "--quiet", *arguments),
        )
        assert result.exit_code == 0, result.output
        return tmp_path / name

    first = run("first", f"convert.until={middle + 1}", "in-service.create=true")
    assert [entry["step"] for entry in read_timings(first / "steps.jsonl")] == [step.name for step in RETRAINING_STEPS]
    assert "warm_start" not in open_artifact(first / "model", step="train").manifest["inputs"]
    assert Shelf(service).pointer().version == 1

    second = run("second")
    model = open_artifact(second / "model", step="train")
    before = open_artifact(first / "model", step="train").metrics
    assert model.metrics["earlier_steps"] == before["steps"] > 0
    assert model.metrics["items_added"] > 0
    assert model.metrics["item_rows"] == before["item_rows"] + model.metrics["items_admitted"] - model.metrics["items_evicted"]
    assert min(model.metrics[name] for name in ("items_admitted", "items_evicted")) > 0
    inputs = open_artifact(second / "dataset", step="convert").manifest["inputs"]
    assert inputs["base_dataset"] == open_artifact(first / "dataset", step="convert").digest
    series = [json.loads((run / "data_check" / "series.json").read_text())["windows"] for run in (first, second)]
    assert [len(windows) for windows in series] == [1, 2]
    assert series[1][0] == series[0][0]
    assert series[1][1]["range"][0] > series[0][0]["range"][1]
    verdict = json.loads((second / "gate" / "gate.json").read_text())
    assert verdict["version_in_service"] == 1
    assert set(verdict["figures"]) == {"candidate", "in_service"}
    assert Shelf(service).pointer().version == 2
    assert open_artifact(service / "versions" / "000002" / "model", step="train").digest == model.digest

    again = run("second")  # against the version it began with, which is no longer in service
    assert all(entry["reused"] for entry in read_timings(again / "steps.jsonl")[len(RETRAINING_STEPS) :])
    assert Shelf(service).pointer().version == 2

    result = nann("rollback", "--service", service, "--quiet")
    assert result.exit_code == 0, result.output
    assert Shelf(service).pointer().version == 1
    third = run("third", "gate.min_recall=1")
    assert open_artifact(third / "model", step="train").metrics["earlier_steps"] == before["steps"]
    assert Shelf(service).pointer().version == 1
    [refused] = (service / "refused").iterdir()
    assert (refused / "gate" / "report.html").is_file()


@pytest.mark.slow
def test_a_window_that_is_refused_ends_the_run_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    assert nann("generate", "--output", tmp_path / "log.csv", "--config", tmp_path / "config.yaml", "--quiet").exit_code == 0
    words = ["pipeline", "run", "--pipeline", "retraining", "--service", tmp_path / "service", "--input", tmp_path / "log.csv"]
    words += ["--run-dir", tmp_path / "run", "--config", tmp_path / "config.yaml", "--quiet", "--set", "in-service.create=true"]
    for _ in range(2):  # the second time the check's artifact is there
        result = nann(*words, "--set", "check-data.min_rows=1000000")
        assert result.exit_code == 1
        assert "step check-data failed: the window is refused: rows (rows) " in result.output
        assert "allowed at least 1e+06" in result.output
        assert "with --overwrite --set check-data.accept=NAME" in result.output
        assert not (tmp_path / "run" / "model").exists()
    assert "Refused" in (tmp_path / "run" / "data_check" / "report.html").read_text()
    assert Shelf(tmp_path / "service").pointer() is None
