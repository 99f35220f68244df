"""What goes on, and what outlives a kill."""

import json
from pathlib import Path

import pytest

from nann.config import TrainConfig
from nann.sweeping.halving import Journal, Outcome, shortened, survivors


def outcomes(recalls: list[float | None]) -> list[Outcome]:
    return [Outcome(trial, 0, recall, 1.0) for trial, recall in enumerate(recalls)]


def test_the_best_go_on_and_failed_ones_never() -> None:
    assert survivors(outcomes([0.1, 0.4, None, 0.3, 0.2, 0.4]), 0.34) == [1, 3, 5]
    assert survivors(outcomes([0.1, 0.4, 0.4]), 0.1) == [1]
    assert survivors(outcomes([None, 0.2]), 0.9) == [1]
    assert survivors(outcomes([None, None]), 0.5) == []


def test_a_journal_outlives_a_cut_off_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.add(Outcome(0, 0, 0.25, 1.5))
    journal.add(Outcome(1, 0, None, 0.5, "not finite"))
    with path.open("a") as file:
        file.write('{"trial": 2, "ru')
    again = Journal(path)
    assert again.get(0, 0) == Outcome(0, 0, 0.25, 1.5)
    assert again.get(1, 0) == Outcome(1, 0, None, 0.5, "not finite")
    assert again.get(2, 0) is None
    again.add(Outcome(2, 0, 0.5, 1.0))
    assert Journal(path).get(2, 0) == Outcome(2, 0, 0.5, 1.0)
    assert Journal(path).get(0, 0) is not None


@pytest.mark.parametrize("change", [{"trial": []}, {"recall": "x"}, {"seconds": None}, {"rung": 10**400}, {"more": 1}, {"error": 3}])
def test_a_damaged_line_does_not_count(tmp_path: Path, change: dict[str, object]) -> None:
    path, line = tmp_path / "journal.jsonl", {"trial": 0, "rung": 0, "recall": 0.5, "seconds": 1.0, "error": ""}
    path.write_bytes("\n".join([json.dumps(line | change), json.dumps(line | {"trial": 1}), "[" * 5000]).encode() + b"\n\xff\n")
    journal = Journal(path)
    assert journal.get(0, 0) is None
    assert journal.get(1, 0) == Outcome(1, 0, 0.5, 1.0)


def test_a_share_of_the_training() -> None:
    assert shortened(TrainConfig(epochs=4, max_steps=0), 0.25).epochs == 1
    assert shortened(TrainConfig(epochs=4, max_steps=0), 0.25).max_steps == 0
    assert shortened(TrainConfig(max_steps=1001), 0.5).max_steps == 501
