"""Lists in order: what every simple method ends with. Ties go to the lower row."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Rows = NDArray[np.int64]
# What of a method is bounded, the bound ("at_most"), and how many of what it bounds reach it ("reached_by").
Bounds = dict[str, dict[str, int]]
DECIMALS = 12  # scores equal up to the order of summation count as equal, so that ties are broken by row alone


def most_counted(counts: NDArray[np.integer], k: int, *, guess: int = 0) -> Rows:
    """Up to ``k`` item rows with a count above 0, by count descending, then row ascending.

    Args:
        counts: [N + 1] by item row.
        k: rows wanted.
        guess: a count that the last of them may have: a good one saves time, a bad one costs some.
    """
    rows = np.flatnonzero(counts[1:] >= max(1, guess)) + 1
    if len(rows) < k and guess > 1:
        rows = np.flatnonzero(counts[1:] > 0) + 1
    found = counts[rows]
    if len(rows) > k:
        kept = found >= np.partition(found, len(found) - k)[len(found) - k]
        rows, found = rows[kept], found[kept]
    return rows[np.lexsort((rows, -found.astype(np.int64)))[:k]].astype(np.int64)


def best_scored(items: NDArray[np.integer], scores: NDArray[np.float64], k: int) -> Rows:
    """Up to ``k`` items by score descending, then row ascending."""
    if len(items) > k:
        kept = _may_be_among_the_best(scores, k)
        items, scores = items[kept], scores[kept]
    scores = np.round(scores, DECIMALS)
    return items[np.lexsort((items, -scores))[:k]].astype(np.int64)


def positions_of_best(items: NDArray[np.integer], scores: NDArray[np.float64], k: int) -> Rows:
    """Positions, ascending, of the ``k`` items of highest score, the lower row among equals; all where there are fewer."""
    if len(items) <= k:
        return np.arange(len(items))
    kept = np.flatnonzero(_may_be_among_the_best(scores, k))
    order = np.lexsort((items[kept], -np.round(scores[kept], DECIMALS)))
    return np.sort(kept[order[:k]])


def largest_of_rows(matrix: sp.csr_matrix, most: int) -> sp.csr_matrix:
    """The matrix with the ``most`` largest values of each row alone, those of the lower columns among equals."""
    sizes = np.diff(matrix.indptr)
    if not (sizes > most).any():
        return matrix
    kept = np.ones(len(matrix.data), bool)
    for row in np.flatnonzero(sizes > most):
        entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
        kept[entries] = False
        kept[matrix.indptr[row] + positions_of_best(matrix.indices[entries], matrix.data[entries], most)] = True
    splits = np.concatenate([[0], np.cumsum(np.minimum(sizes, most))])
    return sp.csr_matrix((matrix.data[kept], matrix.indices[kept], splits), shape=matrix.shape)


def filled(best: Rows, fill: Rows | None, k: int) -> Rows:
    """``best`` [at most k], then the rows of ``fill`` that are not among them, then zeros: [k]."""
    if fill is not None and len(best) < k:
        best = np.concatenate([best, fill[(fill > 0) & ~np.isin(fill, best)]])[:k]
    return np.pad(best, (0, k - len(best)))


def _may_be_among_the_best(scores: NDArray[np.float64], k: int) -> NDArray[np.bool_]:
    """Whether a score is at least the k-th highest, once both are rounded; few others are among them."""
    last = float(np.partition(scores, len(scores) - k)[len(scores) - k])
    return np.asarray(scores >= last - 2 * 10.0**-DECIMALS - 1e-15 * abs(last))
