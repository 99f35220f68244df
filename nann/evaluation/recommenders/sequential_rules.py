"""Sequential rules as a recommender: the memory of pairs alone (`nann.memory.rules`), with lists to compare a model with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_prep.parallel import worker_count
from nann.dataset import Histories, Items
from nann.evaluation.recommenders.order import Rows, best_scored, filled
from nann.memory.rules import WINDOW, RuleOptions, SequentialRules
from ops.pair_counts import PairCounter, PairCounts

SUCCESSORS = 512
USERS_AT_ONCE = 1000


class RuleLists:
    """Lists by sequential rules. Time and memory are bounded: one pass over the events of the items in question, `SUCCESSORS` of each.

    Args:
        train: training events.
        items: the catalogue.
    """

    def __init__(self, train: Histories, items: Items) -> None:
        counter = PairCounter(train.item_rows, train.row_splits, num_items=len(items.train_counts) - 1, window=WINDOW)
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
            options: of the rules; pairs are counted once per value of ``activity``.
            fill: item rows that take the places left where fewer than ``k`` items have a score above 0.

        Returns:
            Per options [S, k] int64 item rows, padded with 0.
        """
        histories = np.asarray(histories)
        sources = np.unique(histories[histories > 0]).astype(np.int64)
        counts: dict[float, PairCounts] = {}
        every = []
        for each in options:
            if each.activity not in counts:
                counts = {each.activity: self._rules.count(sources, each)}  # one at a time: they are what takes memory
            every.append(self._lists(histories, k, sources, counts[each.activity], each, fill))
        return every

    def _lists(
        self, histories: NDArray[np.integer], k: int, sources: Rows, counts: PairCounts, options: RuleOptions, fill: Rows | None
    ) -> Rows:
        pairs = self._rules.matrix(sources, counts, options)
        lists = np.zeros((len(histories), k), np.int64)
        for first in range(0, len(histories), USERS_AT_ONCE):
            scores = self._rules.scores(histories[first : first + USERS_AT_ONCE], pairs, options)
            for row in range(scores.shape[0]):
                entries = slice(scores.indptr[row], scores.indptr[row + 1])
                lists[first + row] = filled(best_scored(scores.indices[entries], scores.data[entries], k), fill, k)
        return lists
