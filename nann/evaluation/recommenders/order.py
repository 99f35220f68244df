"""Lists in order: what every simple method ends with. Ties go to the lower row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def most_counted(counts: NDArray[np.int64], k: int) -> Rows:
    """Up to ``k`` item rows with a count above 0, by count descending, then row ascending."""
    width = len(counts)
    keys = counts * width - np.arange(width)  # one number that orders by count, then by row
    best = np.argpartition(keys, width - k)[width - k :] if k < width else np.arange(width)
    best = best[np.argsort(-keys[best])]
    return best[(counts[best] > 0) & (best > 0)].astype(np.int64)


def best_scored(items: NDArray[np.integer], scores: NDArray[np.float64], k: int) -> Rows:
    """Up to ``k`` items by score descending, then row ascending."""
    scores = np.round(scores, 12)  # equal up to the order of summation counts as equal, so that ties are broken by row alone
    if len(items) > k:
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        items, scores = items[kept], scores[kept]
    return items[np.lexsort((items, -scores))[:k]].astype(np.int64)


def filled(best: Rows, fill: Rows | None, k: int) -> Rows:
    """``best`` [at most k], then the rows of ``fill`` that are not among them, then zeros: [k]."""
    if fill is not None and len(best) < k:
        best = np.concatenate([best, fill[(fill > 0) & ~np.isin(fill, best)]])[:k]
    return np.pad(best, (0, k - len(best)))
