"""Times of a log: numbers of any unit, text in ISO 8601 or another format, dates and timestamps, all as integers of one unit.

Until the whole log was read a batch has its times as int64 (numbers, whose unit their median decides), as ``timestamp[us]`` (moments in
UTC), or as text where a block holds something else.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.config import ConvertConfig
from data_prep.parsing import Parsed, narrow_ids
from data_prep.text_columns import clean_text, text_buffers, to_text
from ops.text_values import IdClass, TimeFormat, TimeStatus, parse_times, read_time

Unit = Literal["s", "ms", "us", "ns"]
SCALES: Mapping[str, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
# Numbers above each are of the unit after it: as seconds the year 5138, as milliseconds March 1973, and so on.
UNIT_LIMITS = (10**11, 10**14, 10**17)
_DECIMAL = r"^[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?$"
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
_LARGEST = 1 << 62


ISO = TimeFormat()


@dataclass(frozen=True)
class TimeOptions:
    """How times are written.

    Attributes:
        form: format of texts; without directives ISO 8601, and numbers too.
        zone: of times without one.
        null_words: texts that mean "missing".
    """

    form: TimeFormat = ISO
    zone: str = "UTC"
    null_words: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: ConvertConfig) -> TimeOptions:
        """Those of a configuration."""
        form = TimeFormat(config.time_format or "", -1 if config.time_year is None else config.time_year)
        return cls(form, config.time_zone, config.null_values)

    def reads(self, text: str) -> bool:
        """Whether a text is a time or a number that may be one."""
        text = text.strip()
        if not self.form.directives and re.match(_DECIMAL, text):
            return True
        return read_time(text.encode(), self.form)[0] in (TimeStatus.WITH_ZONE, TimeStatus.WITHOUT_ZONE)


DEFAULT_TIMES = TimeOptions()


def _in_utc(micros: np.ndarray, zone: str) -> np.ndarray:
    """[n] int64 microseconds of local time as microseconds of UTC; an hour that occurs twice is the earlier one, a skipped one its end."""
    if zone in ("UTC", "+00:00", "-00:00"):
        return micros
    if (offset := _OFFSET.fullmatch(zone)) is not None:
        sign, hours, minutes = offset.groups()
        return micros - (-1 if sign == "-" else 1) * (int(hours) * 3600 + int(minutes) * 60) * 1_000_000
    local = pa.array(micros, pa.timestamp("us"))
    moments = pc.assume_timezone(local, zone, ambiguous="earliest", nonexistent="latest")
    utc: np.ndarray = moments.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return utc


def _moments(text: pa.Array, options: TimeOptions) -> tuple[np.ndarray, np.ndarray]:
    """[n] `TimeStatus` and [n] int64 microseconds of UTC of a string array."""
    statuses, micros = parse_times(*text_buffers(text), options.form)
    local = statuses == TimeStatus.WITHOUT_ZONE
    if local.any() and options.zone != "UTC":
        micros[local] = _in_utc(micros[local], options.zone)
    return statuses, micros


def narrow_times(array: pa.Array, options: TimeOptions) -> pa.Array:
    """A time column as int64 (all numbers), ``timestamp[us]`` in UTC (all moments), or as text where it holds something else.

    Args:
        array: integers, floats, decimals, dates, timestamps or text, or a dictionary of these.
        options: how texts are written.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return narrow_times(array.dictionary_decode(), options)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        plain = array.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False).cast(pa.timestamp("us"))
        if (pa.types.is_timestamp(kind) and kind.tz is not None) or options.zone == "UTC":
            return plain
        micros = _in_utc(plain.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), options.zone)
        return pa.array(micros, pa.int64(), mask=plain.is_null().to_numpy(zero_copy_only=False)).cast(pa.timestamp("us"))
    if not options.form.directives:
        if pa.types.is_floating(kind):
            values = array.cast(pa.float64())
            values = pc.if_else(pc.is_nan(values), None, values)
            known = pc.drop_null(values).to_numpy(zero_copy_only=False)
            if np.all(np.abs(known) < _LARGEST):
                return pc.floor(values).cast(pa.int64())
        elif pa.types.is_integer(kind):
            return narrow_ids(array)
    return narrow_text_times(pc.ascii_trim_whitespace(to_text(array)), options)


def narrow_text_times(text: pa.Array, options: TimeOptions) -> pa.Array:
    """As `narrow_times`, of a string array without blanks at the ends of its values."""
    text, classes, values = clean_text(text, options.null_words)
    missing = classes == IdClass.MISSING
    if not options.form.directives and np.all(classes <= IdClass.LEADING_ZERO):
        return pa.array(values, pa.int64(), mask=missing if missing.any() else None)
    statuses, micros = _moments(text, options)
    if np.any(statuses == TimeStatus.NO_TIME):
        return text
    return pa.array(micros, pa.int64(), mask=missing if missing.any() else None).cast(pa.timestamp("us"))


@dataclass
class TimeFacts:
    """What decides the unit of the times.

    Attributes:
        numbers: numbers that look like seconds, milliseconds, microseconds, nanoseconds.
        moments: moments of a second, of a millisecond, of a microsecond exactly.
        unreadable: texts that are neither, and the first of them.
    """

    numbers: list[int] = field(default_factory=lambda: [0] * 4)
    moments: list[int] = field(default_factory=lambda: [0] * 3)
    unreadable: int = 0
    example: str = ""

    def add(self, other: TimeFacts) -> None:
        """Adds the counts of another part of the column."""
        self.numbers = [mine + theirs for mine, theirs in zip(self.numbers, other.numbers, strict=True)]
        self.moments = [mine + theirs for mine, theirs in zip(self.moments, other.moments, strict=True)]
        self.unreadable += other.unreadable
        self.example = self.example or other.example

    def number_unit(self, unit: Literal["auto", "s", "ms", "us", "ns"]) -> Unit:
        """Unit of numbers; with "auto" that of their median, on a tie the finer one."""
        if unit != "auto":
            return unit
        total, below = sum(self.numbers), 0
        names: tuple[Unit, ...] = ("s", "ms", "us", "ns")
        for name, count in zip(names, self.numbers, strict=True):
            below += count
            if 2 * below > total:
                return name
        return "s"

    def unit(self, unit: Literal["auto", "s", "ms", "us", "ns"]) -> Literal["s", "ms", "us"]:
        """Unit that all events are ordered in: the coarsest that loses nothing, at least microseconds."""
        units: list[Literal["s", "ms", "us"]] = ["s", "ms", "us"]
        finest = max([place for place, count in enumerate(self.moments) if count], default=0)
        if sum(self.numbers) or not sum(self.moments):
            finest = max(finest, min(list(SCALES).index(self.number_unit(unit)), 2))
        return units[finest]


def time_facts(chunk: pa.Array, options: TimeOptions) -> TimeFacts:
    """The facts of one chunk of the time column, as `narrow_times` makes it."""
    if pa.types.is_int32(chunk.type):  # none is large
        return TimeFacts([len(chunk) - chunk.null_count, 0, 0, 0])
    facts = TimeFacts()
    numbers, moments, bad, _ = _split(chunk, options)
    if len(numbers.values):
        known = numbers.values[~numbers.missing]
        above = [len(known), *(int((known > limit).sum()) for limit in UNIT_LIMITS), 0]
        facts.numbers = [more - less for more, less in itertools.pairwise(above)]
    if len(moments.values):
        known = moments.values[~moments.missing]
        finer_than_s, finer_than_ms = int((known % 1_000_000 != 0).sum()), int((known % 1_000 != 0).sum())
        facts.moments = [len(known) - finer_than_s, finer_than_s - finer_than_ms, finer_than_ms]
    facts.unreadable = int(bad.sum())
    if facts.unreadable:
        facts.example = chunk[int(np.argmax(bad))].as_py()
    return facts


@dataclass(frozen=True)
class _Part:
    """[n] int64 values of the rows that have one of a kind, or nothing at all; ``missing`` [n] bool marks the other rows."""

    values: np.ndarray
    missing: np.ndarray


def _split(chunk: pa.Array, options: TimeOptions) -> tuple[_Part, _Part, np.ndarray, np.ndarray]:
    """Numbers, moments (microseconds), and [n] bool: texts that are neither, values that are missing."""
    size = len(chunk)
    nothing = _Part(np.zeros(0, np.int64), np.ones(0, bool))
    missing = chunk.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_integer(chunk.type) or pa.types.is_timestamp(chunk.type):
        part = _Part(chunk.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), missing)
        return (
            (part, nothing, np.zeros(size, bool), missing)
            if pa.types.is_integer(chunk.type)
            else (nothing, part, ~missing & False, missing)
        )
    statuses, micros = _moments(chunk, options)
    missing = missing | (statuses == TimeStatus.MISSING)
    is_moment = (statuses == TimeStatus.WITH_ZONE) | (statuses == TimeStatus.WITHOUT_ZONE)
    numbers, is_number = np.zeros(size, np.int64), np.zeros(size, bool)
    if not options.form.directives:
        good = pc.match_substring_regex(chunk, _DECIMAL).fill_null(False)
        plain = pc.if_else(good, pc.replace_substring_regex(chunk, r"^\+", ""), "0")
        floats = plain.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False)
        is_number = good.to_numpy(zero_copy_only=False) & (np.abs(floats) < _LARGEST)
        numbers = np.floor(np.where(is_number, floats, 0)).astype(np.int64)
        _, classes, exact = clean_text(chunk, ())
        whole = classes == IdClass.INTEGER  # doubles have 53 bits, nanoseconds need 61
        numbers[whole], is_number = exact[whole], is_number | whole
    return _Part(numbers, ~is_number), _Part(micros, ~is_moment), ~(is_number | is_moment | missing), missing


@dataclass(frozen=True)
class TimeRule:
    """How the times of the whole log are read.

    Attributes:
        unit: of the events' times.
        number_unit: of times that are numbers.
        options: how texts are written.
    """

    unit: Literal["s", "ms", "us"] = "s"
    number_unit: Unit = "s"
    options: TimeOptions = DEFAULT_TIMES

    def read(self, chunk: pa.Array) -> Parsed:
        """Reads a chunk of the time column as int64 in `unit`, finer fractions cut off towards the past."""
        if pa.types.is_integer(chunk.type) and self.unit == self.number_unit:
            missing = chunk.is_null().to_numpy(zero_copy_only=False)
            values = chunk.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
            return Parsed(values, np.zeros(len(chunk), bool), missing)
        numbers, moments, bad, missing = _split(chunk, self.options)
        values = np.zeros(len(chunk), np.int64)
        for part, scale in ((numbers, SCALES[self.number_unit]), (moments, SCALES["us"])):
            if len(part.values):
                there = ~part.missing
                values[there] = _rescaled(part.values[there], scale, SCALES[self.unit])
        return Parsed(values, bad, missing)


def _rescaled(values: np.ndarray, scale: int, wanted: int) -> np.ndarray:
    if scale >= wanted:
        divided: np.ndarray = values // (scale // wanted)
        return divided
    factor = wanted // scale
    clipped: np.ndarray = (
        np.clip(values, -(_LARGEST // factor), _LARGEST // factor) * factor
    )  # what is clipped lies outside of every window
    return clipped


def settle_times(facts: TimeFacts, config: ConvertConfig) -> TimeRule:
    """Decides units from what the whole log holds."""
    unit = facts.unit(config.time_unit)
    return TimeRule(unit, facts.number_unit(config.time_unit), TimeOptions.of(config))


def facts_of(state: Mapping[str, Any]) -> TimeFacts:
    """The facts out of their JSON form."""
    return TimeFacts(**state)
