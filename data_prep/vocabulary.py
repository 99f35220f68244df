"""Distinct ids of a column, dense codes for them, and the order of items and categories by popularity.

Everywhere: a *code* is the 0-based rank of an id among the distinct ids in ascending order (strings by their UTF-8 bytes); a *row* is
1-based, by (count descending, id ascending), 0 meaning "missing".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.parsing import Parsed

Ids: TypeAlias = "np.ndarray | pa.Array"  # [n] int64, or a string array


def take_ids(ids: Ids, index: np.ndarray) -> Ids:
    """The ids at ``index`` ([m] int), as the same kind of array."""
    return ids[index] if isinstance(ids, np.ndarray) else ids.take(pa.array(index))


def type_name(ids: Ids) -> str:
    """ "int64" or "string"."""
    return "int64" if isinstance(ids, np.ndarray) else "string"


@dataclass(frozen=True)
class Coded:
    """A column as codes.

    Attributes:
        ids: [k] the distinct ids, ascending.
        codes: [n] int32 in [0, k).
    """

    ids: Ids
    codes: np.ndarray


def encode_ids(values: Ids) -> Coded:
    """Codes the values of a column.

    Args:
        values: [n] int64 or string array without missing values.

    Returns:
        Distinct ids and codes. Integers of a narrow range are ranked by a table, others by sorting.
    """
    if not isinstance(values, np.ndarray):
        encoded = values.dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        order = pc.sort_indices(encoded.dictionary.cast(pa.binary())).to_numpy(zero_copy_only=False)
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        codes = rank[encoded.indices.to_numpy(zero_copy_only=False)] if len(order) else np.zeros(0, np.int32)
        return Coded(encoded.dictionary.take(pa.array(order)), codes)
    if len(values) == 0:
        return Coded(values, np.zeros(0, np.int32))
    low, high = int(values.min()), int(values.max())
    if high - low < max(1 << 20, 4 * len(values)):
        offsets = values - low
        seen = np.zeros(high - low + 1, bool)
        seen[offsets] = True
        rank = np.cumsum(seen, dtype=np.int32)
        rank -= 1
        return Coded(np.flatnonzero(seen) + low, rank[offsets])
    ids, codes = np.unique(values, return_inverse=True)
    return Coded(ids, codes.astype(np.int32))


def popularity_rows(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orders codes by popularity.

    Args:
        counts: [k] int64, events per code.

    Returns:
        order: [k] int, the code of row 1, of row 2, ...
        row_of_code: [k] int32, values 1..k.
    """
    order = np.argsort(-counts, kind="stable")
    row_of_code = np.empty(len(counts), np.int32)
    row_of_code[order] = np.arange(1, len(counts) + 1, dtype=np.int32)
    return order, row_of_code


def find_ids(known: Ids, wanted: Ids) -> np.ndarray:
    """Position of every wanted id in ``known`` (distinct, ascending), or -1.

    Args:
        known: [k] distinct ids, ascending.
        wanted: [n] ids of the same kind.

    Returns:
        [n] int64 in [-1, k).
    """
    if isinstance(known, np.ndarray):
        if len(known) == 0:
            return np.full(len(wanted), -1, np.int64)
        place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(known[place] == wanted, place, -1)
    found: np.ndarray = pc.index_in(wanted, value_set=known).fill_null(-1).to_numpy(zero_copy_only=False)
    return found.astype(np.int64)


def without_value(column: Parsed, value: str) -> np.ndarray:
    """[n] bool, the rows whose id equals ``value`` as the log would write it; all false if it cannot occur."""
    if isinstance(column.values, np.ndarray):
        try:
            return np.equal(column.values, int(value))
        except ValueError:
            return np.zeros(len(column.values), bool)
    values = column.values
    if pa.types.is_dictionary(values.type):
        known = pc.equal(values.dictionary, value).to_numpy(zero_copy_only=False)
        index = values.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
        found: np.ndarray = np.append(known, False)[index]
        return found
    equal: np.ndarray = pc.equal(values, value).fill_null(False).to_numpy(zero_copy_only=False)
    return equal
