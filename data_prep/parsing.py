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
    if pa.types.is_int64(chunk.type):
        missing = chunk.is_null().to_numpy(zero_copy_only=False)
        return chunk.fill_null(0).to_numpy(zero_copy_only=False), np.zeros(len(chunk), bool), missing
    text = _as_text(chunk)
    missing = pc.or_kleene(text.is_null(), pc.equal(text, "")).fill_null(True).to_numpy(zero_copy_only=False)
    good = pc.match_substring_regex(text, _INTEGER).fill_null(False)
    values = pc.if_else(good, pc.replace_substring_regex(text, r"^\+", ""), "0").cast(pa.int64()).fill_null(0)
    return values.to_numpy(zero_copy_only=False), ~good.to_numpy(zero_copy_only=False) & ~missing, missing


def parse_ids(chunks: Sequence[pa.Array], id_type: Literal["auto", "int", "string"]) -> Parsed:
    """Decides whether a column holds integer or string ids and reads it.

    With "auto" the ids are integers if at least half of the values that are there read as integers; the others are then bad.
    """
    if id_type != "string":
        values, bad, missing = (np.concatenate(parts) for parts in zip(*map(_integers, chunks), strict=True))
        present = int((~missing).sum())
        if id_type == "int" or 2 * int(bad.sum()) <= present:
            return Parsed(values, bad, missing)
    text = pa.concat_arrays([_as_text(chunk) for chunk in chunks])
    missing = pc.or_kleene(text.is_null(), pc.equal(text, "")).fill_null(True).to_numpy(zero_copy_only=False)
    bad = pc.match_substring(text, "�").fill_null(False).to_numpy(zero_copy_only=False)
    return Parsed(text, bad, missing)


def parse_times(chunks: Sequence[pa.Array], unit: Literal["auto", "s", "ms"]) -> tuple[Parsed, Literal["s", "ms"]]:
    """Reads the time column and settles its unit: with "auto", ms if the median is above `MILLISECONDS_ABOVE`.

    Returns:
        The times as int64 in the unit, fractions cut off towards the past, and the unit.
    """
    parts = []
    for chunk in chunks:
        if pa.types.is_int64(chunk.type):
            parts.append(_integers(chunk))
            continue
        text = _as_text(chunk)
        missing = pc.or_kleene(text.is_null(), pc.equal(text, "")).fill_null(True).to_numpy(zero_copy_only=False)
        good = pc.match_substring_regex(text, _DECIMAL).fill_null(False)
        plain = pc.if_else(good, pc.replace_substring_regex(text, r"^\+", ""), "0")
        floats = plain.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False)
        usable = good.to_numpy(zero_copy_only=False) & (np.abs(floats) < 2.0**62)
        parts.append((np.floor(np.where(usable, floats, 0)).astype(np.int64), ~usable & ~missing, missing))
    values, bad, missing = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if unit == "auto":
        usable = values[~bad & ~missing]
        unit = "ms" if len(usable) and np.median(usable) > MILLISECONDS_ABOVE else "s"
    return Parsed(values, bad, missing), unit


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
