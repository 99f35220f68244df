"""Item-to-item collaborative filtering.

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

from nann.evaluation.recommenders.order import Rows, best_scored, filled

logger = logging.getLogger(__name__)

DECAY = 0.8
USERS_PER_PRODUCT = 128
SIMILARITIES_AT_ONCE = 50_000_000  # entries of 12 bytes; the Globo clicks need about half of it, so they are done in one go


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
                        best = best_scored(scores.indices[entries], scores.data[entries], k)
                        lists[first + start + row] = filled(best, fill, k)
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


def _inverse_sqrt(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(1.0, np.sqrt(values), out=np.zeros_like(values), where=values > 0)
