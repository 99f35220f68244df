import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nann.reporting.run_summary import NOT_RUN, read_lineage, summarise_run, write_summary

STEPS = ("convert", "train", "evaluate")


def entry(step: str, status: str = "done", **more: object) -> str:
    return json.dumps({"step": step, "seconds": 1.0, "status": status, "reused": False, "metrics": {}, **more}) + "\n"


def artifact(run: Path, name: str, step: str, inputs: dict[str, str]) -> str:
    (run / name).mkdir()
    text = json.dumps({"step": step, "inputs": inputs})
    (run / name / "manifest.json").write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()


def statuses(run: Path) -> list[str]:
    return [found["status"] for found in summarise_run(run, steps=STEPS, state="FAILED").steps]


def test_a_failed_step_is_named_with_its_own_reason(tmp_path: Path) -> None:
    (tmp_path / "steps.jsonl").write_text(entry("convert") + entry("train", "failed", reason="the loss is nan"))
    summary = summarise_run(tmp_path, steps=STEPS, state="FAILED", error="Task exit-handler-1 failed.")
    assert (summary.failed_step, summary.error) == ("train", "the loss is nan")
    assert statuses(tmp_path) == ["done", "failed", NOT_RUN]


def test_steps_of_an_earlier_run_do_not_count(tmp_path: Path) -> None:
    earlier = "".join(entry(step) for step in STEPS)
    (tmp_path / "steps.jsonl").write_text(earlier + entry("convert") + entry("train", "failed") + "{cut o")
    assert statuses(tmp_path) == ["done", "failed", NOT_RUN]
    # A step that was served from a cache writes no entry, those after it do.
    (tmp_path / "steps.jsonl").write_text(earlier + entry("train") + entry("evaluate"))
    assert statuses(tmp_path) == ["done", "done", "done"]


def test_a_retried_step_counts_as_it_ended(tmp_path: Path) -> None:
    (tmp_path / "steps.jsonl").write_text(
        entry("convert") + entry("train", "failed", reason="evicted") + entry("train") + entry("evaluate")
    )
    summary = summarise_run(tmp_path, steps=STEPS, state="SUCCEEDED")
    assert (summary.failed_step, summary.error) == ("", "")


def test_an_empty_directory_is_a_run_that_came_to_nothing(tmp_path: Path) -> None:
    summary = summarise_run(tmp_path, steps=STEPS, state="FAILED", error="no node has a GPU")
    assert (summary.error, summary.failed_step, summary.lineage) == ("no node has a GPU", "", [])
    assert statuses(tmp_path) == [NOT_RUN] * 3
    path = write_summary(tmp_path, summary)
    assert json.loads(path.read_text())["state"] == "FAILED"
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_lineage_goes_back_to_the_logs_and_tells_broken_links(tmp_path: Path) -> None:
    dataset = artifact(tmp_path, "dataset", "convert", {"log:a.csv": "f" * 64})
    model = artifact(tmp_path, "model", "train", {"dataset": dataset})
    artifact(tmp_path, "evaluation", "evaluate", {"model": model, "dataset": "0" * 64})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text("no manifest")
    lineage = read_lineage(tmp_path)
    assert [link.name for link in lineage] == ["evaluation", "model", "dataset"]
    assert lineage[-1].inputs == {"log:a.csv": "f" * 64}
    [sentence] = summarise_run(tmp_path, steps=STEPS, state="SUCCEEDED").broken
    assert sentence == f"evaluation was made from dataset {'0' * 12}, but {dataset[:12]} is there"


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(["done", "failed"])), max_size=12))
def test_a_step_counts_only_if_every_step_before_it_is_older(tmp_path_factory, events: list[tuple[str, str]]) -> None:
    run = tmp_path_factory.mktemp("run")
    (run / "steps.jsonl").write_text("".join(entry(step, status) for step, status in events))
    last = {step: number for number, (step, _) in enumerate(events)}
    expected = []
    for index, step in enumerate(STEPS):
        older = all(last.get(before, -1) < last.get(step, -1) for before in STEPS[:index])
        expected.append(events[last[step]][1] if step in last and older else NOT_RUN)
    assert statuses(run) == expected


@pytest.mark.parametrize("change", [{"seconds": None}, {"seconds": "x"}, {"status": []}, {"reused": 2}, {"metrics": []}, {"step": {}}])
def test_a_damaged_line_does_not_count(tmp_path: Path, change: dict[str, object]) -> None:
    damaged = json.dumps(json.loads(entry("convert")) | change) + "\n"
    (tmp_path / "steps.jsonl").write_bytes(damaged.encode() + b"\xff\n" + entry("train").encode())
    summary = summarise_run(tmp_path, steps=STEPS, state="SUCCEEDED")
    assert [step["status"] for step in summary.steps] == [NOT_RUN, "done", NOT_RUN]
    assert all(isinstance(step["seconds"], float) for step in summary.steps)
