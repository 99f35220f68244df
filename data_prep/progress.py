"""Progress of long work in the log: share done, rate and time left, every few seconds."""

from __future__ import annotations

import logging
import time

PROGRESS_SECONDS = 5.0
logger = logging.getLogger(__name__)


class Progress:
    """Progress of one stage.

    Args:
        stage: what is done, for the log: "reading", "writing".
        total: size of the whole work, in any unit (bytes, events).
    """

    def __init__(self, stage: str, total: int) -> None:
        self._stage, self._total = stage, max(total, 1)
        self._start = self._next = time.monotonic()

    def update(self, done: int, rows: int) -> None:
        """Takes notice of the work done (unit of ``total``) and the rows it was; logs at most every `PROGRESS_SECONDS`."""
        now = time.monotonic()
        if now < self._next + PROGRESS_SECONDS:
            return
        self._next = now
        share = min(1.0, done / self._total)
        seconds = now - self._start
        left = seconds / share - seconds if share > 0 else 0.0
        logger.info("%s: %.1f %%, %s rows, %s rows/s, %.0f s left", self._stage, 100 * share, f"{rows:,}", f"{rows / seconds:,.0f}", left)

    def finish(self, rows: int) -> None:
        """Logs the whole."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        logger.info("%s: done, %s rows in %.1f s, %s rows/s", self._stage, f"{rows:,}", seconds, f"{rows / seconds:,.0f}")
