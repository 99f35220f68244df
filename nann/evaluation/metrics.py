"""Metrics of retrieved lists, as pure functions of numpy arrays.

All lists are [S, W] integer arrays of item rows, best first, one row per user; row 0 pads and never counts, and an item listed
twice in one row counts once. Functions return one float64 per user; a figure is their mean and its uncertainty `standard_error`.
With P the list, cut at M, and G the user's relevant items (NANN, arXiv 2202.10226, section 4.1; TDM, arXiv 1801.02294, eq. 8)::

    recall    = |P and G| / |G|
    precision = |P and G| / M
    f1        = 2 precision recall / (precision + recall)
    ndcg      = sum of 1 / log2(1 + r) over the places r of the items of G in P, over the same sum for the places 1..min(M, |G|)
    mrr       = 1 / r of the first item of G in P, 0 where there is none
    coverage  = |P and E| / |E|          E = the exact top M by a full scan; |E| = M unless the corpus is smaller
    delta     = (recall_all - recall_retrieval) / recall_all      of the two means
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.integer]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def count_hits(lists: Rows, relevant: Rows) -> Counts:
    """Number of distinct items that stand in both lists of a user.

    Args:
        lists: [S, W] item rows, 0 pads.
        relevant: [S, G] item rows, 0 pads.

    Returns:
        [S] int64.

    Raises:
        ValueError: the two are not matrices with the same number of rows.
    """
    lists, relevant = np.asarray(lists), np.asarray(relevant)
    if lists.ndim != 2 or relevant.ndim != 2 or len(lists) != len(relevant):
        raise ValueError(f"lists and relevant must be [S, W] and [S, G] with the same S, not {lists.shape} and {relevant.shape}")
    # Sorting user by user turns membership into neighbours: distinct items of both, side by side, twice equal = in both.
    both = np.sort(np.concatenate([_blank_repeats(lists), _blank_repeats(relevant)], axis=1), axis=1)
    hits: Counts = np.count_nonzero((both[:, 1:] == both[:, :-1]) & (both[:, 1:] != 0), axis=1).astype(np.int64, copy=False)
    return hits


def count_distinct(lists: Rows) -> Counts:
    """Number of distinct items per list, padding aside: [S, W] -> [S] int64."""
    sizes: Counts = np.count_nonzero(_blank_repeats(np.asarray(lists)), axis=1).astype(np.int64, copy=False)
    return sizes


def recall(lists: Rows, relevant: Rows, k: int) -> Floats:
    """|P and G| / |G| per user, P the first ``k`` of ``lists`` [S, W], G ``relevant`` [S, G].

    Raises:
        ValueError: ``k`` < 1, shapes disagree, or a user has no relevant item.
    """
    sizes = count_distinct(relevant)
    if not np.all(sizes):
        raise ValueError(f"user {int(np.argmin(sizes))} has no relevant item, so recall is undefined; leave such users out")
    return np.asarray(count_hits(_cut(lists, k), relevant) / sizes, dtype=np.float64)


def precision(lists: Rows, relevant: Rows, k: int) -> Floats:
    """|P and G| / k per user; a list shorter than ``k`` is still divided by ``k``.

    Raises:
        ValueError: ``k`` < 1 or shapes disagree.
    """
    return np.asarray(count_hits(_cut(lists, k), relevant) / k, dtype=np.float64)


def f1(lists: Rows, relevant: Rows, k: int) -> Floats:
    """Harmonic mean of `precision` and `recall` per user, 0 where both are 0.

    Raises:
        ValueError: as `recall`.
    """
    p, r = precision(lists, relevant, k), recall(lists, relevant, k)
    total = p + r
    return np.asarray(np.divide(2 * p * r, total, out=np.zeros_like(total), where=total > 0), dtype=np.float64)


def ndcg(lists: Rows, relevant: Rows, k: int) -> Floats:
    """Normalised discounted cumulative gain per user, every relevant item with gain 1 (Järvelin, Kekäläinen 2002).

    With one relevant item at place r it is 1 / log2(1 + r) for r <= k, and 0 otherwise.

    Raises:
        ValueError: ``k`` < 1, shapes disagree, or a user has no relevant item.
    """
    places = _places(lists, relevant, k)
    discounts = 1.0 / np.log2(1.0 + np.arange(1, max(k, places.shape[1]) + 1))
    gained = np.where(places > 0, discounts[np.maximum(places, 1) - 1], 0.0).sum(axis=1)
    best = np.cumsum(discounts)[np.minimum(count_distinct(relevant), k) - 1]
    return np.asarray(gained / best, dtype=np.float64)


def reciprocal_rank(lists: Rows, relevant: Rows, k: int) -> Floats:
    """1 / place of the first relevant item among the first ``k`` per user, 0 where there is none; its mean is the MRR.

    Raises:
        ValueError: as `ndcg`.
    """
    places = _places(lists, relevant, k)
    first = np.where(places > 0, places, np.iinfo(np.int64).max).min(axis=1)
    return np.where(places.any(axis=1), 1.0 / first, 0.0)


def catalogue_coverage(lists: Rows, k: int, num_items: int) -> float:
    """Share of the catalogue's ``num_items`` items that stand in the first ``k`` of at least one list."""
    shown = np.unique(_cut(lists, k))
    return float(np.count_nonzero(shown) / num_items)


def coverage(lists: Rows, exact: Rows, k: int) -> Floats:
    """Share per user of the exact top ``k`` (first ``k`` of ``exact`` [S, E]) that the first ``k`` of ``lists`` [S, W] hold.

    Raises:
        ValueError: ``k`` < 1, shapes disagree, or an exact list is empty.
    """
    exact = _cut(exact, k)
    sizes = count_distinct(exact)
    if not np.all(sizes):
        raise ValueError(f"the exact list of user {int(np.argmin(sizes))} is empty, so coverage is undefined")
    return np.asarray(count_hits(_cut(lists, k), exact) / sizes, dtype=np.float64)


def recall_delta(recall_all: float, recall_retrieval: float) -> float | None:
    """(recall_all - recall_retrieval) / recall_all of two mean recalls: the share of recall that the search loses.

    Below 0 where the search by chance finds more than the scan; None where the scan finds nothing, so there is nothing to lose.
    """
    return None if recall_all == 0 else (recall_all - recall_retrieval) / recall_all


def ranks_of(lists: Rows, targets: Rows) -> Counts:
    """Place of each user's target in the list, from 1; 0 where it is not there.

    Args:
        lists: [S, W] item rows, 0 pads.
        targets: [S] item rows, never 0.

    Returns:
        [S] int64. ``(0 < rank) & (rank <= k)`` is recall at ``k`` for one relevant item, provided that lists hold no repeats.
    """
    found = np.asarray(lists) == np.asarray(targets)[:, None]
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0).astype(np.int64)


def standard_error(values: Floats) -> float:
    """Standard error of the mean of [S] independent values (sample deviation / sqrt(S)); 0 for fewer than two."""
    values = np.asarray(values, dtype=np.float64)
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _places(lists: Rows, relevant: Rows, k: int) -> Counts:
    """[S, G] place of each relevant item in the first ``k`` of the list, from 1; 0 where it is not there, and for repeats in G."""
    relevant = _blank_repeats(np.asarray(relevant))
    if relevant.ndim != 2 or len(relevant) != len(lists):
        raise ValueError(f"lists and relevant must be [S, W] and [S, G] with the same S, not {np.shape(lists)} and {relevant.shape}")
    if not relevant.any(axis=1).all():
        raise ValueError(
            f"user {int(np.argmin(relevant.any(axis=1)))} has no relevant item, so its rank is undefined; leave such users out"
        )
    cut = _cut(lists, k)
    places = np.stack([ranks_of(cut, column) for column in relevant.T], axis=1)
    return np.where(relevant != 0, places, 0)


def _cut(lists: Rows, k: int) -> Rows:
    if k < 1:
        raise ValueError(f"k is {k}; a list length is at least 1")
    return np.asarray(lists)[:, :k]


def _blank_repeats(lists: Rows) -> Rows:
    """Sorted [S, W] lists with every repeat of an item set to 0."""
    ordered = np.sort(lists, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = 0
    return ordered
