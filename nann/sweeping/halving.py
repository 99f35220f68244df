"""Successive halving (Jamieson, Talwalkar, arXiv 1502.07943): all trials get little training, the best of them more.

Each rung trains anew with a share of the steps instead of going on from the rung before: the learning rate follows a cosine to 0 over the
steps of a run, so a figure in the middle of a longer run is no forecast of its end, while a shorter run that is finished is one.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ConfigDict

from data_prep.opening import Stored, read_json_lines
from nann.config import TrainConfig
from nann.forms import Count, Number


@dataclass(frozen=True)
class Outcome:
    """What one trial reached on one rung.

    Attributes:
        trial: its number, from 0.
        rung: number of the rung, from 0.
        recall: recall-all on the validation users; None where training failed.
        seconds: what the training took.
        error: why it failed, or "".
    """

    trial: int
    rung: int
    recall: float | None
    seconds: float
    error: str = ""


class KeptOutcome(Stored):
    """A line of the journal."""

    model_config = ConfigDict(strict=True, extra="forbid")
    trial: Count
    rung: Count
    recall: Number | None
    seconds: Number
    error: str = ""


class Journal:
    """Outcomes in a file, a JSON line each; what is written stays after a kill, a line cut off by one does not count.

    Args:
        path: the file; made at the first outcome.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[tuple[int, int], Outcome] = {}
        for kept in read_json_lines(path, KeptOutcome):
            if kept is not None:
                self._found[kept["trial"], kept["rung"]] = Outcome(**kept)

    def get(self, trial: int, rung: int) -> Outcome | None:
        """The outcome of a trial on a rung, if it is known."""
        return self._found.get((trial, rung))

    def add(self, outcome: Outcome) -> None:
        """Keeps an outcome; it is on disk when this returns."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write("\n" if self._cut_off() else "")
            file.write(json.dumps(asdict(outcome)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._found[outcome.trial, outcome.rung] = outcome

    def _cut_off(self) -> bool:
        return self._path.stat().st_size > 0 and not self._path.read_bytes().endswith(b"\n")


def survivors(outcomes: Sequence[Outcome], keep: float) -> list[int]:
    """The best ``keep`` of the trials by recall, at least one, the earlier one first among equals; failed ones never.

    Args:
        outcomes: of one rung.
        keep: share, in (0, 1).

    Returns:
        trial numbers, ascending.
    """
    alive = sorted((o for o in outcomes if o.recall is not None), key=lambda o: (-(o.recall or 0.0), o.trial))
    return sorted(o.trial for o in alive[: max(1, math.ceil(keep * len(outcomes)))])


def shortened(config: TrainConfig, share: float) -> TrainConfig:
    """The same training over a share of its passes and steps."""
    max_steps = math.ceil(config.max_steps * share) if config.max_steps else 0
    return config.model_copy(update={"epochs": config.epochs * share, "max_steps": max_steps})
