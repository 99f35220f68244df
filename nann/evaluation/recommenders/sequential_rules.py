"""Sequential rules as a recommender: the memory of pairs alone (`nann.memory.rules`), with lists to compare a model with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_prep.parallel import worker_count
from nann.dataset import Histories, Items
from nann.evaluation.recommenders.order import Bounds, Rows, best_scored, filled
from nann.memory.rules import WINDOW, RuleOptions, SequentialRules
from nann.progress import CountProgress
from ops.pair_counts import PairCounter, PairCounts

SUCCESSORS = 512
USERS_AT_ONCE = 250


class RuleLists:
    """Lists by sequential rules.

    Time and memory are bounded: pairs are counted in one pass over the events of the items in question, whose `SUCCESSORS` of highest R are
    kept, 12 bytes each. They are counted anew for other histories, and where ``activity`` or what is kept changes.

    Args:
        train: training events.
        items: the catalogue.
    """

    def __init__(self, train: Histories, items: Items) -> None:
        counter = PairCounter(train.item_rows, train.row_splits, num_items=len(items.train_counts) - 1, window=WINDOW)
        self._sources = np.zeros(0, np.int64)
        self._counts: dict[float, tuple[RuleOptions, PairCounts]] = {}  # by activity, of the sources, and the options they are kept by
        self._rules = SequentialRules(
            counter,
            np.diff(train.row_splits),
            category_rows=items.category_rows,
            num_categories=items.num_categories,
            keep=SUCCESSORS,
            threads=worker_count(0),
        )

    def recommend_each(
        self, histories: NDArray[np.integer], k: int, options: Sequence[RuleOptions], *, fill: Rows | None = None
    ) -> list[Rows]:
        """The ``k`` items of highest score for each history, the lower row first among equals, with each of several options.

        Args:
            histories: [S, L] item rows, oldest first, zeros anywhere are ignored.
            k: length of the lists.
            options: of the rules; of those with the same ``activity`` the first say which successors are kept.
            fill: item rows that take the places left where fewer than ``k`` items have a score above 0.

        Returns:
            Per options [S, k] int64 item rows, padded with 0.
        """
        histories = np.asarray(histories)
        sources = np.unique(histories[histories > 0]).astype(np.int64)
        if not np.array_equal(sources, self._sources):
            self._sources, self._counts = sources, {}
        first: dict[float, RuleOptions] = {}
        every = []
        progress = CountProgress("sequential rules", len(options), of="settings")
        for each in options:
            every.append(self._lists(histories, k, self._count(first.setdefault(each.activity, each)), each, fill))
            progress.update(len(every))
        return every

    def _count(self, options: RuleOptions) -> PairCounts:
        known = self._counts.pop(options.activity, None)
        if known is None or (known[0].back, known[0].popularity) != (options.back, options.popularity):
            known = options, self._rules.count(self._sources, options)
        self._counts[options.activity] = known
        return known[1]

    @property
    def bounds(self) -> Bounds:
        """The bounds that the lists made last reach."""
        reached = max((int(np.count_nonzero(np.diff(each.row_splits) == SUCCESSORS)) for _, each in self._counts.values()), default=0)
        return {"successors_per_item": {"at_most": SUCCESSORS, "reached_by": reached}} if reached else {}

    def _lists(self, histories: NDArray[np.integer], k: int, counts: PairCounts, options: RuleOptions, fill: Rows | None) -> Rows:
        pairs = self._rules.matrix(self._sources, counts, options)
        lists = np.zeros((len(histories), k), np.int64)
        for first in range(0, len(histories), USERS_AT_ONCE):
            scores = self._rules.scores(histories[first : first + USERS_AT_ONCE], pairs, options)
            for row in range(scores.shape[0]):
                entries = slice(scores.indptr[row], scores.indptr[row + 1])
                lists[first + row] = filled(best_scored(scores.indices[entries], scores.data[entries], k), fill, k)
        return lists
