"""Counting and coding of ids batch by batch, in memory of the distinct ids, not of the events.

Integers of a range up to `DENSE_RANGE` are counted and coded by a table over the range, others by sorting; strings by a table of
their own. Which of these it is changes nothing in the outcome.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.text_columns import text_buffers
from data_prep.vocabulary import Ids
from ops.id_columns import code_ids, count_ids
from ops.string_table import StringTable

DENSE_RANGE = 1 << 26
_MERGE_ROWS = 1 << 20


class IdCounter(Protocol):
    """Counts ids."""

    def add(self, values: Ids) -> None:
        """Counts a batch."""

    def finish(self) -> tuple[Ids, np.ndarray]:
        """The distinct ids, ascending (strings by their UTF-8 bytes), and [k] int64 events of each."""


class IntegerCounter:
    """Counts int64 ids."""

    def __init__(self) -> None:
        self._low = 0
        self._table: np.ndarray | None = np.zeros(0, np.uint32)
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._part_rows = 0

    def add(self, values: Ids) -> None:
        """Counts a batch ([n] int32 or int64)."""
        values = np.asarray(values)
        if len(values) == 0:
            return
        if self._table is not None and self._fit(int(values.min()), int(values.max())):
            count_ids(values, self._low, self._table)
            return
        ids, counts = np.unique(values.astype(np.int64, copy=False), return_counts=True)
        self._parts.append((ids, counts.astype(np.int64)))
        self._part_rows += len(ids)
        if self._part_rows > max(_MERGE_ROWS, 2 * len(self._parts[0][0])):
            self._merge()

    def _fit(self, low: int, high: int) -> bool:
        """Makes the table span the range, or gives it up when the range is too large."""
        assert self._table is not None
        if len(self._table):
            if low >= self._low and high < self._low + len(self._table):
                return True
            low, high = min(low, self._low), max(high, self._low + len(self._table) - 1)
        if high - low + 1 > DENSE_RANGE:
            self._to_parts()
            return False
        size = min(1 << (high - low).bit_length(), DENSE_RANGE)
        table = np.zeros(max(size, high - low + 1), np.uint32)
        if len(self._table):
            table[self._low - low : self._low - low + len(self._table)] = self._table
        self._low, self._table = low, table
        return True

    def _to_parts(self) -> None:
        assert self._table is not None
        seen = np.flatnonzero(self._table != 0)  # several times faster than of the numbers themselves
        if len(seen):
            self._parts.append((seen + self._low, self._table[seen].astype(np.int64)))
            self._part_rows += len(seen)
        self._table = None

    def _merge(self) -> None:
        if not self._parts:
            return
        ids = np.concatenate([part[0] for part in self._parts])
        counts = np.concatenate([part[1] for part in self._parts])
        order = np.argsort(ids, kind="stable")
        ids, counts = ids[order], counts[order]
        starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
        self._parts = [(ids[starts], np.add.reduceat(counts, starts))]
        self._part_rows = len(starts)

    def finish(self) -> tuple[Ids, np.ndarray]:
        """The distinct ids, ascending, and [k] int64 events of each."""
        if self._table is not None:
            self._to_parts()
        self._merge()
        return self._parts[0] if self._parts else (np.zeros(0, np.int64), np.zeros(0, np.int64))


class StringCounter:
    """Counts string ids."""

    def __init__(self) -> None:
        self._table = StringTable()
        self._counts = np.zeros(0, np.int64)

    def add(self, values: Ids) -> None:
        """Counts a batch (string array, plain or of dictionary type, without nulls)."""
        assert isinstance(values, pa.Array)
        texts, weights = values, None
        if pa.types.is_dictionary(values.type):
            weights = np.bincount(values.indices.to_numpy(zero_copy_only=False), minlength=len(values.dictionary))
            present = np.flatnonzero(weights)
            texts, weights = values.dictionary.take(pa.array(present)), weights[present]
        numbers = self._table.add(*text_buffers(texts))
        if self._table.size > len(self._counts):
            self._counts = np.concatenate([self._counts, np.zeros(2 * self._table.size - len(self._counts), np.int64)])
        if weights is None:
            np.add.at(self._counts, numbers, 1)
        else:
            self._counts[numbers] += weights  # a dictionary names every string once

    def finish(self) -> tuple[Ids, np.ndarray]:
        """The distinct ids, ascending by their UTF-8 bytes, and [k] int64 events of each."""
        offsets, data = self._table.strings()
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
        ids = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)
        order = pc.sort_indices(ids)
        counts = self._counts[: len(ids)][order.to_numpy(zero_copy_only=False).astype(np.int64)]
        return ids.take(order).cast(pa.large_string()).cast(pa.string()), counts


def make_counter(is_string: bool) -> IdCounter:
    """A counter of string or of integer ids."""
    return StringCounter() if is_string else IntegerCounter()


def _string_codes(known: StringTable, values: pa.Array) -> np.ndarray:
    """[n] int32 numbers of strings, -1 for those that are not known and for nulls."""
    if not pa.types.is_dictionary(values.type):
        return known.find(*text_buffers(values))
    codes = np.append(known.find(*text_buffers(values.dictionary)), np.int32(-1))
    index = values.indices.fill_null(len(values.dictionary)) if values.null_count else values.indices
    found: np.ndarray = codes[index.to_numpy(zero_copy_only=False)]
    return found


class IdCoder:
    """Position of ids among known ones.

    Args:
        ids: [k] distinct ids, ascending.
    """

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._table: np.ndarray | None = None
        self._strings: StringTable | None = None
        if not isinstance(ids, np.ndarray):
            self._strings = StringTable()
            self._strings.add(*text_buffers(ids))
        if isinstance(ids, np.ndarray) and len(ids) and int(ids[-1]) - int(ids[0]) < DENSE_RANGE:
            self._low = int(ids[0])
            self._table = np.full(int(ids[-1]) - self._low + 1, -1, np.int32)
            self._table[ids - self._low] = np.arange(len(ids), dtype=np.int32)

    def codes(self, values: Ids) -> np.ndarray:
        """[n] int32 in [0, k), -1 for ids that are not known."""
        if len(values) == 0 or len(self._ids) == 0:
            return np.full(len(values), -1, np.int32)
        if self._strings is not None:
            return _string_codes(self._strings, values)
        if self._table is not None:
            return code_ids(values, self._low, self._table)
        distinct, inverse = np.unique(values, return_inverse=True)
        place = np.minimum(np.searchsorted(self._ids, distinct), len(self._ids) - 1)
        return np.where(self._ids[place] == distinct, place, -1).astype(np.int32)[inverse]
