"""Counting and coding of ids batch by batch, in memory of the distinct ids, not of the events.

Integers of a range up to `DENSE_RANGE` are counted and coded by a table over the range, others by sorting; strings through Arrow's
dictionaries. Which of these it is changes nothing in the outcome.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.vocabulary import Ids
from ops.id_columns import code_ids, count_ids

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
        self._tables: list[pa.Table] = []
        self._rows = 0

    def add(self, values: Ids) -> None:
        """Counts a batch (string array)."""
        counted = pc.value_counts(values)
        self._tables.append(pa.table({"id": counted.field(0), "count": counted.field(1)}))
        self._rows += len(counted)
        if self._rows > max(_MERGE_ROWS, 2 * self._tables[0].num_rows):
            self._merge()

    def _merge(self) -> None:
        table = pa.concat_tables(self._tables).group_by("id", use_threads=False).aggregate([("count", "sum")])
        self._tables = [table.rename_columns({"count_sum": "count"}).select(["id", "count"])]
        self._rows = table.num_rows

    def finish(self) -> tuple[Ids, np.ndarray]:
        """The distinct ids, ascending by their UTF-8 bytes, and [k] int64 events of each."""
        if not self._tables:
            return pa.array([], pa.string()), np.zeros(0, np.int64)
        self._merge()
        table = self._tables[0].combine_chunks()
        ids = table["id"].combine_chunks()
        order = pc.sort_indices(ids.cast(pa.binary()))
        return ids.take(order), table["count"].combine_chunks().take(order).to_numpy(zero_copy_only=False).astype(np.int64)


def make_counter(is_string: bool) -> IdCounter:
    """A counter of string or of integer ids."""
    return StringCounter() if is_string else IntegerCounter()


class IdCoder:
    """Position of ids among known ones.

    Args:
        ids: [k] distinct ids, ascending.
    """

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._table: np.ndarray | None = None
        if isinstance(ids, np.ndarray) and len(ids) and int(ids[-1]) - int(ids[0]) < DENSE_RANGE:
            self._low = int(ids[0])
            self._table = np.full(int(ids[-1]) - self._low + 1, -1, np.int32)
            self._table[ids - self._low] = np.arange(len(ids), dtype=np.int32)

    def codes(self, values: Ids) -> np.ndarray:
        """[n] int32 in [0, k), -1 for ids that are not known."""
        if len(values) == 0 or len(self._ids) == 0:
            return np.full(len(values), -1, np.int32)
        if not isinstance(values, np.ndarray):
            encoded = values.dictionary_encode()
            known = pc.index_in(encoded.dictionary, value_set=self._ids).fill_null(-1).to_numpy(zero_copy_only=False)
            codes: np.ndarray = known.astype(np.int32)[encoded.indices.to_numpy(zero_copy_only=False)]
            return codes
        if self._table is not None:
            return code_ids(values, self._low, self._table)
        distinct, inverse = np.unique(values, return_inverse=True)
        place = np.minimum(np.searchsorted(self._ids, distinct), len(self._ids) - 1)
        return np.where(self._ids[place] == distinct, place, -1).astype(np.int32)[inverse]
