"""Every command of docs/runbook.md, in the order of the page, against the stand-ins in each generation; its outputs are those of 2.17."""

import re
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipelines.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "runbook.md"
RUN = "0d5c2f4e"


def blocks() -> list[tuple[str, str]]:
    """(language, text) of the code blocks."""
    return re.findall(r"(?ms)^```(bash|text)\n(.*?)^```$", PAGE.read_text())


@pytest.fixture
def morning(any_stub: Any, objects: Any, images: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the person on call finds: the second run of the schedule failed in its training, three times."""
    monkeypatch.setenv("NANN_KFP_HOST", any_stub.url)
    assert CliRunner().invoke(main, ["pipeline", "schedule", "daily-retraining"]).exit_code == 0
    schedule = any_stub.recurring[0].recurring_run_id
    steps = {"in_service": "Succeeded", "convert": "cached", "train": "retry Failed Failed Failed", "extract": "omitted"}
    told = {"7be01a93": ("SUCCEEDED", {"in_service": "Succeeded"}, -1), RUN: ("FAILED", steps, 0)}
    for number, (run_id, (state, outcomes, day)) in enumerate(told.items(), 1):
        any_stub.add_run(state, run_id=run_id, pipeline="retraining", **outcomes)
        run = any_stub.runs[-1]
        run.display_name, run.recurring_run_id = f"daily-retraining {number}", schedule
        run.created_at += timedelta(days=day)
    del any_stub.logs[any_stub.pod(RUN, "in-service").name]
    return any_stub


def test_every_command_does_what_the_page_says(morning: Any) -> None:
    result: Result | None = None
    ran = 0
    for language, text in blocks():
        if language == "text":
            assert result is not None
            if morning.generation == "2.17":
                assert result.output == text
            continue
        for line in text.splitlines():
            command, _, comment = line.partition("#")
            words = shlex.split(command)
            assert words[:2] == ["nann", "pipeline"], f"the page promises that its commands are run here, but {line!r} is not"
            result = CliRunner().invoke(main, words[1:])
            assert result.exit_code == (1 if comment.strip() == "exit 1" else 0), f"{line}\n{result.output}"
            ran += 1
    assert ran == len(re.findall(r"(?m)^nann ", PAGE.read_text())) > 15
    assert [found.status for found in morning.recurring] == ["ENABLED"]
    assert len(morning.versions) == 1


def test_the_logs_of_the_failed_step_are_shown_with_all_attempts(morning: Any) -> None:
    result = CliRunner().invoke(main, ["pipeline", "logs", RUN])
    assert result.stdout == "train executor 1\ntrain executor 2\ntrain executor 3\n"


def test_the_page_has_the_words_that_the_commands_use(morning: Any) -> None:
    page = PAGE.read_text()
    for state in ("CACHED", "DISABLED", "PENDING", "RUNNING", "missing"):
        assert state in page
    for option in re.findall(r"`nann pipeline (\w+)", page):
        assert option in main.commands["pipeline"].commands
