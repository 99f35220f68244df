"""Turns Arrow columns of integers or text into ids and times, with a mask of the rows that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.bad_rows import BadRows
from data_prep.errors import DataError

# Fits int64: up to 18 digits, or 19 that stay below 9.22e18 (the last 0.04 % of the range counts as "no integer").
_INTEGER = r"^[+-]?([0-9]{1,18}|[1-8][0-9]{18}|9[01][0-9]{17}|92[01][0-9]{16})$"
_DECIMAL = r"^[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?$"
MILLISECONDS_ABOVE = 1e11  # as seconds: the year 5138; as milliseconds: March 1973


@dataclass(frozen=True)
class Parsed:
    """One column of the log.

    Attributes:
        values: [n] int64, or a string array; where ``bad`` or ``missing`` is set the value means nothing.
        bad: [n] bool, the value breaks the column's rule.
        missing: [n] bool, there is no value.
    """

    values: np.ndarray | pa.Array
    bad: np.ndarray
    missing: np.ndarray

    @property
    def is_string(self) -> bool:
        """Whether the values are strings."""
        return not isinstance(self.values, np.ndarray)


def narrow(array: pa.Array) -> pa.Array:
    """The array as int64 if every value is an integer, else as double (floating input) or string."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_timestamp(array.type):
        return array.cast(pa.timestamp("ms", tz=array.type.tz), safe=False).cast(pa.int64())
    if pa.types.is_int64(array.type):
        return array
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        array = _valid_text(array)
        known = pc.drop_null(array)
        if len(known) and pc.all(pc.match_substring_regex(known.slice(0, 1), _INTEGER)).as_py():
            try:
                return array.cast(pa.int64()) if pc.all(pc.match_substring_regex(known, _INTEGER)).as_py() else array
            except pa.ArrowInvalid:
                return array
        return array
    try:
        return array.cast(pa.int64())
    except pa.ArrowInvalid:
        return array.cast(pa.float64() if pa.types.is_floating(array.type) else pa.string())


def _valid_text(array: pa.Array) -> pa.Array:
    """Trimmed text; what is not UTF-8 becomes a string with U+FFFD, which no rule accepts."""
    array = array.cast(pa.string(), safe=False)
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        raw = array.cast(pa.binary()).to_pylist()
        array = pa.array([None if value is None else value.decode("utf-8", errors="replace") for value in raw], pa.string())
    return pc.utf8_trim_whitespace(array)


def _as_text(chunk: pa.Array) -> pa.Array:
    return chunk if pa.types.is_string(chunk.type) else chunk.cast(pa.string())


def _integers(chunk: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values, bad, missing) of one chunk read as integers."""
    if pa.types.is_integer(chunk.type):
        missing = chunk.is_null().to_numpy(zero_copy_only=False)
        return chunk.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), np.zeros(len(chunk), bool), missing
    text = _as_text(chunk)
    missing = pc.or_kleene(text.is_null(), pc.equal(text, "")).fill_null(True).to_numpy(zero_copy_only=False)
    good = pc.match_substring_regex(text, _INTEGER).fill_null(False)
    values = pc.if_else(good, pc.replace_substring_regex(text, r"^\+", ""), "0").cast(pa.int64()).fill_null(0)
    return values.to_numpy(zero_copy_only=False), ~good.to_numpy(zero_copy_only=False) & ~missing, missing


@dataclass
class IdFacts:
    """What decides the type of an id column: how many values are there, and how many of them are no integers."""

    present: int = 0
    not_integers: int = 0

    def add(self, other: IdFacts) -> None:
        """Adds the counts of another part of the column."""
        self.present += other.present
        self.not_integers += other.not_integers

    def is_string(self, id_type: Literal["auto", "int", "string"]) -> bool:
        """With "auto" the ids are integers if at least half of the values that are there read as integers; the others are then bad."""
        return id_type == "string" or (id_type == "auto" and 2 * self.not_integers > self.present)


@dataclass
class TimeFacts:
    """What decides the unit of the time column: how many values can be used, and how many of them look like milliseconds."""

    usable: int = 0
    large: int = 0

    def add(self, other: TimeFacts) -> None:
        """Adds the counts of another part of the column."""
        self.usable += other.usable
        self.large += other.large

    def unit(self, unit: Literal["auto", "s", "ms"]) -> Literal["s", "ms"]:
        """With "auto", ms if at least half of the usable values are above `MILLISECONDS_ABOVE`."""
        if unit != "auto":
            return unit
        return "ms" if self.usable and 2 * self.large >= self.usable else "s"


def id_facts(chunk: pa.Array) -> IdFacts:
    """The facts of one chunk of an id column."""
    if pa.types.is_integer(chunk.type):
        return IdFacts(len(chunk) - chunk.null_count, 0)
    _, bad, missing = _integers(chunk)
    return IdFacts(int((~missing).sum()), int(bad.sum()))


def time_facts(chunk: pa.Array) -> TimeFacts:
    """The facts of one chunk of the time column."""
    if pa.types.is_int32(chunk.type):  # none is large
        return TimeFacts(len(chunk) - chunk.null_count, 0)
    column = read_times(chunk)
    usable = column.values[~column.bad & ~column.missing]
    return TimeFacts(len(usable), int((usable > MILLISECONDS_ABOVE).sum()))


def read_ids(chunk: pa.Array, *, as_string: bool) -> Parsed:
    """Reads a chunk of an id column as integers or as strings."""
    if not as_string:
        return Parsed(*_integers(chunk))
    text = _as_text(chunk)
    missing = pc.or_kleene(text.is_null(), pc.equal(text, "")).fill_null(True).to_numpy(zero_copy_only=False)
    bad = pc.match_substring(text, "\N{REPLACEMENT CHARACTER}").fill_null(False).to_numpy(zero_copy_only=False)
    return Parsed(text, bad, missing)


def read_times(chunk: pa.Array) -> Parsed:
    """Reads a chunk of the time column as int64 in the log's unit, fractions cut off towards the past."""
    if pa.types.is_integer(chunk.type):
        return Parsed(*_integers(chunk))
    text = _as_text(chunk)
    missing = pc.or_kleene(text.is_null(), pc.equal(text, "")).fill_null(True).to_numpy(zero_copy_only=False)
    good = pc.match_substring_regex(text, _DECIMAL).fill_null(False)
    plain = pc.if_else(good, pc.replace_substring_regex(text, r"^\+", ""), "0")
    floats = plain.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False)
    usable = good.to_numpy(zero_copy_only=False) & (np.abs(floats) < 2.0**62)
    return Parsed(np.floor(np.where(usable, floats, 0)).astype(np.int64), ~usable & ~missing, missing)


def _joined(parts: Sequence[Parsed]) -> Parsed:
    columns = [part.values for part in parts]
    values: np.ndarray | pa.Array = pa.concat_arrays(columns) if parts[0].is_string else np.concatenate(columns)
    return Parsed(values, np.concatenate([part.bad for part in parts]), np.concatenate([part.missing for part in parts]))


def parse_ids(chunks: Sequence[pa.Array], id_type: Literal["auto", "int", "string"]) -> Parsed:
    """Decides whether a column holds integer or string ids (`IdFacts.is_string`) and reads it."""
    facts = IdFacts()
    if id_type == "auto":
        for chunk in chunks:
            facts.add(id_facts(chunk))
    return _joined([read_ids(chunk, as_string=facts.is_string(id_type)) for chunk in chunks])


def parse_times(chunks: Sequence[pa.Array], unit: Literal["auto", "s", "ms"]) -> tuple[Parsed, Literal["s", "ms"]]:
    """Reads the time column and settles its unit (`TimeFacts.unit`).

    Returns:
        The times as int64 in the unit, and the unit.
    """
    facts = TimeFacts()
    for chunk in chunks:
        facts.add(time_facts(chunk))
    return _joined([read_times(chunk) for chunk in chunks]), facts.unit(unit)


def example_of(column: Parsed, mask: np.ndarray, chunks: Sequence[pa.Array]) -> object:
    """The first value under ``mask`` as it stood in the file (None if the mask is empty)."""
    if not mask.any():
        return None
    row = int(np.argmax(mask))
    for chunk in chunks:
        if row < len(chunk):
            return chunk[row].as_py()
        row -= len(chunk)
    raise DataError(f"a mask of {len(mask)} rows does not fit its column")


def drop_bad(
    columns: dict[str, Parsed], chunks: dict[str, list[pa.Array]], bad: BadRows, extra: dict[str, tuple[str, np.ndarray]]
) -> np.ndarray:
    """Counts every unusable row once, under its first reason.

    Args:
        columns: role -> parsed column.
        chunks: role -> the raw chunks, for examples.
        bad: counter.
        extra: further reasons -> (role to show, [n] bool mask).

    Returns:
        [n] bool, the rows to keep.
    """
    keep = np.ones(len(next(iter(columns.values())).bad), bool)
    reasons: list[tuple[str, str, np.ndarray]] = []
    for role, column in columns.items():
        rule = "not_a_number" if role == "time" else "not_utf8" if column.is_string else "not_an_integer"
        if role != "category":
            reasons.append((f"{role}_missing", role, column.missing))
        reasons.append((f"{role}_{rule}", role, column.bad))
    reasons += [(reason, role, mask) for reason, (role, mask) in extra.items()]
    for reason, role, mask in reasons:
        first = mask & keep
        if first.any():
            bad.add(reason, int(first.sum()), example_of(columns[role], first, chunks[role]))
            keep &= ~first
    return keep
