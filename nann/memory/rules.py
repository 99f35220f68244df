"""Sequential rules: which items followed the items of a history, and how soon.

For a history h (newest first: h_0, h_1, ...) and an item v::

    score(v) = sum over t of w_t [ R(h_t, v) + own 1(v = h_t) + category 1(cat(v) = cat(h_t)) (n_v + 1/2) / n_cat ]
    w_t      = decay^t, divided by the sum over the history
    R(i, v)  = C(i, v) / ((sum over v of C(i, v) + shrink) n_v^popularity)
    C(i, v)  = sum over users u of len_u^-activity [ sum of 1 / gap over pairs (i, v) of u + back * the same over pairs (v, i) ]

over pairs of events at most `WINDOW` positions apart; n_v and n_cat are events of an item and of a category, len_u those of a user.

Sources: sequential rules with a weight of 1 / gap, Ludewig and Jannach, UMUAI 2018, section 3.1 (arXiv 1803.09587); normalising by the
user's activity and by the popularity of the item, backward transitions: Choi et al., WWW 2021 (SLIST, arXiv 2103.16104), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from ops.pair_counts import PairCounter, PairCounts

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

WINDOW = 10
ITEMS_OF_CATEGORY = 1000


@dataclass(frozen=True)
class RuleOptions:
    """The numbers of the formula at the top of the module.

    Attributes:
        back: weight of an item that came before beside one that came after.
        activity: power of the user's number of events that pairs are divided by.
        popularity: power of the item's number of events that scores are divided by.
        shrink: added to the sum that a source item's counts are divided by.
        decay: weight of an event relative to the next newer one.
        own: bonus of the history's own items.
        category: weight of an item's share of the events of its category.
    """

    back: float = 0.5
    activity: float = 0.5
    popularity: float = 0.2
    shrink: float = 5.0
    decay: float = 0.6
    own: float = 0.5
    category: float = 0.25


def value_of_pairs(counts: PairCounts, item_counts: NDArray[np.integer], options: RuleOptions) -> NDArray[np.float32]:
    """R(i, v) of every entry of the counts."""
    totals = np.repeat(counts.totals @ np.array([1.0, options.back]), np.diff(counts.row_splits))
    return value_of_entries(counts.forward + options.back * counts.backward, totals, counts.items, item_counts, options)


def recency_weights(histories: NDArray[np.integer], decay: float) -> Floats:
    """[S, L] w_t of histories [S, L] (oldest first, 0 is nothing); rows sum to 1, or are 0 for an empty history."""
    real = np.asarray(histories) > 0
    age = np.cumsum(real[:, ::-1], axis=1)[:, ::-1] - 1
    weights = np.where(real, float(decay) ** age, 0.0)
    return np.asarray(weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))


def value_of_entries(
    counts: NDArray[np.floating],
    totals: NDArray[np.floating],
    items: NDArray[np.integer],
    item_counts: NDArray[np.integer],
    options: RuleOptions,
) -> NDArray[np.float32]:
    """R of entries: C (``counts``), the sum of C of each entry's source, and its item, [entries] each."""
    powers = np.maximum(item_counts, 1).astype(np.float64) ** options.popularity
    below = (totals + options.shrink) * powers[items]
    found: NDArray[np.float64] = np.divide(counts, below, out=np.zeros(len(items)), where=below > 0)
    return found.astype(np.float32)


@dataclass(frozen=True)
class CategoryShares:
    """Per category its items with the most events, at most ``ITEMS_OF_CATEGORY``, and (n_v + 1/2) / n_cat of each.

    Attributes:
        row_splits: [C + 2] int64, by category row; row 0, the missing category, has none.
        items: [entries] int32 item rows, ascending within a category.
        shares: [entries] float32.
    """

    row_splits: NDArray[np.int64]
    items: NDArray[np.int32]
    shares: NDArray[np.float32]

    @classmethod
    def of(
        cls, category_rows: NDArray[np.integer], item_counts: NDArray[np.integer], *, num_categories: int, keep: int = ITEMS_OF_CATEGORY
    ) -> CategoryShares:
        """From the category row [N + 1] and the number of training events [N + 1] of every item row."""
        items = np.flatnonzero(category_rows > 0)
        categories = category_rows[items]
        order = np.lexsort((items, -item_counts[items], categories))
        items, categories = items[order], categories[order]
        sizes = np.bincount(categories, minlength=num_categories + 1)
        first = np.concatenate([[0], np.cumsum(sizes)])
        kept = np.arange(len(items)) - first[categories] < keep
        items, categories = items[kept], categories[kept]
        order = np.lexsort((items, categories))
        items, categories = items[order], categories[order]
        totals = np.bincount(category_rows, weights=item_counts, minlength=num_categories + 1)
        shares = (item_counts[items] + 0.5) / np.maximum(totals[categories], 1.0)
        splits = np.concatenate([[0], np.cumsum(np.bincount(categories, minlength=num_categories + 1))])
        return cls(splits.astype(np.int64), items.astype(np.int32), shares.astype(np.float32))

    def matrix(self, width: int) -> sp.csr_matrix:
        """[C + 1, width] shares by category row and item row."""
        return sp.csr_matrix((self.shares, self.items, self.row_splits), shape=(len(self.row_splits) - 1, width))


class SequentialRules:
    """Rules of the histories of training users, asked for the items of some histories.

    Args:
        counter: of the training users' events.
        lengths: [U] events of each user.
        category_rows: [N + 1] category row by item row, 0 for none.
        num_categories: C.
        keep: successors kept per item.
        threads: that count.
    """

    def __init__(
        self,
        counter: PairCounter,
        lengths: NDArray[np.integer],
        *,
        category_rows: NDArray[np.integer],
        num_categories: int,
        keep: int,
        threads: int = 1,
    ) -> None:
        self._counter, self._keep, self._threads = counter, keep, threads
        self._lengths = np.maximum(np.asarray(lengths, np.float64), 1.0)
        self.item_counts = counter.item_counts
        self._category_rows = np.asarray(category_rows)
        shares = CategoryShares.of(category_rows, self.item_counts, num_categories=num_categories)
        self._shares = shares.matrix(len(category_rows))

    def count(self, sources: Rows, options: RuleOptions) -> PairCounts:
        """The successors of some items that have the highest R."""
        return self._counter.count(
            sources,
            user_weights=self._lengths**-options.activity,
            back=options.back,
            item_weights=np.maximum(self.item_counts, 1).astype(np.float64) ** -options.popularity,
            keep=self._keep,
            threads=self._threads,
        )

    def matrix(self, sources: Rows, counts: PairCounts, options: RuleOptions) -> sp.csr_matrix:
        """[N + 1, N + 1] R, with the rows of the sources alone."""
        size = len(self.item_counts)
        lengths = np.zeros(size, np.int64)
        lengths[sources] = np.diff(counts.row_splits)
        order = np.argsort(sources, kind="stable")
        values, items = value_of_pairs(counts, self.item_counts, options), counts.items
        if not np.array_equal(order, np.arange(len(sources))):
            raise ValueError("sources must be ascending")
        return sp.csr_matrix((values, items, np.concatenate([[0], np.cumsum(lengths)])), shape=(size, size))

    def scores(self, histories: NDArray[np.integer], pairs: sp.csr_matrix, options: RuleOptions) -> sp.csr_matrix:
        """[S, N + 1] scores of the items above 0, for histories [S, L] whose items' rules are in `pairs`."""
        return score_histories(np.asarray(histories), pairs, self._shares, self._category_rows, options)


def score_histories(
    histories: NDArray[np.integer], pairs: sp.csr_matrix, shares: sp.csr_matrix, category_rows: NDArray[np.integer], options: RuleOptions
) -> sp.csr_matrix:
    """[S, N + 1] scores above 0 of all items for some histories.

    Args:
        histories: [S, L] item rows, oldest first, 0 is nothing.
        pairs: [N + 1, N + 1] R, at least the rows of the histories' items.
        shares: [C + 1, N + 1] of `CategoryShares.matrix`.
        category_rows: [N + 1] category row by item row.
        options: of the formula.
    """
    weights = recency_weights(histories, options.decay)
    users, places = np.nonzero(histories)
    items, values = histories[users, places], weights[users, places]
    by_item = sp.csr_matrix((values, (users, items)), shape=(len(histories), pairs.shape[0]))
    found = by_item @ pairs
    if options.own:
        found = found + options.own * by_item
    if options.category:
        found = found + options.category * category_shares_of(histories, shares, category_rows, decay=options.decay)
    return sp.csr_matrix(found)


def category_shares_of(
    histories: NDArray[np.integer], shares: sp.csr_matrix, category_rows: NDArray[np.integer], *, decay: float
) -> sp.csr_matrix:
    """[S, N + 1] sum over t of w_t 1(cat(v) = cat(h_t)) (n_v + 1/2) / n_cat, above 0; the arguments are those of `score_histories`."""
    weights = recency_weights(histories, decay)
    users, places = np.nonzero(histories)
    categories = category_rows[histories[users, places]]
    by_category = sp.csr_matrix((weights[users, places], (users, categories)), shape=(len(histories), shares.shape[0]))
    return sp.csr_matrix(by_category @ shares)
