"""How sure a figure is: 95 % intervals of means over users.

A share of users (every value 0 or 1, as recall is with one relevant item) gets the Wilson score interval (Wilson 1927), which holds for
shares near 0 and for few users too. Any other mean gets the percentile bootstrap over users (Efron 1979): users are drawn anew with
replacement, and the interval holds the middle 95 % of the means. Draws are seeded; equal values give equal intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
Z = 1.959963984540054  # standard normal quantile of (1 + CONFIDENCE) / 2
RESAMPLES = 1000
_AT_ONCE = 4_000_000  # drawn counts held in memory at once


def wilson(successes: float, count: int) -> tuple[float, float]:
    """Wilson score interval of a share.

    Args:
        successes: users with value 1.
        count: users, at least 1.

    Raises:
        ValueError: there is no user.
    """
    if count < 1:
        raise ValueError("an interval needs at least one user, there is none")
    share, z2 = successes / count, Z * Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z / (1 + z2 / count) * np.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return (0.0 if successes == 0 else float(low)), (1.0 if successes == count else float(high))


def resampled_means(values: Floats, *, resamples: int = RESAMPLES, seed: int = 1) -> Floats:
    """Means over users drawn with replacement; all columns over the same draws.

    Args:
        values: [S, M] one row per user.
        resamples: R.
        seed: of the draws.

    Returns:
        [R, M] float64.
    """
    count = len(values)
    return np.concatenate([sums(drawn, values) / count for drawn in drawn_counts(count, resamples, seed)])


def sums(drawn: Floats, values: Floats) -> Floats:
    """[r, M] sums of values [S, M] over draws [r, S]. Not by `@`, whose order of additions, and so the last bit, depends on the threads."""
    return np.asarray(np.einsum("rs,sm->rm", drawn, values))


def drawn_counts(count: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Blocks [r, S] of how often each user is drawn."""
    rng = np.random.default_rng(seed)
    block = max(1, _AT_ONCE // count)
    for first in range(0, resamples, block):
        size = min(block, resamples - first)
        yield rng.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)


def percentile_interval(means: Floats) -> tuple[float, float]:
    """The middle 95 % of resampled means [R]."""
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def intervals(values: Mapping[str, Floats]) -> dict[str, tuple[float, float]]:
    """The interval of every mean: Wilson where all values are 0 or 1, bootstrap elsewhere.

    Args:
        values: name -> [S] value per user, S >= 1.
    """
    shares = {name: np.isin(column, (0.0, 1.0)).all() for name, column in values.items()}
    found = {name: wilson(float(column.sum()), len(column)) for name, column in values.items() if shares[name]}
    others = [name for name in values if not shares[name]]
    if others:
        means = resampled_means(np.stack([values[name] for name in others], axis=1))
        found |= {name: percentile_interval(means[:, place]) for place, name in enumerate(others)}
    return {name: found[name] for name in values}
