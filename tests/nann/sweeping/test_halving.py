"""What goes on, and what outlives a kill."""

from pathlib import Path

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


def test_a_share_of_the_training() -> None:
    assert shortened(TrainConfig(epochs=4, max_steps=0), 0.25).epochs == 1
    assert shortened(TrainConfig(epochs=4, max_steps=0), 0.25).max_steps == 0
    assert shortened(TrainConfig(max_steps=1001), 0.5).max_steps == 501
