"""Schedules on a server: made once, replaced when they differ, paused, and what they run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from pipelines.cluster import Cluster, Server
from pipelines.compilation import cluster_spec
from pipelines.profiles import read_profile
from pipelines.schedules import DIRECTORY, put_schedule, read_schedule

Nann = Callable[..., Result]


def cluster(stub: Any) -> Cluster:
    return Cluster(Server(host=stub.url, timeout_seconds=0.5, retry_seconds=0.01))


def test_a_schedule_is_made_once_and_replaced_when_it_differs(stub: Any) -> None:
    server, (name, schedule) = cluster(stub), read_schedule("nightly-training")
    spec = cluster_spec("training", read_profile("cpu"))
    first = put_schedule(server, name, schedule, spec)
    assert first.action == "created"
    [made] = stub.recurring
    assert made.trigger.cron_schedule.cron == "0 30 2 * * *"
    assert (made.no_catchup, made.max_concurrency, made.mode) == (True, "1", "ENABLE")
    assert made.runtime_config.parameters["inputs"] == ["/mnt/nann/logs/last-7-days.parquet"]
    assert put_schedule(server, name, schedule, spec) == type(first)("unchanged", first.recurring_run_id)
    changed = put_schedule(server, name, schedule.model_copy(update={"window_days": 14}), spec)
    assert changed.action == "replaced"
    assert [found.recurring_run_id for found in stub.recurring] == [changed.recurring_run_id]


def test_schedule_and_unschedule_commands(stub: Any, nann: Nann) -> None:
    dry = nann(stub, "schedule", "nightly-training", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert dry.stdout.count("02:30:00 UTC, ") == 3
    assert stub.requests == []
    assert "created" in nann(stub, "schedule", "nightly-training").stdout
    assert "unchanged" in nann(stub, "schedule", "nightly-training").stdout
    assert "nightly-training" in nann(stub, "list", "--schedules").stdout
    other = nann(stub, "unschedule", "nightly-training", "--pipeline", "retraining")
    assert other.stdout == "nightly-training: was not there\n"
    assert nann(stub, "unschedule", "nightly-training", "--pipeline", "training").stdout == "nightly-training: 1 deleted\n"
    assert nann(stub, "unschedule", "nightly-training").stdout == "nightly-training: was not there\n"


@pytest.mark.parametrize("name", sorted(path.stem for path in DIRECTORY.glob("*.yaml")))
def test_the_schedules_that_are_here_fit_their_pipelines(stub: Any, nann: Nann, name: str) -> None:
    result = nann(stub, "schedule", name, "--dry-run")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 3


def test_bad_schedules_are_refused(stub: Any, nann: Nann, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("cron: '30 2 * * *'\n")
    result = nann(stub, "schedule", path)
    assert result.exit_code == 1
    assert "has 5 fields, but needs 6" in result.stderr
    for parameters, message in (
        ("{input: [a]}", "the pipeline training has no parameter 'input'; known: benchmark_config, "),
        ("{}", "the pipeline training needs the parameter 'inputs'"),
        ("{inputs: [a], train_config: {epoch: 1}}", "train.epoch: no such option"),
    ):
        path.write_text(f"cron: '0 30 2 * * *'\nparameters: {parameters}\n")
        assert message in nann(stub, "schedule", path).stderr
    assert stub.requests == []
    assert "known: daily-retraining, nightly-training, or" in nann(stub, "schedule", "none").stderr
