"""How far a run is: which step of how many begins, and about how long the rest takes, by an earlier run of the same kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nann.reporting.run_summary import TIMINGS_NAME, read_entries
from pipelines.runs import CONFIG_NAME, recorded_inputs

_STARTS = re.compile(r"step ([\w-]+) starts$")
_DONE = re.compile(r"step ([\w-]+) done after ([\d.]+) s$")
ENOUGH_SECONDS = 5.0  # of finished steps, from which on their speed beside the earlier run's counts


class RunProgress:
    """Follows the lines of a run's log.

    Args:
        names: of the steps, in order.
        expected: step -> seconds that it took in an earlier run; steps that are not in it, or none, are not estimated.
    """

    def __init__(self, names: Sequence[str], expected: Mapping[str, float]) -> None:
        self._names, self._expected = list(names), dict(expected)
        self._took: dict[str, float] = {}

    def see(self, line: str) -> str | None:
        """What to tell before this line: ``step 2 of 8: train, about 4 minutes left``; None at lines that begin no step."""
        if done := _DONE.search(line):
            self._took[done.group(1)] = float(done.group(2))
        starts = _STARTS.search(line)
        if starts is None or starts.group(1) not in self._names:
            return None
        place = self._names.index(starts.group(1))
        left = self._seconds_left(self._names[place:])
        told = f"step {place + 1} of {len(self._names)}: {self._names[place]}"
        return told if left is None else f"{told}, {_left_text(left)}"

    def _seconds_left(self, names: Iterable[str]) -> float | None:
        coming = [self._expected.get(name) for name in names]
        known = [seconds for seconds in coming if seconds is not None]
        if len(known) < len(coming):
            return None
        both = [name for name in self._took if name in self._expected]
        before, now = sum(self._expected[name] for name in both), sum(self._took[name] for name in both)
        return sum(known) * (now / before if min(before, now) >= ENOUGH_SECONDS else 1.0)


def _left_text(seconds: float) -> str:
    if seconds < 60:
        return "less than a minute left"
    minutes = round(seconds / 60)
    return "about a minute left" if minutes == 1 else f"about {minutes:,} minutes left"


def expected_seconds(run_dir: Path) -> dict[str, float]:
    """Step -> seconds by an earlier run: this one's own, if it ran before, else the newest beside it of the same options and log sizes.

    Args:
        run_dir: a run directory in which options and logs are recorded.
    """
    if own := _seconds(run_dir):
        return own
    wanted = _kind(run_dir)
    others = [path.parent for path in run_dir.parent.glob(f"*/{TIMINGS_NAME}") if path.parent != run_dir and _kind(path.parent) == wanted]
    return _seconds(max(others, key=lambda path: (path / TIMINGS_NAME).stat().st_mtime)) if others else {}


def _seconds(run_dir: Path) -> dict[str, float]:
    """The last time that each step worked."""
    return {
        str(entry["step"]): float(entry["seconds"])
        for entry in read_entries(run_dir / TIMINGS_NAME)
        if entry["status"] == "done" and not entry.get("reused")
    }


def _kind(run_dir: Path) -> tuple[str, tuple[int, ...]] | None:
    """What makes runs alike: their options, and the sizes of their logs; None where that is not known any more."""
    config = run_dir / CONFIG_NAME
    try:
        sizes = tuple(path.stat().st_size for path in recorded_inputs(run_dir))
        return config.read_text(encoding="utf-8"), sizes
    except (OSError, ValueError, KeyError):
        return None
