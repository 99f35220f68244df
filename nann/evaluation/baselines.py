"""Simple recommenders that a trained model has to beat: popularity, popularity of the last hours, the user's own last items, and
item-to-item collaborative filtering.

All learn from the training events only and answer for the same users as the model, from the same histories.

Item CF scores item j for a history h by the cosine of the two items' sets of users, each user weighted by activity::

    s(i, j) = sum over users u of both i and j of len(u)^-1/2 / sqrt(n(i) n(j))
    score(j) = sum over t of decay^t s(h[-1 - t], j)

n(i) is the number of users of item i and len(u) the number of distinct items of user u (the weight is that of inverse user
frequency: a user of many things says little about any pair, Breese et al. 1998, arXiv 1301.7363). The diagonal s(i, i) stays in,
so that what a user had before can be recommended again; the most recent event has weight 1, the one before ``decay`` of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Rows = NDArray[np.int64]

DECAY = 0.8
USERS_PER_PRODUCT = 128
SIMILARITIES_AT_ONCE = 50_000_000  # entries of 12 bytes; the Globo clicks need about half of it, so they are done in one go


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
    return _filled(_most_counted(counts, k), None, k)


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
        lists[user] = _filled(newest[:k], fill, k)
    return lists


class RecentPopularity:
    """The items with the most events of the last hours before a moment.

    Args:
        item_rows: [E] item rows of the training events.
        times: [E] int64 unix seconds.
        num_items: N; rows are 1..N.
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
        counts, first, last = np.zeros(self._num_items + 1, np.int64), 0, 0
        for user in np.argsort(moments, kind="stable"):  # in order of time the window only moves forward
            np.add.at(counts, self._item_rows[last : ends[user]], 1)
            np.subtract.at(counts, self._item_rows[first : begins[user]], 1)
            first, last = begins[user], ends[user]
            lists[user] = _filled(_most_counted(counts, k), fill, k)
        return lists


class ItemCF:
    """Item-to-item collaborative filtering over training histories (formulas at the top of the module).

    Args:
        item_rows: [E] item rows of all training users' events, user after user, no padding.
        row_splits: [U + 1] int64, user u's events are ``item_rows[row_splits[u]:row_splits[u + 1]]``.
        num_items: N; rows are 1..N.
        decay: weight of an event relative to the next more recent one, in (0, 1].

    Raises:
        ValueError: rows outside 1..N, or ``decay`` outside (0, 1].
    """

    def __init__(self, item_rows: NDArray[np.integer], row_splits: NDArray[np.integer], *, num_items: int, decay: float = DECAY) -> None:
        item_rows = np.asarray(item_rows)
        if item_rows.size and not 1 <= int(item_rows.min()) <= int(item_rows.max()) <= num_items:
            raise ValueError(f"item rows must lie in 1..{num_items}, found {int(item_rows.min())}..{int(item_rows.max())}")
        _check_decay(decay)
        self._num_items = num_items
        self._decay = decay
        num_users = len(row_splits) - 1
        sets = sp.csr_matrix(
            (np.ones(len(item_rows)), item_rows.astype(np.int32), np.asarray(row_splits)), shape=(num_users, num_items + 1)
        )
        sets.sum_duplicates()
        sets.data[:] = 1.0
        lengths = np.diff(sets.indptr).astype(np.float64)
        users_of = np.bincount(sets.indices, minlength=num_items + 1).astype(np.float64)
        self._users_of_item = sets.T.tocsr()
        # What the similarities of a group of items can fill at most, known before they are computed: it bounds the memory.
        self._cost = np.minimum(self._users_of_item @ lengths, num_items)
        self._inverse_norm = _inverse_sqrt(users_of)
        weights = np.repeat(_inverse_sqrt(lengths), np.diff(sets.indptr)) * self._inverse_norm[sets.indices]
        self._weighted = sp.csr_matrix((weights, sets.indices, sets.indptr), shape=sets.shape)

    def recommend(self, histories: NDArray[np.integer], k: int, *, fill: Rows | None = None, budget: int = SIMILARITIES_AT_ONCE) -> Rows:
        """The ``k`` items of highest score for each history, the lower row first among equals.

        Args:
            histories: [S, L] item rows, oldest first, zeros anywhere are ignored.
            k: length of the lists.
            fill: item rows (as from `popular_list`) that take the places left where fewer than ``k`` items have a score above 0.
            budget: similarities held in memory at once; fewer means more passes, never another result.

        Returns:
            [S, k] int64 item rows, padded with 0.
        """
        return self.recommend_each(histories, k, decays=[self._decay], fill=fill, budget=budget)[0]

    def recommend_each(
        self,
        histories: NDArray[np.integer],
        k: int,
        *,
        decays: Sequence[float],
        fill: Rows | None = None,
        budget: int = SIMILARITIES_AT_ONCE,
    ) -> list[Rows]:
        """The lists of `recommend` with each of several decays; the similarities, most of the work, are computed once.

        Raises:
            ValueError: a decay lies outside (0, 1].
        """
        for decay in decays:
            _check_decay(decay)
        every = [np.zeros((len(histories), k), dtype=np.int64) for _ in decays]
        weights = [self._history_weights(np.asarray(histories), decay) for decay in decays]
        for first, last in self._groups(weights[0], 0, len(histories), budget) if decays else ():
            items = np.unique(weights[0][first:last].indices)
            similarities = sp.diags_array(self._inverse_norm[items]) @ (self._users_of_item[items] @ self._weighted)
            for lists, weight in zip(every, weights, strict=True):
                group = weight[first:last][:, items]
                for start in range(0, last - first, USERS_PER_PRODUCT):
                    scores = (group[start : start + USERS_PER_PRODUCT] @ similarities).tocsr()
                    for row in range(scores.shape[0]):
                        entries = slice(scores.indptr[row], scores.indptr[row + 1])
                        best = _best(scores.indices[entries], scores.data[entries], k)
                        lists[first + start + row] = _filled(best, fill, k)
            logger.info("item CF: %d of %d users", last, len(histories))
        return every

    def _history_weights(self, histories: NDArray[np.integer], decay: float) -> sp.csr_matrix:
        """[S, N + 1]: summed decayed weight of each item of each history."""
        real = histories > 0
        age = np.cumsum(real[:, ::-1], axis=1)[:, ::-1] - 1
        users, places = np.nonzero(real)
        values = decay ** age[users, places].astype(np.float64)
        items = histories[users, places]
        return sp.coo_matrix((values, (users, items)), shape=(len(histories), self._num_items + 1)).tocsr()

    def _groups(self, weights: sp.csr_matrix, first: int, last: int, budget: int) -> Iterator[tuple[int, int]]:
        """Halves the users until the similarities of all items of a group fit the budget, or one user is left."""
        if first == last:
            return
        if last - first > 1 and self._cost[np.unique(weights[first:last].indices)].sum() > budget:
            middle = (first + last) // 2
            yield from self._groups(weights, first, middle, budget)
            yield from self._groups(weights, middle, last, budget)
        else:
            yield first, last


def _check_decay(decay: float) -> None:
    if not 0 < decay <= 1:
        raise ValueError(f"decay is {decay}; it must lie in (0, 1]")


def _most_counted(counts: NDArray[np.int64], k: int) -> Rows:
    """Up to ``k`` item rows with a count above 0, by count descending, then row ascending."""
    width = len(counts)
    keys = counts * width - np.arange(width)  # one number that orders by count, then by row
    best = np.argpartition(keys, width - k)[width - k :] if k < width else np.arange(width)
    best = best[np.argsort(-keys[best])]
    return best[(counts[best] > 0) & (best > 0)].astype(np.int64)


def _inverse_sqrt(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(1.0, np.sqrt(values), out=np.zeros_like(values), where=values > 0)


def _best(items: NDArray[np.integer], scores: NDArray[np.float64], k: int) -> Rows:
    """Up to ``k`` items by score descending, then row ascending."""
    scores = np.round(scores, 12)  # equal up to the order of summation counts as equal, so that ties are broken by row alone
    if len(items) > k:
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        items, scores = items[kept], scores[kept]
    return items[np.lexsort((items, -scores))[:k]].astype(np.int64)


def _filled(best: Rows, fill: Rows | None, k: int) -> Rows:
    if fill is not None and len(best) < k:
        best = np.concatenate([best, fill[(fill > 0) & ~np.isin(fill, best)]])[:k]
    return np.pad(best, (0, k - len(best)))
