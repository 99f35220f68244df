"""Edges between items and users, as compressed rows, from training users' events alone.

- item to item: two items within WINDOW events of each other in a history, weighted sum(1 / distance) / sqrt(n(i) n(j)), the cosine form of
  item-to-item collaborative filtering; the MAX_NEIGHBORS heaviest per item. An edge that one user alone supports is left out: that user's
  own targets could be read off it in training.
- item to user and user to item: the events themselves.
- user to user: not stored; a step from a user over one of the user's items to another user of that item, whose probability is
  sum over shared items i of 1 / (len(u) n(i)), weighs shared rare items most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nann.dataset import Histories

WINDOW = 5
MAX_NEIGHBORS = 32
PAIRS_AT_ONCE = 1 << 24  # of about 40 bytes each while they are counted

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class InteractionGraph:
    """Edges of N items and U users; a row r of values is ``values[row_splits[r]:row_splits[r + 1]]``.

    Attributes:
        near: [X] int32 item rows, the item neighbours of each item row 0..N, heaviest first.
        near_splits: [N + 2] int64.
        near_weights: [X] float64, above 0.
        users: [E] int32 user positions 0..U-1, those with an event of each item row, once per event.
        users_splits: [N + 2] int64.
        items: [E] int32 item rows, those of each user, once per event, in order of time.
        items_splits: [U + 1] int64.
    """

    near: Int32Array
    near_splits: Int64Array
    near_weights: Float64Array
    users: Int32Array
    users_splits: Int64Array
    items: Int32Array
    items_splits: Int64Array


def build_graph(
    histories: Histories, *, num_items: int, window: int = WINDOW, max_neighbors: int = MAX_NEIGHBORS, pairs_at_once: int = PAIRS_AT_ONCE
) -> InteractionGraph:
    """The graph of training histories.

    Args:
        histories: of the training users.
        num_items: N.
        window: events that two items may be apart, at least 1.
        max_neighbors: item neighbours kept per item.
        pairs_at_once: bounds the memory, changes nothing else.
    """
    item_rows, row_splits = histories.item_rows, histories.row_splits
    users = np.repeat(np.arange(len(row_splits) - 1, dtype=np.int32), np.diff(row_splits))
    counts = np.bincount(item_rows, minlength=num_items + 1)
    # stable: the users of an item ascend
    by_item = np.argsort(item_rows, kind="stable")
    parts = [
        _near_items(item_rows, users, counts, first, last, window, max_neighbors)
        for first, last in _blocks(counts, max(1, pairs_at_once // (2 * window)))
    ]
    rows, near, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return InteractionGraph(
        near=near.astype(np.int32),
        near_splits=_splits(np.bincount(rows, minlength=num_items + 1)),
        near_weights=weights,
        users=users[by_item],
        users_splits=_splits(counts),
        items=item_rows,
        items_splits=row_splits,
    )


def _splits(counts: npt.NDArray[np.integer]) -> Int64Array:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _blocks(counts: npt.NDArray[np.integer], events: int) -> Iterator[tuple[int, int]]:
    """Ranges of item rows with at most about ``events`` events each, over all rows 0..N."""
    block = np.cumsum(counts) // events
    bounds = np.flatnonzero(np.diff(block, prepend=-1))
    yield from zip(bounds, [*bounds[1:], len(counts)], strict=True)


def _near_items(
    item_rows: Int32Array,
    users: Int32Array,
    counts: npt.NDArray[np.integer],
    first: int,
    last: int,
    window: int,
    max_neighbors: int,
) -> tuple[Int64Array, Int64Array, Float64Array]:
    """The item edges that start at item rows first..last-1: start, end and weight of each, by start and descending weight."""
    size = len(counts)
    keys, supporters, amounts = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0)]
    wanted = (item_rows >= first) & (item_rows < last)
    for distance in range(1, min(window, len(item_rows) - 1) + 1):
        earlier, later = slice(None, -distance), slice(distance, None)
        pair = (users[earlier] == users[later]) & (item_rows[earlier] != item_rows[later])
        for here, there in ((earlier, later), (later, earlier)):
            chosen = np.flatnonzero(pair & wanted[here])
            keys.append(item_rows[here][chosen].astype(np.int64) * size + item_rows[there][chosen])
            supporters.append(users[here][chosen])
            amounts.append(np.full(len(chosen), 1.0 / distance))
    key, supporter, amount = np.concatenate(keys), np.concatenate(supporters), np.concatenate(amounts)
    if not len(key):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    order = np.argsort(key, kind="stable")
    key, supporter, amount = key[order], supporter[order], amount[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    shared = np.minimum.reduceat(supporter, starts) != np.maximum.reduceat(supporter, starts)
    rows, near = np.divmod(key[starts][shared], size)
    weights = np.add.reduceat(amount, starts)[shared] / np.sqrt(counts[rows].astype(np.float64) * counts[near])
    order = np.lexsort((near, -weights, rows))
    rows, near, weights = rows[order], near[order], weights[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = rank < max_neighbors
    return rows[kept], near[kept], weights[kept]
