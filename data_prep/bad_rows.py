"""Counting of rows that cannot be used, by reason, against a limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data_prep.errors import DataError
from data_prep.time_formats import format_hint, packed_hint


class Quoted(str):
    """An example that was quoted and shortened before."""


class BadRows:
    """Counter of bad rows of one conversion.

    Args:
        max_rows: largest number that is tolerated.
        max_share: largest share of all rows that is tolerated, in [0, 1].
        expected: reason -> rows that do not count against the limits: the log says itself that something is missing there.
    """

    def __init__(self, max_rows: int, max_share: float, expected: Mapping[str, int] | None = None) -> None:
        self.limit = max_rows
        self._expected = dict(expected or {})
        self._max_share = max_share
        self._examples: dict[str, str] = {}
        self.by_reason: dict[str, int] = {}

    @property
    def total(self) -> int:
        """Bad rows so far."""
        return sum(self.by_reason.values())

    def add(self, reason: str, count: int, example: Any) -> None:
        """Counts ``count`` bad rows; the first example of a reason is kept for the message."""
        if count:
            self.by_reason[reason] = self.by_reason.get(reason, 0) + int(count)
            text = example if isinstance(example, Quoted) else repr(example)
            self._examples.setdefault(reason, text if len(text) <= 80 else text[:77] + "...")

    def example(self, reason: str) -> str:
        """The first example of a reason as it stands in messages; empty if there is none."""
        return self._examples.get(reason, "")

    def merge(self, other: BadRows) -> None:
        """Adds the counts of another part of the log."""
        for reason, count in other.by_reason.items():
            self.by_reason[reason] = self.by_reason.get(reason, 0) + count
            self._examples.setdefault(reason, other._examples[reason])

    @property
    def unexpected(self) -> int:
        """Bad rows so far that count against the limits."""
        return sum(max(0, count - self._expected.get(reason, 0)) for reason, count in self.by_reason.items())

    def exhausted(self) -> bool:
        """Whether the absolute limit is exceeded, so that reading on is pointless."""
        return self.unexpected > self.limit

    def describe(self) -> str:
        """One line: number per reason, with an example each."""
        return "; ".join(f"{reason} {count:,} (first: {self._examples[reason]})" for reason, count in sorted(self.by_reason.items()))

    def check(self, num_rows: int, source: str) -> None:
        """Enforces the limits.

        Args:
            num_rows: all rows read, good and bad.
            source: name of the file or files, for the message.

        Raises:
            DataError: too many bad rows, absolutely or by share.
        """
        if self.unexpected > self.limit:
            limit = f"max_bad_rows {self.limit:,}"
        elif self.unexpected > self._max_share * num_rows:
            limit = f"max_bad_share {self._max_share:g}"
        else:
            return
        raise DataError(
            f"{source}: {self.total:,} of {num_rows:,} rows read are bad, more than {limit} allows: {self.describe()}; "
            f"mend the log, check {self._options()}, or raise the limit{self._time_hint()}"
        )

    def _options(self) -> str:
        """The options that decide about rows like the bad ones."""
        options = ["--columns", "--header", "--id-type"]
        if "wrong_number_of_columns" in self.by_reason:
            options += ["--delimiter", "--quote"]
        if any(reason.endswith("_not_utf8") for reason in self.by_reason):
            options.append("--encoding")
        return f"{', '.join(options[:-1])} and {options[-1]}"

    def _time_hint(self) -> str:
        """What to do about times that cannot be read, if there are any."""
        example = next((self._examples[reason] for reason in self.by_reason if reason in ("time_not_a_number", "time_not_a_time")), "")
        if example:
            return f"; for the time {example} {format_hint(example[1:-1])}"
        example = self.example("time_out_of_range").strip("'")
        hint = packed_hint(example)
        return f"; for the time {example} {hint}" if hint else ""
