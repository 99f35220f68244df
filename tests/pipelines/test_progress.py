"""Lines of a run's log in, words about the whole run out; estimates come from earlier runs of the same kind only."""

import json
from pathlib import Path

from pipelines.progress import RunProgress, expected_seconds
from pipelines.runs import record

NAMES = ("convert", "train", "report")
STARTS = "12:00:01 INFO components.adapters: step {} starts"
DONE = "12:00:01 INFO components.adapters: step {} done after {} s"


def test_the_step_of_how_many_is_told_when_it_begins() -> None:
    progress = RunProgress(NAMES, {})
    assert progress.see(STARTS.format("train")) == "step 2 of 3: train"
    assert progress.see("12:00:02 INFO nann: loss 0.5") is None
    assert progress.see(STARTS.format("train-workers")) is None


def test_the_rest_is_estimated_and_follows_the_speed_of_this_run() -> None:
    progress = RunProgress(NAMES, {"convert": 10.0, "train": 200.0, "report": 40.0})
    assert progress.see(STARTS.format("convert")) == "step 1 of 3: convert, about 4 minutes left"
    progress.see(DONE.format("convert", 20.0))  # twice as long as before
    assert progress.see(STARTS.format("train")) == "step 2 of 3: train, about 8 minutes left"
    progress.see(DONE.format("train", 190.0))
    assert progress.see(STARTS.format("report")) == "step 3 of 3: report, less than a minute left"
    assert RunProgress(NAMES, {"train": 9.0}).see(STARTS.format("train")) == "step 2 of 3: train"


def test_only_runs_of_the_same_options_and_log_sizes_tell_how_long_it_takes(tmp_path: Path) -> None:
    def make(name: str, log: str, seconds: float | None) -> Path:
        run = tmp_path / name
        run.mkdir()
        (run / "log.csv").write_text(log)
        record(run, [run / "log.csv"], {})
        if seconds is not None:
            entries = [{"step": "train", "seconds": seconds, "status": "done", "reused": False}]
            entries.append({"step": "train", "seconds": 0.1, "status": "done", "reused": True})
            entries.append({"step": "report", "seconds": 3.0, "status": "failed", "reused": False})
            (run / "steps.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        return run

    new = make("new", "a" * 100, None)
    assert expected_seconds(new) == {}
    make("larger", "a" * 200, 900.0)
    assert expected_seconds(new) == {}
    make("alike", "b" * 100, 70.0)
    assert expected_seconds(new) == {"train": 70.0}
    assert expected_seconds(make("resumed", "c" * 300, 50.0)) == {"train": 50.0}
