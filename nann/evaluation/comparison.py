"""Whether one evaluation is better than another on the same users: paired differences, their intervals and p-values.

Both answer for the same users, so what makes a user easy or hard cancels out in the difference of the two values. Users are drawn anew
with replacement (Efron 1979), and with them, where a side has several seeds, its seeds: the interval then covers both, though three seeds
say little about the spread between seeds. Shares of users of one run against one run get the exact test of McNemar (1947), which looks
only at the users whom one side serves and the other does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import stats

from nann.contents import opening
from nann.errors import ArtifactError
from nann.evaluation.intervals import drawn_counts, percentile_interval, sums

Floats = NDArray[np.float64]
RESAMPLES = 2000
METRICS = ("recall", "ndcg", "mrr")


@dataclass(frozen=True)
class UserRanks:
    """Where each user's target stood, in one or several evaluations of the same users.

    Attributes:
        user_ids: [S] ascending.
        target_item_ids: [S] catalogue ids.
        ranks: [R, S] int64 places from 1, 0 where the target was not found; one row per evaluation.
        name: what to call it.
    """

    user_ids: NDArray[Any]
    target_item_ids: NDArray[Any]
    ranks: NDArray[np.int64]
    name: str


@dataclass(frozen=True)
class Paired:
    """The difference of two means over the same users.

    Attributes:
        mean_a, mean_b: means over users, and over seeds where there are several.
        difference: mean_a - mean_b.
        interval: 95 % interval of the difference.
        ratio: mean_a / mean_b, None where mean_b is 0.
        ratio_interval: 95 % interval of the ratio, None where a resampled mean_b is 0.
        p_value: two-sided, of "there is no difference".
        test: "McNemar" or "bootstrap".
    """

    mean_a: float
    mean_b: float
    difference: float
    interval: tuple[float, float]
    ratio: float | None
    ratio_interval: tuple[float, float] | None
    p_value: float
    test: str


def list_names(evaluation: Path) -> list[str]:
    """The lists of an artifact of `evaluate` that can be compared: "all", "retrieval", and its baselines."""
    names = pq.read_schema(evaluation / "users.parquet").names
    return [name.removeprefix("rank_") for name in names if name.startswith("rank_")]


def read_ranks(evaluations: Sequence[Path], lists: str, *, name: str) -> UserRanks:
    """Reads ``users.parquet`` of evaluations of the same users.

    Args:
        evaluations: artifacts of `evaluate`, one per seed.
        lists: "all", "retrieval", or the name of a baseline.
        name: what to call them.

    Raises:
        ArtifactError: there is no such list, or they have other users or targets.
    """
    read = []
    for path in evaluations:
        with opening(path / "users.parquet", "the lists of an evaluation", step="evaluate"):
            table = pq.read_table(path / "users.parquet")
        column = f"rank_{lists}"
        if column not in table.column_names:
            raise ArtifactError(f"{path} has no lists called {lists!r}; it has {', '.join(list_names(path))}")
        users, targets, ranks = (table[key].to_numpy(zero_copy_only=False) for key in ("user_id", "target_item_id", column))
        order = np.argsort(users, kind="stable")
        read.append(UserRanks(users[order], targets[order], ranks[order][np.newaxis], str(path)))
    for other in read[1:]:
        require_same_users(read[0], other)
    return UserRanks(read[0].user_ids, read[0].target_item_ids, np.concatenate([each.ranks for each in read]), name)


def require_same_users(a: UserRanks, b: UserRanks) -> None:
    """Refuses to compare answers to different questions.

    Raises:
        ArtifactError: the users differ, or a user's held-out item does.
    """
    remedy = "compare evaluations of the same split of the same dataset"
    if not np.array_equal(a.user_ids, b.user_ids):
        common = len(set(a.user_ids.tolist()) & set(b.user_ids.tolist()))
        raise ArtifactError(
            f"{a.name} has {len(a.user_ids):,} users and {b.name} {len(b.user_ids):,}, of whom {common:,} are the same; {remedy}"
        )
    other = np.flatnonzero(a.target_item_ids != b.target_item_ids)
    if len(other):
        raise ArtifactError(
            f"{len(other):,} users have another held-out item in {b.name} than in {a.name}, such as user {a.user_ids[other[0]]}; {remedy}"
        )


def user_values(ranks: NDArray[np.int64], metric: str, k: int) -> Floats:
    """The metric per evaluation and user from the place of the one relevant item: [R, S] places to [R, S] values.

    Args:
        ranks: places from 1, 0 where not found.
        metric: "recall", "ndcg" or "mrr".
        k: K.

    Raises:
        ValueError: there is no such metric.
    """
    hit = (ranks > 0) & (ranks <= k)
    places = np.maximum(ranks, 1).astype(np.float64)
    if metric == "recall":
        return hit.astype(np.float64)
    if metric == "ndcg":
        return np.where(hit, 1 / np.log2(1 + places), 0.0)
    if metric == "mrr":
        return np.where(hit, 1 / places, 0.0)
    raise ValueError(f"there is no metric {metric!r}; the metrics are {', '.join(METRICS)}")


def compare_paired(a: Floats, b: Floats, *, resamples: int = RESAMPLES, seed: int = 1) -> Paired:
    """Compares two sets of values of the same users.

    Args:
        a: [R, S] values per seed and user.
        b: [Q, S] values of the same users.
        resamples: draws of users (and seeds).
        seed: of the draws.

    Raises:
        ValueError: the numbers of users differ, or there are none.
    """
    if a.shape[1] != b.shape[1] or not a.shape[1]:
        raise ValueError(f"a and b must hold the same users, at least one, but they have {a.shape[1]} and {b.shape[1]}")
    mean_a, mean_b = float(a.mean()), float(b.mean())
    both = np.concatenate([a, b]).T
    means = np.concatenate([sums(drawn, both) / len(both) for drawn in drawn_counts(len(both), resamples, seed)])
    rng = np.random.default_rng([seed, 1])
    resampled_a, resampled_b = _over_seeds(means[:, : len(a)], rng), _over_seeds(means[:, len(a) :], rng)
    differences, difference = resampled_a - resampled_b, mean_a - mean_b
    if len(a) == len(b) == 1 and np.isin(both, (0.0, 1.0)).all():
        wins, losses = int(np.sum(a[0] > b[0])), int(np.sum(a[0] < b[0]))
        p_value = float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
        test = "McNemar"
    else:
        further = int(np.sum(np.abs(differences - differences.mean()) >= abs(difference) - 1e-15))
        p_value, test = (1 + further) / (1 + resamples), "bootstrap"
    return Paired(
        mean_a=mean_a,
        mean_b=mean_b,
        difference=difference,
        interval=percentile_interval(differences),
        ratio=mean_a / mean_b if mean_b else None,
        ratio_interval=percentile_interval(resampled_a / resampled_b) if resampled_b.all() else None,
        p_value=p_value,
        test=test,
    )


def _over_seeds(means: Floats, rng: np.random.Generator) -> Floats:
    """Means [r] over seeds drawn with replacement, from means [r, R] per seed."""
    count = means.shape[1]
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=len(means))
    return np.asarray((means * drawn).sum(axis=1) / count, dtype=np.float64)
