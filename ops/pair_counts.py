"""Which items stand near each other in histories, and how often (`ops/cc/data/pair_counts.cc`).

Without the native data library numpy does the same, slower.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.data_library import address, load_data_library

MAX_EVENTS = 2**32 - 1
SOURCES_AT_ONCE = 4096


@dataclass(frozen=True)
class PairCounts:
    """Counts of some source items (S sources).

    Attributes:
        row_splits: [S + 1] int64; source s has the entries row_splits[s] up to row_splits[s + 1].
        items: [entries] int32 item rows, ascending within a source.
        forward: [entries] float32, sum over pairs with the item after the source.
        backward: [entries] float32, with the item before it.
        totals: [S, 2] float64, forward and backward summed over all items, those not kept included.
    """

    row_splits: NDArray[np.int64]
    items: NDArray[np.int32]
    forward: NDArray[np.float32]
    backward: NDArray[np.float32]
    totals: NDArray[np.float64]


class PairCounter:
    """Counts pairs of events of one history at most ``window`` positions apart; a pair at gap g counts 1 / g times the user's weight.

    It keeps 8 bytes an event beside the histories, and while counting 9 bytes an item and thread.

    Args:
        item_rows: [E] integers, item rows 1..N, user after user, each in order of time.
        row_splits: [U + 1] int64; user u's events are ``item_rows[row_splits[u]:row_splits[u + 1]]``.
        num_items: N.
        window: largest gap, at least 1.

    Raises:
        ValueError: item rows outside 1..N, a window below 1, or more than 2**32 - 1 events.
    """

    def __init__(self, item_rows: NDArray[np.integer], row_splits: NDArray[np.integer], *, num_items: int, window: int) -> None:
        if window < 1:
            raise ValueError(f"window is {window}; pairs lie at least 1 position apart")
        if len(item_rows) > MAX_EVENTS:
            raise ValueError(f"there are {len(item_rows):,} events; pairs are counted in at most {MAX_EVENTS:,}")
        if len(item_rows) and not 1 <= int(item_rows.min()) <= int(item_rows.max()) <= num_items:
            raise ValueError(f"item rows must lie in 1..{num_items}, found {int(item_rows.min())}..{int(item_rows.max())}")
        self._items = np.ascontiguousarray(item_rows, np.int32)
        self._splits = np.ascontiguousarray(row_splits, np.int64)
        self.num_items, self.window = num_items, window
        self._users = np.repeat(np.arange(len(self._splits) - 1, dtype=np.int32), np.diff(self._splits))
        self._starts, self._order = np.zeros(num_items + 2, np.int64), np.zeros(len(self._items), np.uint32)
        library = load_data_library()
        if library is not None:
            library.nann_index_events(address(self._items), len(self._items), num_items, address(self._starts), address(self._order))
        else:
            self._starts[1:] = np.cumsum(np.bincount(self._items, minlength=num_items + 1))
            self._order = np.argsort(self._items, kind="stable").astype(np.uint32)

    @property
    def item_counts(self) -> NDArray[np.int64]:
        """[N + 1] events per item row."""
        return np.diff(self._starts)

    def count(
        self,
        sources: NDArray[np.integer],
        *,
        user_weights: NDArray[np.floating],
        back: float,
        item_weights: NDArray[np.floating],
        keep: int,
        threads: int = 1,
    ) -> PairCounts:
        """The items near each of some source items.

        Args:
            sources: [S] item rows, distinct.
            user_weights: [U] what the pairs of a user count.
            back: what a pair with the item before the source counts beside one with the item after it, when choosing what to keep.
            item_weights: [N + 1] what an item's count is multiplied by when choosing what to keep.
            keep: items kept per source, those with the highest (forward + back * backward) * item weight, the lower row first among
                equals.
            threads: that count; the result does not depend on their number.

        Returns:
            The counts, by source in the order given.
        """
        sources = np.ascontiguousarray(sources, np.int32)
        arguments = (np.ascontiguousarray(user_weights, np.float32), float(back), np.ascontiguousarray(item_weights, np.float32), int(keep))
        blocks = [sources[first : first + SOURCES_AT_ONCE] for first in range(0, len(sources), SOURCES_AT_ONCE)]
        count: Callable[..., PairCounts] = self._count if load_data_library() is not None else self._count_in_numpy
        with ThreadPoolExecutor(max(1, threads)) as pool:
            return _joined(list(pool.map(lambda block: count(block, *arguments), blocks)))

    def _count(
        self, sources: NDArray[np.int32], user_weights: NDArray[np.float32], back: float, item_weights: NDArray[np.float32], keep: int
    ) -> PairCounts:
        library = load_data_library()
        assert library is not None  # the caller asked
        most = np.minimum(2 * self.window * (self._starts[sources + 1] - self._starts[sources]), min(keep, self.num_items))
        places = np.concatenate([[0], np.cumsum(most)]).astype(np.int64)
        items, forward, backward = np.zeros(places[-1], np.int32), np.zeros(places[-1], np.float32), np.zeros(places[-1], np.float32)
        sizes, totals = np.zeros(len(sources), np.int64), np.zeros((len(sources), 2), np.float64)
        events: list[NDArray[Any]] = [self._items, self._users, self._splits, user_weights, self._starts, self._order]
        results: list[NDArray[Any]] = [places, items, forward, backward, sizes, totals]
        library.nann_count_pairs(
            *map(address, events),
            self.num_items,
            address(sources),
            len(sources),
            self.window,
            back,
            address(item_weights),
            keep,
            *map(address, results),
        )
        filled = np.arange(places[-1]) - np.repeat(places[:-1], most) < np.repeat(sizes, most)
        return PairCounts(np.concatenate([[0], np.cumsum(sizes)]), items[filled], forward[filled], backward[filled], totals)

    def _count_in_numpy(
        self, sources: NDArray[np.int32], user_weights: NDArray[np.float32], back: float, item_weights: NDArray[np.float32], keep: int
    ) -> PairCounts:
        found = [self._count_one(int(source), user_weights, back, item_weights, keep) for source in sources]
        sizes = [len(items) for items, _, _ in found]
        columns = [np.concatenate(column) if found else np.zeros(0) for column in zip(*((a, b[0], b[1]) for a, b, _ in found), strict=True)]
        items, forward, backward = columns or [np.zeros(0)] * 3
        totals = np.array([total for _, _, total in found]).reshape(-1, 2)
        splits = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return PairCounts(splits, items.astype(np.int32), forward.astype(np.float32), backward.astype(np.float32), totals)

    def _count_one(
        self, source: int, user_weights: NDArray[np.float32], back: float, item_weights: NDArray[np.float32], keep: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        events = self._order[self._starts[source] : self._starts[source + 1]].astype(np.int64)
        users = self._users[events]
        sums = np.zeros((2, self.num_items + 1))
        for gap in range(1, self.window + 1):
            for side, others in enumerate((events + gap, events - gap)):
                inside = (others >= self._splits[users]) & (others < self._splits[users + 1])
                np.add.at(sums[side], self._items[others[inside]], user_weights[users[inside]] / gap)
        near = np.flatnonzero(sums.any(axis=0))
        order = np.lexsort((near, -(sums[0, near] + back * sums[1, near]) * item_weights[near]))
        near = np.sort(near[order[:keep]])
        return near, sums[:, near], sums.sum(axis=1)


def _joined(parts: list[PairCounts]) -> PairCounts:
    if not parts:
        empty = np.zeros(0, np.float32)
        return PairCounts(np.zeros(1, np.int64), np.zeros(0, np.int32), empty, empty, np.zeros((0, 2)))
    sizes = np.concatenate([np.diff(part.row_splits) for part in parts])
    return PairCounts(
        np.concatenate([[0], np.cumsum(sizes)]),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("items", "forward", "backward", "totals")),
    )
