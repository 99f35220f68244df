"""How many steps a training takes, and the learning rate of each."""

from __future__ import annotations

import json
import math
from pathlib import Path

from data_prep.durable import write_file
from data_prep.json_text import read_json
from nann.config import TrainConfig

PLAN = "plan.json"


def learning_rate_at(step: int, *, steps: int, config: TrainConfig) -> float:
    """Learning rate of a step: linear warm-up, then constant or a half cosine that ends at 0 (arXiv 1608.03983, equation 5)."""
    warmup = min(config.warmup_steps, steps // 10)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class StepPlan:
    """The number of steps of a training: those of its batches, or as many as fit into ``max_minutes``.

    The learning rate goes by the number of steps, so a limit of time becomes one of steps as soon as the speed is known: after
    `measured_at` steps, which all belong to the warm-up, where the rate does not depend on how many will follow. A training with
    ``max_steps`` of that number takes the same steps.

    Args:
        steps: of the batches.
        config: ``max_minutes`` and the warm-up.
        directory: of the training; keeps the number for one that is resumed.

    Attributes:
        steps: planned now.
    """

    def __init__(self, steps: int, config: TrainConfig, directory: Path) -> None:
        self._config, self._path = config, directory / PLAN
        self.steps = steps
        self.measured_at = 0
        if self._path.is_file():
            self.steps = min(steps, int(read_json(self._path)["steps"]))
        elif config.max_minutes and steps > self.fewest:
            self.measured_at = max(1, config.warmup_steps)

    @property
    def fewest(self) -> int:
        """Steps that a limit of time leaves at least: with fewer the warm-up would be shorter."""
        return max(10, 10 * self._config.warmup_steps)

    def measure(self, done: int, seconds: float, seconds_a_step: float) -> None:
        """Sets the number of steps.

        Args:
            done: steps so far.
            seconds: that the training has taken so far, its start included.
            seconds_a_step: once it runs.
        """
        left = (60 * self._config.max_minutes - seconds) / max(seconds_a_step, 1e-9)
        self.steps = min(self.steps, max(self.fewest, done + int(left)))
        write_file(self._path, json.dumps({"steps": self.steps}) + "\n")
