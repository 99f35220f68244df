"""Speed, progress lines and checkpoint times of a training."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

from nann.training.batches import Batches

logger = logging.getLogger(__name__)
PROGRESS_SECONDS = 10.0


class Clock:
    """The time that this process trains; pauses (validation) do not count.

    Args:
        start: steps done before.
        source: the batches, for the samples of a step and of an epoch.
    """

    def __init__(self, start: int, source: Batches) -> None:
        self._start, self._source = start, source
        self._began = self._reported = self._saved = time.monotonic()
        self._marked = (start, self._began)

    def samples_per_s(self, done: int) -> float:
        """Samples a second since the start."""
        return (done - self._start) * self._source.batch_size / max(1e-9, self.seconds())

    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._began

    def mark(self, done: int) -> None:
        """Begins to measure `seconds_a_step`."""
        self._marked = (done, time.monotonic())

    def seconds_a_step(self, done: int) -> float:
        """Time of a step since the mark."""
        return (time.monotonic() - self._marked[1]) / max(1, done - self._marked[0])

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside does not count."""
        since = time.monotonic()
        yield
        self._began += time.monotonic() - since

    def report(self, record: dict[str, Any], *, steps: int, force: bool) -> None:
        """Logs a record, where it is time for it or ``force``."""
        now = time.monotonic()
        if not force and now - self._reported < PROGRESS_SECONDS:
            return
        self._reported = now
        speed = self.samples_per_s(record["step"])
        left = (steps - record["step"]) * self._source.batch_size / max(speed, 1e-9)
        recalls = "".join(f"  {name} {record[name]:.3f}" for name in record if name.startswith("recall"))
        logger.info(
            "step %d/%d  epoch %.2f  loss %.4f%s  %.0f samples/s  %d:%02d left",
            record["step"],
            steps,
            record["epoch"],
            record["loss"],
            recalls,
            speed,
            *divmod(round(left), 60),
        )

    def checkpoint_due(self, seconds: float) -> bool:
        """Whether so much time has passed since the last time that this was so."""
        if time.monotonic() - self._saved < seconds:
            return False
        self._saved = time.monotonic()
        return True
