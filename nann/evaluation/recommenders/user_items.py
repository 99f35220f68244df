"""Which training users have which items: what item CF and VSKNN look up, in both directions.

Bounds. Of a user the newest ``MAX_ITEMS_PER_USER`` distinct items are kept; an item is looked up in at most so many of its users as a
method says, one from each of as many equal parts, drawn with a seed: a sample at even steps could fall in with an order of the users.
Memory: 8 bytes an event for the two directions, 6 more while they are made, 40 bytes a user and 24 bytes an item.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from nann.evaluation.recommenders.order import Bounds

MAX_ITEMS_PER_USER = 500
EVENTS_AT_ONCE = 4_000_000
SEED = 1
Floats = NDArray[np.float64]


class UserItems:
    """The users of items and the items of users.

    Attributes:
        num_items: N.
        num_users: U.
        distinct: [U] int64 distinct items of each user, all of them.
        lengths: [U] int64 how many of them are kept.
        users_of_item: [N + 1] int64 users that keep the item.

    Args:
        item_rows: [E] item rows of all training users' events, user after user, each in order of time, no padding.
        row_splits: [U + 1] int64, user u's events are ``item_rows[row_splits[u]:row_splits[u + 1]]``.
        num_items: N; rows are 1..N.
        seed: of the samples of the users of frequent items.

    Raises:
        ValueError: rows outside 1..N.
    """

    def __init__(self, item_rows: NDArray[np.integer], row_splits: NDArray[np.integer], *, num_items: int, seed: int = SEED) -> None:
        item_rows = np.asarray(item_rows)
        if item_rows.size and not 1 <= int(item_rows.min()) <= int(item_rows.max()) <= num_items:
            raise ValueError(f"item rows must lie in 1..{num_items}, found {int(item_rows.min())}..{int(item_rows.max())}")
        self.num_items, self.num_users, self._seed = num_items, len(row_splits) - 1, seed
        self._items, self.distinct = newest_distinct(item_rows, np.asarray(row_splits, np.int64), MAX_ITEMS_PER_USER)
        self.lengths = np.minimum(self.distinct, MAX_ITEMS_PER_USER)
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])
        of_users = sp.csr_matrix(
            (np.ones(len(self._items), np.int8), self._items, self._starts), shape=(self.num_users, num_items + 1), copy=False
        )
        of_items = of_users.tocsc()
        self._users: NDArray[np.int32] = of_items.indices
        self._user_starts = of_items.indptr.astype(np.int64)
        self.users_of_item = np.diff(self._user_starts)

    def bounds(self, most_users: int | None = None) -> Bounds:
        """The bounds that this log reaches, where items are looked up in at most so many users."""
        reached = {"items_per_user": (MAX_ITEMS_PER_USER, np.count_nonzero(self.distinct > MAX_ITEMS_PER_USER))}
        if most_users is not None:
            reached["users_per_item"] = (most_users, np.count_nonzero(self.users_of_item > most_users))
        return {name: {"at_most": at_most, "reached_by": int(count)} for name, (at_most, count) in reached.items() if count}

    def users_of(self, items: NDArray[np.integer], most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Users of some items [n], at most so many of each: item after item, and [n + 1] where those of each begin and end."""
        sizes = np.minimum(self.users_of_item[items], most)
        splits = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        places = np.repeat(self._user_starts[items] - splits[:-1], sizes) + np.arange(int(splits[-1]))
        for place in np.flatnonzero(self.users_of_item[items] > most):
            item = int(items[place])
            sample = even_sample(int(self.users_of_item[item]), most, seed=[self._seed, item])
            places[splits[place] : splits[place + 1]] = self._user_starts[item] + sample
        return self._users[places].astype(np.int64), splits

    def rows(self, users: NDArray[np.integer], values: NDArray[np.inexact]) -> sp.csr_matrix:
        """[n, N + 1] the value of each of some users at all items that the user has."""
        lengths = self.lengths[users]
        splits = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        items = self._items[np.repeat(self._starts[users] - splits[:-1], lengths) + np.arange(int(splits[-1]))]
        return sp.csr_matrix((np.repeat(values, lengths), items, splits), shape=(len(users), self.num_items + 1))


def even_sample(count: int, size: int, *, seed: list[int]) -> NDArray[np.int64]:
    """One place from each of ``size`` equal parts of ``count`` places, ascending."""
    ends = np.arange(size + 1) * count // size
    drawn = np.random.default_rng(seed).random(size)
    return np.asarray(ends[:-1] + (drawn * np.diff(ends)).astype(np.int64))


def newest_distinct(
    item_rows: NDArray[np.integer], row_splits: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The newest ``most`` distinct items of each user, in order of their newest events.

    Args:
        item_rows: [E] item rows, user after user, each in order of time.
        row_splits: [U + 1].
        most: items kept per user.

    Returns:
        [E'] int32 item rows, user after user, and [U] int64 how many distinct items each user has, those not kept included.
    """
    parts, counts, first, num_users = [np.zeros(0, np.int32)], np.zeros(len(row_splits) - 1, np.int64), 0, len(row_splits) - 1
    while first < num_users:  # users in blocks, so that the sorting stays small
        last = max(first + 1, int(np.searchsorted(row_splits, row_splits[first] + EVENTS_AT_ONCE, side="right")) - 1)
        items = np.asarray(item_rows[row_splits[first] : row_splits[last]], np.int64)
        users = np.repeat(np.arange(last - first), np.diff(row_splits[first : last + 1]))
        keys = users * (int(items.max(initial=0)) + 1) + items
        order = np.argsort(keys, kind="stable")  # equal pairs stay in order of time
        ends = np.flatnonzero(np.append(np.diff(keys[order]) != 0, True)) if len(items) else order
        newest = np.sort(order[ends])
        distinct = np.bincount(users[newest], minlength=last - first)
        behind = np.repeat(np.cumsum(distinct), distinct) - np.arange(len(newest))  # 1 for a user's newest item
        parts.append(items[newest[behind <= most]].astype(np.int32))
        counts[first:last] = distinct
        first = last
    return np.concatenate(parts), counts
