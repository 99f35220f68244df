"""Popularity, popularity of the last hours, and the user's own last items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nann.evaluation.recommenders.order import Rows, filled, most_counted
from nann.progress import CountProgress


def popular_list(train_counts: NDArray[np.integer], k: int) -> Rows:
    """The ``k`` items with the most training events, the lower row first among equals.

    Args:
        train_counts: [N + 1] events of training users per item row; row 0 (padding) is ignored.
        k: length of the list.

    Returns:
        [k] int64 item rows, padded with 0 where fewer than ``k`` items have a training event.
    """
    counts = np.array(train_counts, np.int64)
    counts[0] = 0
    return filled(most_counted(counts, k), None, k)


def repeat_lists(histories: NDArray[np.integer], k: int, *, fill: Rows | None = None) -> Rows:
    """The ``k`` newest distinct items of each history, the newest first: what the user had before.

    Args:
        histories: [S, L] item rows, oldest first, zeros anywhere are ignored.
        k: length of the lists.
        fill: item rows that take the places left.

    Returns:
        [S, k] int64 item rows, padded with 0.
    """
    lists = np.zeros((len(histories), k), np.int64)
    for user, history in enumerate(np.asarray(histories)):
        newest = np.array(list(dict.fromkeys(history[history > 0][::-1].tolist())), np.int64)
        lists[user] = filled(newest[:k], fill, k)
    return lists


class RecentPopularity:
    """The items with the most events of the last hours before a moment.

    Args:
        item_rows: [E] item rows of the training events.
        times: [E] int64 unix seconds.
        num_items: N; rows are 1..N.

    Memory: 12 bytes an event, and 8 more while they are put in order.
    """

    def __init__(self, item_rows: NDArray[np.integer], times: NDArray[np.integer], *, num_items: int) -> None:
        order = np.argsort(times, kind="stable")
        self._item_rows, self._times = np.asarray(item_rows)[order], np.asarray(times)[order]
        self._num_items = num_items

    def recommend(self, moments: NDArray[np.integer], k: int, *, hours: float, fill: Rows | None = None) -> Rows:
        """The ``k`` items with the most events in (moment - hours, moment], the lower row first among equals.

        Args:
            moments: [S] int64 unix seconds; events after them do not count.
            k: length of the lists.
            hours: length of the window, above 0.
            fill: item rows that take the places left where fewer items have an event in the window.

        Returns:
            [S, k] int64 item rows, padded with 0.

        Raises:
            ValueError: ``hours`` is not above 0.
        """
        if hours <= 0:
            raise ValueError(f"hours is {hours}; the window must be longer than 0")
        lists = np.zeros((len(moments), k), np.int64)
        begins = np.searchsorted(self._times, np.asarray(moments) - 3600 * hours, side="right")
        ends = np.searchsorted(self._times, moments, side="right")
        counts, first, last, guess = np.zeros(self._num_items + 1, np.int32), 0, 0, 0
        progress = CountProgress(f"popularity of {hours:g} hours", len(moments))
        for done, user in enumerate(np.argsort(moments, kind="stable")):  # in order of time the window only moves forward
            np.add.at(counts, self._item_rows[last : ends[user]], 1)
            np.subtract.at(counts, self._item_rows[first : begins[user]], 1)
            first, last = begins[user], ends[user]
            best = most_counted(counts, k, guess=guess)
            guess = int(0.9 * counts[best[-1]]) if len(best) == k else 0  # what the next user's list will hardly reach below
            lists[user] = filled(best, fill, k)
            progress.update(done + 1)
        return lists
