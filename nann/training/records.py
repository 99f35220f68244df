"""What a training notes down, and the weights with the best recall of all that were measured."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data_prep.durable import write_file
from data_prep.opening import Stored, read_json_lines
from nann.forms import Count, Number
from nann.training.schedule import PLAN

logger = logging.getLogger(__name__)
VALIDATION_KS = (50, 200)
CHECKPOINTS, BEST, RUNNING_RECORD = "checkpoints", "best", "training.jsonl"
SPEED, SPEED_NAME = "samples_per_s", "training_speed.json"


class RunningRecord(Stored):
    """A line of ``training.jsonl``; what a validation measured are numbers."""

    __pydantic_extra__: dict[str, Count | float | None]
    step: Count
    samples_per_s: Number


class Records:
    """``training.jsonl``: one JSON line per record while training; ``training.json``: the list of them at the end.

    How fast it went is in ``training_speed.json`` then: equal trainings give equal bytes but for that.
    """

    def __init__(self, directory: Path) -> None:
        self._path, self._final = directory / RUNNING_RECORD, directory / "training.json"
        self._records: list[dict[str, Any]] = []
        for record in read_json_lines(self._path, RunningRecord):
            if record is None:  # the line a killed process was writing
                break
            self._records.append(record)

    def truncate(self, step: int) -> None:
        """Forgets records after a step: training resumes there and writes them again."""
        self._records = [record for record in self._records if record["step"] <= step]
        write_file(self._path, "".join(json.dumps(record) + "\n" for record in self._records))

    def add(self, record: dict[str, Any], *, samples_per_s: float) -> None:
        """Appends a record."""
        self._records.append({**record, SPEED: round(samples_per_s, 1)})
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(self._records[-1]) + "\n")

    def last(self) -> dict[str, Any]:
        """The newest record; empty when no step was done."""
        return self._records[-1] if self._records else {}

    def at(self, step: int) -> dict[str, Any]:
        """The record of a step; empty when there is none."""
        return next((record for record in self._records if record["step"] == step), {})

    def best(self) -> dict[str, Any]:
        """The earliest of the records with the highest `recall_of`; empty when none has a recall."""
        measured = [record for record in self._records if recall_of(record) is not None]
        nothing: dict[str, Any] = {}
        return max(measured, key=lambda record: recall_of(record) or 0.0, default=nothing)

    def since_best(self) -> list[dict[str, Any]]:
        """The records with a recall after the best one."""
        best = self.best().get("step", 0)
        return [record for record in self._records if recall_of(record) is not None and record["step"] > best]

    def finish(self) -> None:
        """Writes the final list; the running one stays until `remove_leftovers`, for a run that is killed before its model is complete."""
        speeds = [{"step": record["step"], SPEED: record[SPEED]} for record in self._records]
        found = [{name: value for name, value in record.items() if name != SPEED} for record in self._records]
        self._final.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        self._final.with_name(SPEED_NAME).write_text(json.dumps(speeds, indent=1) + "\n", encoding="utf-8")


def remove_leftovers(directory: Path) -> None:
    """Removes what only a training that goes on needs: checkpoints, the best weights so far, and the running record."""
    for name in (CHECKPOINTS, BEST):
        shutil.rmtree(directory / name, ignore_errors=True)
    for name in (RUNNING_RECORD, PLAN):
        (directory / name).unlink(missing_ok=True)


def recall_of(record: Mapping[str, Any]) -> float | None:
    """What weights are chosen by: the mean of the recalls in a record; None where it has none."""
    recalls = [record[name] for name in (f"recall_all@{k}" for k in VALIDATION_KS) if name in record]
    return float(np.mean(recalls)) if recalls else None


class BestWeights:
    """The weights with the best recall so far, in a checkpoint of their own.

    Args:
        tracked: what is kept.
        directory: where.
        records: of the training.
    """

    def __init__(self, tracked: tf.train.Checkpoint, directory: Path, records: Records) -> None:
        self._tracked, self._directory, self._records = tracked, directory, records

    def offer(self, record: Mapping[str, Any]) -> None:
        """Keeps the present weights, of a record that is about to be added, where its recall is above all before."""
        recall, best = recall_of(record), recall_of(self._records.best())
        if recall is not None and (best is None or recall > best):
            self._tracked.write(str(self._directory / "weights"))

    def take(self) -> int:
        """Goes back to the best weights, and says of which step they are: the last one where recall was never measured."""
        best, last = self._records.best().get("step"), self._records.last().get("step", 0)
        if best is not None and best != last:
            self._tracked.read(str(self._directory / "weights")).assert_consumed()
            logger.info("the weights of step %d are kept, whose recall is the best", best)
        return int(last if best is None else best)
