"""Nearest training users: VSKNN, vector multiplication session-based k nearest neighbours.

After Ludewig and Jannach, "Evaluation of session-based recommendation algorithms" (UMUAI 2018, the section on nearest neighbours), with a
training user in the place of a session, and two additions that make it stronger here: long users can be damped, and the history's own
items get a bonus. With w(i) = decay^a, a the number of events of the history that are newer than the newest one of item i::

    sim(h, u)  = sum over items i of both h and u of w(i)  /  len(u)^damping
    N(h)       = the ``neighbours`` users of highest similarity
    score(j)   = (1 + idf log(U / n(j))) * sum over u in N(h) with j of sim(h, u) max over items i of both h and u of w(i)
    list score = score(j) + own w(j) max over all items of score,   the second part for items j of the history only

n(j) is the number of the U training users of item j, len(u) the number of distinct items of user u.

Bounds. A user counts with the newest ``MAX_ITEMS_PER_USER`` distinct items; an item is looked up in at most ``MAX_USERS_PER_ITEM`` of
its users, one from each of so many equal parts, drawn with a seed. One history of L items so costs at most L MAX_USERS_PER_ITEM +
neighbours MAX_ITEMS_PER_USER operations (1.5 million with 50 items and 2,000 neighbours), whatever the size of the log. Memory: 8 bytes
an event for the two directions user -> items and item -> users, 6 more while they are made, and 40 bytes a user and 32 bytes an item.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from nann.evaluation.recommenders.order import Rows, best_scored, filled

logger = logging.getLogger(__name__)

MAX_ITEMS_PER_USER = 500
MAX_USERS_PER_ITEM = 10_000
EVENTS_AT_ONCE = 4_000_000
SEED = 1
Floats = NDArray[np.float64]


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
        self._num_items, self._num_users = num_items, len(row_splits) - 1
        self._items, self._lengths = newest_distinct(item_rows, np.asarray(row_splits, np.int64), MAX_ITEMS_PER_USER)
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._lengths)])
        of_users = sp.csr_matrix(
            (np.ones(len(self._items), np.int8), self._items, self._starts), shape=(self._num_users, num_items + 1), copy=False
        )
        of_items = of_users.tocsc()
        self._users: NDArray[np.int32] = of_items.indices
        self._user_starts = of_items.indptr.astype(np.int64)
        self._users_of_item = np.diff(self._user_starts)
        self._idf = np.log(self._num_users / np.maximum(self._users_of_item, 1))
        self._seed = seed

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
        """The lists of `recommend` with each of several settings; those of equal decay share the walk over the users."""
        every = [np.zeros((len(histories), k), np.int64) for _ in settings]
        similarity, newest = np.zeros(self._num_users), np.zeros(self._num_users)
        user_slots, item_slots = np.zeros(self._num_users, np.int64), np.zeros(self._num_items + 1, np.int64)
        for place, history in enumerate(np.asarray(histories)):
            events = history[history > 0][::-1]
            own, ages = np.unique(events, return_index=True)
            common: dict[float, tuple[NDArray[np.int64], Floats, Floats]] = {}
            for lists, chosen in zip(every, settings, strict=True):
                weights = chosen.decay ** ages.astype(np.float64)
                if chosen.decay not in common:
                    common[chosen.decay] = self._common(own, weights, similarity, newest, user_slots)
                items, scores = self._scores(*common[chosen.decay], chosen, item_slots)
                items, scores = _with_own(items, scores, own, weights, chosen.own)
                lists[place] = filled(best_scored(items, scores, k), fill, k)
        return every

    def _common(
        self, own: NDArray[np.integer], weights: Floats, similarity: Floats, newest: Floats, slots: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Users with an item of the history, the summed weights of all such items, and the highest weight. The last three are scratch."""
        oldest_first = np.lexsort((own, weights))
        found = [self._sampled_users(int(item)) for item in own[oldest_first]]
        users = np.concatenate([np.zeros(0, np.int64), *found])
        similarity[users] = 0.0
        for some, weight in zip(found, weights[oldest_first], strict=True):
            similarity[some] += weight  # a user stands once among an item's users
            newest[some] = weight  # the last one to write is the highest
        users = _distinct(users, slots)
        return users, similarity[users], newest[users]

    def _scores(
        self, users: NDArray[np.int64], summed: Floats, newest: Floats, settings: KnnSettings, slots: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], Floats]:
        """Items of the nearest among the users and their scores, the bonus of own items aside."""
        similar = summed * self._lengths[users].astype(np.float64) ** -settings.damping
        if len(users) > settings.neighbours:
            nearest = _positions_of_best(users, similar, settings.neighbours)
            users, similar, newest = users[nearest], similar[nearest], newest[nearest]
        lengths = self._lengths[users]
        begins = np.cumsum(lengths) - lengths
        items = self._items[np.repeat(self._starts[users] - begins, lengths) + np.arange(int(lengths.sum()))]
        slots[items] = np.arange(len(items))
        sums = np.bincount(slots[items], weights=np.repeat(similar * newest, lengths), minlength=len(items))
        kept = slots[items] == np.arange(len(items))
        items = items[kept].astype(np.int64)
        return items, sums[kept] * (1 + settings.idf * self._idf[items])

    def _sampled_users(self, item: int) -> NDArray[np.int32]:
        """The users of an item, or a sample of one from each of equal parts of them where they are many."""
        users: NDArray[np.int32] = self._users[self._user_starts[item] : self._user_starts[item + 1]]
        if len(users) <= MAX_USERS_PER_ITEM:
            return users
        ends = np.arange(MAX_USERS_PER_ITEM + 1) * len(users) // MAX_USERS_PER_ITEM
        drawn = np.random.default_rng([self._seed, item]).random(MAX_USERS_PER_ITEM)
        return np.asarray(users[ends[:-1] + (drawn * np.diff(ends)).astype(np.int64)])


def newest_distinct(
    item_rows: NDArray[np.integer], row_splits: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The newest ``most`` distinct items of each user, in order of their newest events.

    Args:
        item_rows: [E] item rows, user after user, each in order of time.
        row_splits: [U + 1].
        most: items kept per user.

    Returns:
        [E'] int32 item rows, user after user, and [U] int64 how many each user has.
    """
    parts, counts, first, num_users = [np.zeros(0, np.int32)], np.zeros(len(row_splits) - 1, np.int64), 0, len(row_splits) - 1
    while first < num_users:  # users in blocks, so that the sorting stays small
        last = max(first + 1, int(np.searchsorted(row_splits, row_splits[first] + EVENTS_AT_ONCE, side="right")) - 1)
        items = np.asarray(item_rows[row_splits[first] : row_splits[last]], np.int32)
        users = np.repeat(np.arange(last - first), np.diff(row_splits[first : last + 1]))
        order = np.lexsort((items, users))  # stable: equal pairs stay in order of time
        ends = np.flatnonzero(np.append((np.diff(items[order]) != 0) | (np.diff(users[order]) != 0), True)) if len(items) else order
        newest = np.sort(order[ends])
        distinct = np.bincount(users[newest], minlength=last - first)
        behind = np.repeat(np.cumsum(distinct), distinct) - np.arange(len(newest))  # 1 for a user's newest item
        newest = newest[behind <= most]
        parts.append(items[newest])
        counts[first:last] = np.minimum(distinct, most)
        first = last
    return np.concatenate(parts), counts


def _distinct(values: NDArray[np.integer], slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each value once; ``slots``, as long as values are many, is scratch."""
    slots[values] = np.arange(len(values))
    once = slots[values] == np.arange(len(values))
    return np.asarray(values[once], np.int64)


def _positions_of_best(rows: NDArray[np.int64], scores: Floats, count: int) -> NDArray[np.int64]:
    """Positions of the ``count`` rows of highest score, the lower row among equals."""
    scores = np.round(scores, 12)
    last = np.partition(scores, len(scores) - count)[len(scores) - count]
    above, equal = np.flatnonzero(scores > last), np.flatnonzero(scores == last)
    equal = equal[np.argsort(rows[equal])][: count - len(above)]
    return np.sort(np.concatenate([above, equal]))


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
