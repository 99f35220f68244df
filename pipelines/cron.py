"""Cron expressions as Kubeflow Pipelines reads them: six fields, seconds first, in UTC; checked here, for the server accepts anything.

Fields: second, minute, hour, day of month, month, day of week (0 or 7: Sunday); ``*``, ``?``, lists, ranges, steps, and names of months and
weekdays. As in robfig/cron (and cron(5)), a time fits either of the two day fields when both are given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nann.errors import NannError

_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_DAYS = {name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_SEARCH_DAYS = 4 * 366 + 1  # a leap day comes at least once


class CronError(NannError):
    """A cron expression is malformed, or never fires."""


@dataclass(frozen=True)
class Cron:
    """A parsed expression: the values that each field allows, and whether a day field was left open."""

    text: str
    allowed: tuple[frozenset[int], ...]
    any_day: bool
    any_weekday: bool

    def _fits_day(self, day: datetime) -> bool:
        in_month = day.day in self.allowed[3]
        in_week = day.isoweekday() % 7 in self.allowed[5]
        days = in_month and in_week if self.any_day or self.any_weekday else in_month or in_week
        return days and day.month in self.allowed[4]

    def after(self, moment: datetime, count: int) -> list[datetime]:
        """The next fire times after a moment (with time zone), in UTC.

        Raises:
            CronError: it does not fire within four years.
        """
        found: list[datetime] = []
        for time in self._times(moment.astimezone(UTC)):
            found.append(time)
            if len(found) == count:
                return found
        raise CronError(f"cron {self.text!r} does not fire within four years; look at the day and the month")

    def _times(self, moment: datetime) -> Iterator[datetime]:
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        for offset in range(_SEARCH_DAYS):
            day = midnight + timedelta(days=offset)
            if not self._fits_day(day):
                continue
            for hour in sorted(self.allowed[2]):
                for minute in sorted(self.allowed[1]):
                    for second in sorted(self.allowed[0]):
                        time = day.replace(hour=hour, minute=minute, second=second)
                        if time > moment:
                            yield time


def parse_cron(text: str) -> Cron:
    """Parses an expression.

    Raises:
        CronError: names the field, the rule and the value.
    """
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise CronError(f"cron {text!r} has {len(parts)} fields, but needs 6: second minute hour day-of-month month day-of-week")
    allowed = [_parse_field(part, name, low, high, names, text) for part, (name, low, high, names) in zip(parts, _FIELDS, strict=True)]
    allowed[5] = frozenset(value % 7 for value in allowed[5])
    return Cron(text, tuple(allowed), any_day=parts[3][0] in "*?", any_weekday=parts[5][0] in "*?")


def _parse_field(field: str, name: str, low: int, high: int, names: dict[str, int], text: str) -> frozenset[int]:
    values: set[int] = set()
    for part in field.lower().split(","):
        span, slash, step_text = part.partition("/")
        if slash and not (step_text.isdigit() and int(step_text) > 0):
            raise CronError(f"cron {text!r}: the step of the {name} must be a positive number, but it is {step_text!r}")
        if span in {"*", "?"}:
            first, last = low, high
        else:
            first_text, dash, last_text = span.partition("-")
            first = _number(first_text, name, low, high, names, text)
            last = _number(last_text, name, low, high, names, text) if dash else high if slash else first
            if last < first:
                raise CronError(f"cron {text!r}: the range {span!r} of the {name} ends before it begins")
        values.update(range(first, last + 1, int(step_text) if slash else 1))
    return frozenset(values)


def _number(word: str, name: str, low: int, high: int, names: dict[str, int], text: str) -> int:
    value = names.get(word, int(word) if word.isdigit() else -1)
    if not low <= value <= high:
        raise CronError(f"cron {text!r}: the {name} must be within {low} and {high}, but it is {word!r}")
    return value
