"""Turns Arrow columns of integers or text into ids, with a mask of the rows that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.bad_rows import BadRows
from data_prep.config import IdType
from data_prep.errors import DataError
from data_prep.text_columns import EXACT_FLOATS, clean_text, text_buffers, to_text
from ops.text_values import IdClass, id_classes

TEXT_CATEGORIES = 0.01  # categories are strings if more than this share of them are no integers: a row is more than its category
_INTEGERS = (IdClass.INTEGER, IdClass.SPELLED_INTEGER, IdClass.INEXACT, IdClass.LEADING_ZERO)


@dataclass(frozen=True)
class Parsed:
    """One column of the log.

    Attributes:
        values: [n] int64, or a string array (plain or of dictionary type); where ``bad`` or ``missing`` is set the value means nothing.
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


def narrow_ids(array: pa.Array, null_words: Sequence[str] = ()) -> pa.Array:
    """An id column as int64 (or int32, as it came) if every value is an integer as a program writes it, or a whole float; else as string.

    Args:
        array: of integers, floats, decimals, strings or binaries, or of a dictionary of these.
        null_words: texts that mean "missing", beside the empty one and NaN.
    """
    kind = array.type
    if pa.types.is_int64(kind) or pa.types.is_int32(kind):
        return array
    if pa.types.is_dictionary(kind):
        return narrow_ids(array.dictionary_decode(), null_words)
    if pa.types.is_integer(kind):
        try:
            return array.cast(pa.int64())
        except pa.ArrowInvalid:  # unsigned ones above 2^63
            pass
    elif pa.types.is_null(kind):
        return array.cast(pa.int64())
    elif pa.types.is_floating(kind):
        values = array.cast(pa.float64())
        values = pc.if_else(pc.is_nan(values), None, values)
        known = pc.drop_null(values).to_numpy(zero_copy_only=False)
        if not np.any((np.floor(known) != known) | (np.abs(known) > EXACT_FLOATS)):
            return values.cast(pa.int64())
    text, classes, values = clean_text(pc.ascii_trim_whitespace(to_text(array)), null_words)
    return integers_if_plain(text, classes, values)


def integers_if_plain(text: pa.Array, classes: np.ndarray, values: np.ndarray) -> pa.Array:
    """The values as int64 if all are integers as a program writes them or missing (`clean_text` says so), else the text."""
    missing = classes == IdClass.MISSING
    if np.all(missing | (classes == IdClass.INTEGER)):
        return pa.array(values, pa.int64(), mask=missing if missing.any() else None)
    return text


@dataclass
class IdFacts:
    """What decides the type of an id column.

    Attributes:
        present: values that are there.
        not_integers: those that are no integers of 64 bits.
        leading_zeros: those whose zeros in front an integer would lose.
        wide: those that fit 64 bits without a sign only.
        inexact: those above 2^53 that were written as floats.
        example: the first value with a zero in front, or too wide.
    """

    present: int = 0
    not_integers: int = 0
    leading_zeros: int = 0
    wide: int = 0
    inexact: int = 0
    example: str = ""

    def add(self, other: IdFacts) -> None:
        """Adds the counts of another part of the column."""
        self.present += other.present
        self.not_integers += other.not_integers
        self.leading_zeros += other.leading_zeros
        self.wide += other.wide
        self.inexact += other.inexact
        self.example = self.example or other.example

    def is_string(self, id_type: IdType, role: str = "") -> bool:
        """Whether the ids are strings; with "auto" they are integers if at least half of the values that are there read as such (the
        others are then bad) and none would lose zeros or digits. Of categories nearly all must."""
        if id_type != "auto":
            return id_type == "string"
        limit = TEXT_CATEGORIES if role == "category" else 0.5
        return bool(self.leading_zeros or self.wide or self.not_integers > limit * self.present)

    def why(self, id_type: IdType, role: str = "") -> str:
        """What the ids are, and what decided that."""
        if not self.is_string(id_type, role):
            return "integers"
        if id_type == "string":
            return "strings, as asked"
        if self.leading_zeros:
            return f"strings ({self.leading_zeros:,} begin with a zero that an integer would lose, such as {self.example!r})"
        if self.wide:
            return f"strings ({self.wide:,} are above 2^63 - 1, such as {self.example!r})"
        return "strings"


def id_facts(chunk: pa.Array) -> IdFacts:
    """The facts of one chunk of an id column, as `narrow_ids` makes it."""
    if pa.types.is_integer(chunk.type):
        return IdFacts(len(chunk) - chunk.null_count)
    text, weights = chunk, None
    if pa.types.is_dictionary(chunk.type):
        text = chunk.dictionary
        weights = np.bincount(pc.drop_null(chunk.indices).to_numpy(zero_copy_only=False), minlength=len(text))
    classes, _ = id_classes(*text_buffers(text))
    counts = np.bincount(classes, weights, minlength=len(IdClass)).astype(np.int64).tolist()
    telling = np.flatnonzero((classes == IdClass.LEADING_ZERO) | (classes == IdClass.WIDE))
    return IdFacts(
        present=sum(counts) - counts[IdClass.MISSING],
        not_integers=counts[IdClass.TEXT] + counts[IdClass.BROKEN] + counts[IdClass.WIDE],
        leading_zeros=counts[IdClass.LEADING_ZERO],
        wide=counts[IdClass.WIDE],
        inexact=counts[IdClass.INEXACT],
        example=text[int(telling[0])].as_py() if len(telling) else "",
    )


def read_ids(chunk: pa.Array, *, as_string: bool) -> Parsed:
    """Reads a chunk of an id column, as `narrow_ids` makes it, as integers or as strings."""
    missing = chunk.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_integer(chunk.type):
        if as_string:
            return Parsed(chunk.cast(pa.string()), np.zeros(len(chunk), bool), missing)
        filled = chunk.cast(pa.int64()).fill_null(0) if chunk.null_count else chunk.cast(pa.int64())
        return Parsed(filled.to_numpy(zero_copy_only=False), np.zeros(len(chunk), bool), missing)
    text = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
    classes, values = id_classes(*text_buffers(text))
    if text is not chunk:
        index = chunk.indices.fill_null(0).to_numpy(zero_copy_only=False)
        classes, values = (classes[index], values[index]) if len(text) else (np.zeros(len(chunk), np.uint8), np.zeros(len(chunk), np.int64))
    missing = missing | (classes == IdClass.MISSING)
    if as_string:
        return Parsed(chunk, (classes == IdClass.BROKEN) & ~missing, missing)
    return Parsed(values, ~np.isin(classes, _INTEGERS) & ~missing, missing)


def _joined(parts: Sequence[Parsed]) -> Parsed:
    columns = [part.values for part in parts]
    values: np.ndarray | pa.Array = pa.concat_arrays(columns) if parts[0].is_string else np.concatenate(columns)
    return Parsed(values, np.concatenate([part.bad for part in parts]), np.concatenate([part.missing for part in parts]))


def parse_ids(chunks: Sequence[pa.Array], id_type: IdType, role: str = "") -> Parsed:
    """Decides whether a column holds integer or string ids (`IdFacts.is_string`) and reads it."""
    facts = IdFacts()
    if id_type == "auto":
        for chunk in chunks:
            facts.add(id_facts(chunk))
    return _joined([read_ids(chunk, as_string=facts.is_string(id_type, role)) for chunk in chunks])


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
    columns: Mapping[str, Parsed],
    chunks: Mapping[str, Sequence[pa.Array]],
    bad: BadRows,
    extra: Mapping[str, tuple[str, np.ndarray]],
    *,
    time_rule: str = "not_a_number",
) -> np.ndarray:
    """Counts every unusable row once, under its first reason.

    Args:
        columns: role -> parsed column.
        chunks: role -> the raw chunks, for examples.
        bad: counter.
        extra: further reasons -> (role to show, [n] bool mask).
        time_rule: what a time is that cannot be read.

    Returns:
        [n] bool, the rows to keep.
    """
    keep = np.ones(len(next(iter(columns.values())).bad), bool)
    reasons: list[tuple[str, str, np.ndarray]] = []
    for role, column in columns.items():
        rule = time_rule if role == "time" else "not_utf8" if column.is_string else "not_an_integer"
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
