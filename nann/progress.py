"""Progress of long work in the log."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_REPORTS = 5.0


class CountProgress:
    """A line of progress with speed and time left every few seconds.

    Args:
        label: what runs, for the log.
        count: users in all.
        of: what is counted, where it is not users.
        last: also says when all are done.
    """

    def __init__(self, label: str, count: int, *, of: str = "users", last: bool = False) -> None:
        self._label, self._count, self._of, self._last = label, count, of, last
        self._began = self._reported = time.perf_counter()

    def update(self, done: int) -> None:
        """Takes notice that so many of them are done."""
        now = time.perf_counter()
        if now - self._reported < SECONDS_BETWEEN_REPORTS and not (self._last and done == self._count):
            return
        self._reported, rate = now, done / max(now - self._began, 1e-9)
        left, speed = (self._count - done) / max(rate, 1e-9), f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
        logger.info("%s: %d of %d %s, %s %s/s, %.0f s left", self._label, done, self._count, self._of, speed, self._of, left)
