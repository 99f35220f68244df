"""Popularity within the categories of the history.

With h the history, newest first, n(v) the training events of item v, and a category's n the sum over its items of n(v) + 1/2::

    score(v) = sum over t >= 0 of w_t [cat(v) = cat(h_t)] (n(v) + 1/2) / n(cat(v)),    w_t = decay^t, normalised to sum 1

The half lets items without a training event be recommended, after those with one. Items without a category neither recommend nor are
recommended. Memory: 20 bytes an item. A list costs the best K items of each category of the history, not whole categories.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nann.evaluation.recommenders.order import Rows, best_scored, filled


class CategoryPopularity:
    """The items with the most training events in the categories of the history (formula at the top of the module).

    Args:
        category_rows: [N + 1] category by item row, 0 where there is none; row 0 (padding) has none.
        train_counts: [N + 1] events of training users per item row.
        num_categories: C; categories are 1..C.

    Raises:
        ValueError: the two arrays are not as long as one another, or a category lies outside 0..C.
    """

    def __init__(self, category_rows: NDArray[np.integer], train_counts: NDArray[np.integer], *, num_categories: int) -> None:
        categories, counts = np.asarray(category_rows).astype(np.int64), np.asarray(train_counts).astype(np.int64)
        if categories.shape != counts.shape:
            raise ValueError(f"category_rows and train_counts must be as long as one another, not {categories.shape} and {counts.shape}")
        if categories.size and not 0 <= int(categories.min()) <= int(categories.max()) <= num_categories:
            raise ValueError(f"categories must lie in 0..{num_categories}, found {int(categories.min())}..{int(categories.max())}")
        categories[:1] = 0
        self._categories = categories
        self._items = np.lexsort((np.arange(len(counts)), -counts, categories))  # by category, then as in a popular list
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(categories, minlength=num_categories + 1))])
        smoothed = counts + 0.5
        self._shares = smoothed / np.bincount(categories, weights=smoothed, minlength=num_categories + 1)[categories]

    def recommend_each(self, histories: NDArray[np.integer], k: int, *, decays: Sequence[float], fill: Rows | None = None) -> list[Rows]:
        """The ``k`` items of highest score for each history, once per decay, the lower row first among equals.

        Args:
            histories: [S, L] item rows, oldest first, zeros anywhere are ignored.
            k: length of the lists.
            decays: weights of an event relative to the next more recent one, in (0, 1].
            fill: item rows that take the places left where the categories hold fewer than ``k`` items.

        Returns:
            Per decay [S, k] int64 item rows, padded with 0.

        Raises:
            ValueError: a decay lies outside (0, 1].
        """
        for decay in decays:
            if not 0 < decay <= 1:
                raise ValueError(f"decay is {decay}; it must lie in (0, 1]")
        every = [np.zeros((len(histories), k), np.int64) for _ in decays]
        for place, history in enumerate(np.asarray(histories)):
            of_events = self._categories[history[history > 0][::-1]]
            categories, where = np.unique(of_events, return_inverse=True)
            best = [self._items[self._starts[c] : min(self._starts[c + 1], self._starts[c] + k)] for c in categories if c > 0]
            items = np.concatenate([np.zeros(0, np.int64), *best])
            at = np.searchsorted(categories, self._categories[items])
            for lists, decay in zip(every, decays, strict=True):
                weights = decay ** np.arange(len(of_events), dtype=np.float64)
                weights /= max(weights.sum(), 1.0)  # decay^0 is 1, so only an empty history sums to less
                per_category = np.bincount(where, weights=weights, minlength=len(categories))
                lists[place] = filled(best_scored(items, per_category[at] * self._shares[items], k), fill, k)
        return every
