"""Passes over columns of ids and codes: counting, coding, and dealing events out to partitions (`ops/cc/data/id_columns.cc`).

Without the native data library numpy does the same. Values are int32 or int64 everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ops.data_library import address, load_data_library


def count_ids(values: np.ndarray, low: int, table: np.ndarray) -> None:
    """Adds how often each value occurs to its place in a table.

    Args:
        values: [n] integers in [low, low + len(table)).
        low: value of the table's first entry.
        table: [t] uint32, changed in place.
    """
    library = load_data_library()
    if library is None:
        np.add.at(table, values.astype(np.int64) - low, np.uint32(1))
        return
    values = np.ascontiguousarray(values)
    library.nann_count_ids(address(values), values.itemsize, len(values), low, address(table))


def code_ids(values: np.ndarray, low: int, table: np.ndarray) -> np.ndarray:
    """Looks values up in a table.

    Args:
        values: [n] integers.
        low: value of the table's first entry.
        table: [t] int32.

    Returns:
        [n] int32, -1 for values outside of the table.
    """
    library = load_data_library()
    if library is None:
        place = values.astype(np.int64) - low
        inside = (values >= low) & (place < len(table))
        return np.where(inside, table[np.where(inside, place, 0)], -1).astype(np.int32)
    values, codes = np.ascontiguousarray(values), np.empty(len(values), np.int32)
    library.nann_code_ids(address(values), values.itemsize, len(values), low, address(table), len(table), address(codes))
    return codes


@dataclass(frozen=True)
class DealtEvents:
    """Events in the order of their partitions, within one as they were.

    Attributes:
        keys: [n] uint64, user's number in the partition << time_bits | time - first_time.
        item_codes: [n] int32.
        bounds: [P + 1] int64; partition p has the events [bounds[p], bounds[p + 1]).
        kinds: [n] uint8, or None if none were given.
    """

    keys: np.ndarray
    item_codes: np.ndarray
    bounds: np.ndarray
    kinds: np.ndarray | None


def deal_events(
    users: np.ndarray,
    items: np.ndarray,
    times: np.ndarray,
    kinds: np.ndarray | None = None,
    *,
    partition_of_user: np.ndarray,
    firsts: np.ndarray,
    time_bits: int,
    first_time: int,
) -> DealtEvents:
    """Deals events out to partitions.

    Args:
        users: [n] int32 codes; events whose user or item has code -1 are left out.
        items: [n] int32 codes.
        times: [n] not before ``first_time``, less than 2**time_bits after it.
        kinds: [n] uint8, dealt out with the events.
        partition_of_user: [U] uint16.
        firsts: [P + 1] int64, code of each partition's first user.
        time_bits: bits of a key that hold the time.
        first_time: earliest time.
    """
    library = load_data_library()
    partitions = len(firsts) - 1
    if library is None:
        known = np.flatnonzero((users >= 0) & (items >= 0))
        users, items, times = users[known], items[known], times[known]
        kinds = None if kinds is None else kinds[known]
        partition = partition_of_user[users]
        keys = (users - firsts[partition]).astype(np.uint64) << np.uint64(time_bits)
        keys |= (times.astype(np.int64) - first_time).astype(np.uint64)
        order = np.argsort(partition, kind="stable")
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(partition, minlength=partitions))])
        return DealtEvents(keys[order], items[order], bounds, None if kinds is None else kinds[order])
    times = np.ascontiguousarray(times)
    keys, codes, bounds = np.empty(len(users), np.uint64), np.empty(len(users), np.int32), np.empty(partitions + 1, np.int64)
    given = None if kinds is None else np.ascontiguousarray(kinds)
    dealt_kinds = None if kinds is None else np.empty(len(users), np.uint8)
    size = library.nann_deal_events(
        address(users),
        address(items),
        address(times),
        times.itemsize,
        None if given is None else address(given),
        len(users),
        address(partition_of_user),
        address(firsts),
        partitions,
        time_bits,
        first_time,
        address(keys),
        address(codes),
        None if dealt_kinds is None else address(dealt_kinds),
        address(bounds),
    )
    return DealtEvents(keys[:size], codes[:size], bounds, None if dealt_kinds is None else dealt_kinds[:size])


def note_categories(items: np.ndarray, categories: np.ndarray, category_of_item: np.ndarray, changed: np.ndarray) -> None:
    """Remembers the first category of every item, and marks items seen with another one.

    Args:
        items: [n] int32 codes, -1 for events to leave out.
        categories: [n] int32 codes, -1 for none.
        category_of_item: [N] int32, -1 where none is known; changed in place.
        changed: [N] bool; changed in place.
    """
    library = load_data_library()
    if library is not None:
        library.nann_note_categories(address(items), address(categories), len(items), address(category_of_item), address(changed))
        return
    present = np.flatnonzero((items >= 0) & (categories >= 0))
    items, categories = items[present], categories[present]
    new = np.flatnonzero(category_of_item[items] < 0)
    category_of_item[items[new[::-1]]] = categories[new[::-1]]  # a repeated index keeps the last value, which is the first in the file
    changed[items[category_of_item[items] != categories]] = True
