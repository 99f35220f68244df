"""Whether one model serves users at least nearly as well as another: a one-sided test of the ratio of two means over the same users.

The question is whether mean(a) >= r * mean(b). With d = a - r * b per user, mean(d) / se(d) is nearly normal from some hundred users on,
and both sides answer for the same users, so what makes a user easy or hard cancels out. A pair whose ratio is just r passes with
probability ``error``, a worse one less often; how often a good one is held back follows from the number of users. The least ratio that
would pass is the lower end of Fieller's interval (1954).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
POWER = 0.8  # with which a number of users would pass a model that is as good


@dataclass(frozen=True)
class RatioTest:
    """Whether mean(a) / mean(b) is shown to be at least a ratio.

    Attributes:
        ratio: mean(a) / mean(b); None where mean(b) is 0.
        shown: the least ratio that is shown; 0 where none is.
        passed: whether ``least`` is.
        worse: whether the opposite is shown, with the same error.
        users_needed: users with which models of these means, or equal ones where a is expected to be as good as b, would pass in
            four of five cases; None where no number would do.
    """

    ratio: float | None
    shown: float
    passed: bool
    worse: bool
    users_needed: int | None


def ratio_test(a: Floats, b: Floats, *, least: float, error: float) -> RatioTest:
    """Tests whether mean(a) is at least ``least`` times mean(b).

    Args:
        a: [S] values of users, S >= 2.
        b: [S] values of the same users.
        least: the ratio to be shown.
        error: probability that a pair whose ratio is just ``least`` passes.

    Raises:
        ValueError: the numbers of users differ, or there are fewer than two.
    """
    if a.shape != b.shape or len(a) < 2:
        raise ValueError(f"a and b must hold the same users, at least two, but they have {len(a)} and {len(b)}")
    z = float(stats.norm.ppf(1 - error))
    differences = a - least * b
    mean, spread = float(differences.mean()), float(differences.std(ddof=1)) / math.sqrt(len(a))
    mean_a, mean_b = float(a.mean()), float(b.mean())
    return RatioTest(
        ratio=mean_a / mean_b if mean_b else None,
        shown=_least_ratio_shown(a, b, z),
        passed=mean > z * spread,
        worse=mean < -z * spread,
        users_needed=_users_needed(a, b, least, z),
    )


def _least_ratio_shown(a: Floats, b: Floats, z: float) -> float:
    """The ratio r at which mean(a - r b) is z standard errors above 0: the smaller root of a quadratic equation."""
    share = z * z / len(a)
    (var_a, cov), (_, var_b) = np.cov(a, b)
    mean_a, mean_b = a.mean(), b.mean()
    square, linear, rest = mean_b**2 - share * var_b, mean_a * mean_b - share * cov, mean_a**2 - share * var_a
    if square <= 0 or rest <= 0 or mean_a <= 0:  # a mean that is not told from 0
        return 0.0
    return max(0.0, float((linear - math.sqrt(max(0.0, linear**2 - square * rest))) / square))


def _users_needed(a: Floats, b: Floats, least: float, z: float) -> int | None:
    """For the gain that is expected: that of equal models where ``least`` is below 1, else the one that was found."""
    mean_a, mean_b = float(a.mean()), float(b.mean())
    gain = (1 - least) * mean_b if least < 1 else mean_a - least * mean_b
    if gain <= 0:
        return None
    spread = float((a - least * b).std(ddof=1))
    return max(2, math.ceil(((z + float(stats.norm.ppf(POWER))) * spread / gain) ** 2))
