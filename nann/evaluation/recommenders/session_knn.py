"""Nearest training users: VSKNN, vector multiplication session-based k nearest neighbours.

After Ludewig and Jannach, "Evaluation of session-based recommendation algorithms" (UMUAI 2018, the section on nearest neighbours), with a
training user in the place of a session, and two additions that make it stronger here: long users can be damped, and the history's own
items get a bonus. With w(i) = decay^a, a the number of events of the history that are newer than the newest one of item i::

    sim(h, u)  = sum over items i of both h and u of w(i)  /  len(u)^damping
    N(h)       = the ``neighbours`` users of highest similarity
    score(j)   = (1 + idf log(U / n(j))) * sum over u in N(h) with j of sim(h, u) max over items i of both h and u of w(i)
    list score = score(j) + own w(j) max over all items of score,   the second part for items j of the history only

n(j) is the number of the U training users of item j, len(u) the number of distinct items of user u.

Bounds. A user counts with the newest 500 distinct items, an item is looked up in at most ``USERS_PER_ITEM`` of its users, a sample of
them (`nann.evaluation.recommenders.user_items`); of a history the newest items are looked up until ``USERS_PER_HISTORY`` users are found.
So one history costs at most USERS_PER_HISTORY + USERS_PER_ITEM + 500 neighbours additions (1.1 million with 2,000 neighbours), whatever
the size of the log.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from nann.evaluation.recommenders.order import Bounds, Rows, best_scored, filled, positions_of_best
from nann.evaluation.recommenders.user_items import Floats, UserItems
from nann.progress import CountProgress

logger = logging.getLogger(__name__)

USERS_PER_ITEM = 10_000
USERS_PER_HISTORY = 100_000
HISTORIES_AT_ONCE = 64
OLDEST = 500  # ages above count as this one when the newest common item is sought: 4^-500 is still above 0


@dataclass(frozen=True)
class KnnSettings:
    """Parameters of VSKNN (formulas at the top of the module).

    Attributes:
        neighbours: training users that recommend, at least 1.
        decay: weight of an event relative to the next more recent one, in (0, 1].
        damping: power of a user's number of items by which the similarity is divided, at least 0.
        idf: weight of the inverse user frequency of what is recommended, at least 0.
        own: bonus of the history's own items, at least 0.

    Raises:
        ValueError: a value is out of its range.
    """

    neighbours: int = 500
    decay: float = 0.8
    damping: float = 0.5
    idf: float = 0.0
    own: float = 0.5

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"neighbours is {self.neighbours}; at least one user must recommend")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay is {self.decay}; it must lie in (0, 1]")
        for name in ("damping", "idf", "own"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")


class SessionKnn:
    """VSKNN over training users.

    Args:
        log: of the training users.
    """

    def __init__(self, log: UserItems) -> None:
        self._log = log
        self._idf = np.log(log.num_users / np.maximum(log.users_of_item, 1))
        self._shortened = 0

    @property
    def bounds(self) -> Bounds:
        """The bounds that the log, and the lists made last, reach."""
        own: Bounds = {"users_per_history": {"at_most": USERS_PER_HISTORY, "reached_by": self._shortened}}
        return self._log.bounds(USERS_PER_ITEM) | (own if self._shortened else {})

    def recommend(self, histories: NDArray[np.integer], k: int, settings: KnnSettings | None = None, *, fill: Rows | None = None) -> Rows:
        """The ``k`` items of highest score for each history, the lower row first among equals.

        Args:
            histories: [S, L] item rows, oldest first, zeros anywhere are ignored.
            k: length of the lists.
            settings: the parameters; None: those by default.
            fill: item rows that take the places left where fewer than ``k`` items have a score above 0.

        Returns:
            [S, k] int64 item rows, padded with 0.
        """
        return self.recommend_each(histories, k, [settings or KnnSettings()], fill=fill)[0]

    def recommend_each(
        self, histories: NDArray[np.integer], k: int, settings: Sequence[KnnSettings], *, fill: Rows | None = None
    ) -> list[Rows]:
        """The lists of `recommend` with each of several settings; neighbouring settings share what is equal in them."""
        histories = np.asarray(histories)
        every = [np.zeros((len(histories), k), np.int64) for _ in settings]
        progress, self._shortened = CountProgress("nearest users", len(histories)), 0
        for first in range(0, len(histories), HISTORIES_AT_ONCE):
            asked = _Asked(self._log, histories[first : first + HISTORIES_AT_ONCE])
            self._shortened += asked.shortened
            for lists, chosen in zip(every, settings, strict=True):
                sums = asked.sums(chosen)
                for row, (own, ages) in enumerate(asked.own):
                    entries = slice(sums.indptr[row], sums.indptr[row + 1])
                    items = sums.indices[entries].astype(np.int64)
                    scores = sums.data[entries] * (1 + chosen.idf * self._idf[items])
                    items, scores = _with_own(items, scores, own, chosen.decay ** ages.astype(np.float64), chosen.own)
                    lists[first + row] = filled(best_scored(items, scores, k), fill, k)
            progress.update(first + len(asked.own))
        return every


class _Asked:
    """Some histories, and what was worked out for the settings before.

    Attributes:
        own: per history its distinct items, and how many events are newer than the newest of each.
        shortened: histories of which not all items are looked up.
    """

    def __init__(self, log: UserItems, histories: NDArray[np.integer]) -> None:
        self._log = log
        self.own = [np.unique(history[history > 0][::-1], return_index=True) for history in histories]
        rows, found, ages = [], [], []
        self.shortened = 0
        for row, (own, age) in enumerate(self.own):
            newest_first = np.argsort(age)
            looked_up = np.minimum(log.users_of_item[own[newest_first]], USERS_PER_ITEM)
            kept = newest_first[np.cumsum(looked_up) - looked_up < USERS_PER_HISTORY]
            self.shortened += len(kept) < len(own)
            rows.append(np.full(len(kept), row))
            found.append(own[kept])
            ages.append(age[kept])
        self._rows, self._ages = np.concatenate(rows), np.concatenate(ages).astype(np.float64)
        items, self._places = np.unique(np.concatenate(found), return_inverse=True)
        users, splits = log.users_of(items, USERS_PER_ITEM)
        self._users_of_item = sp.csr_matrix((np.ones(len(users)), users, splits), shape=(len(items), log.num_users))
        # The sum of 4^-age over common items tells the least age: all others together are less than a third of its part.
        exponents = np.frexp(self._summed(4.0 ** -np.minimum(self._ages, OLDEST)).data)[1]
        self._least_ages = np.maximum((1 - exponents) // 2, 0)
        self._similarity: tuple[float, sp.csr_matrix] | None = None
        self._sums: tuple[tuple[float, float, int], sp.csr_matrix] | None = None

    def sums(self, settings: KnnSettings) -> sp.csr_matrix:
        """[B, N + 1] summed similarity, times the weight of the newest common item, of the nearest users that have an item."""
        key = (settings.decay, settings.damping, settings.neighbours)
        if self._sums is None or self._sums[0] != key:
            self._sums = key, self._sums_of_nearest(settings)
        return self._sums[1]

    def _sums_of_nearest(self, settings: KnnSettings) -> sp.csr_matrix:
        if self._similarity is None or self._similarity[0] != settings.decay:
            tiny = np.finfo(np.float64).tiny  # no entry may vanish, so that all sums have the same users
            self._similarity = settings.decay, self._summed(np.maximum(settings.decay**self._ages, tiny))
        summed = self._similarity[1]
        similar = summed.data
        if settings.damping:
            similar = similar * self._log.lengths[summed.indices].astype(np.float64) ** -settings.damping
        kept = []
        for row in range(summed.shape[0]):
            begin, end = summed.indptr[row], summed.indptr[row + 1]
            kept.append(begin + positions_of_best(summed.indices[begin:end], similar[begin:end], settings.neighbours))
        nearest = np.concatenate(kept)
        users, places = np.unique(summed.indices[nearest], return_inverse=True)
        weights = similar[nearest] * settings.decay ** self._least_ages[nearest].astype(np.float64)
        splits = np.concatenate([[0], np.cumsum([len(each) for each in kept])])
        left = sp.csr_matrix((weights, places, splits), shape=(summed.shape[0], len(users)))
        return sp.csr_matrix(left @ self._log.rows(users, np.ones(len(users))))

    def _summed(self, weights: Floats) -> sp.csr_matrix:
        """[B, U] the weights of the items that history and user have in common, summed."""
        left = sp.csr_matrix((weights, (self._rows, self._places)), shape=(len(self.own), self._users_of_item.shape[0]))
        return sp.csr_matrix(left @ self._users_of_item)


def _with_own(
    items: NDArray[np.int64], scores: Floats, own: NDArray[np.integer], weights: Floats, bonus: float
) -> tuple[NDArray[np.int64], Floats]:
    """Adds the bonus of the history's own items, those that no neighbour has among them."""
    if bonus == 0 or not len(own):
        return items, scores
    bonuses = bonus * weights * (scores.max() if len(scores) else 1.0)
    order = np.argsort(own)
    own, bonuses = own[order].astype(np.int64), bonuses[order]
    places = np.minimum(np.searchsorted(own, items), len(own) - 1)
    found = own[places] == items
    scores = scores + np.where(found, bonuses[places], 0.0)
    missing = ~np.isin(own, items[found])
    return np.concatenate([items, own[missing]]), np.concatenate([scores, bonuses[missing]])
