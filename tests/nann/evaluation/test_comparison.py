"""Paired differences against exact tests, and refusals."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from nann.errors import ArtifactError
from nann.evaluation import metrics
from nann.evaluation.comparison import compare_paired, read_ranks, require_same_users, user_values


def binary(rng: np.random.Generator, share: float, users: int, seeds: int = 1) -> np.ndarray:
    return (rng.random((seeds, users)) < share).astype(float)


def test_one_run_against_one_is_mcnemars_exact_test() -> None:
    rng = np.random.default_rng(1)
    a, b = binary(rng, 0.4, 300), binary(rng, 0.3, 300)
    found = compare_paired(a, b)
    wins, losses = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    assert found.test == "McNemar"
    assert found.p_value == pytest.approx(stats.binomtest(wins, wins + losses, 0.5).pvalue)
    assert found.difference == pytest.approx(a.mean() - b.mean())
    assert found.ratio == pytest.approx(a.mean() / b.mean())


def test_intervals_and_p_values_are_those_of_a_paired_t_test_for_many_users() -> None:
    rng = np.random.default_rng(2)
    hard = rng.gamma(2, size=800)
    a, b = hard + 0.03 + 0.3 * rng.random(800), hard + 0.3 * rng.random(800)
    found, expected = compare_paired(a[None], b[None], resamples=4000), stats.ttest_rel(a, b)
    low, high = expected.confidence_interval(0.95)
    assert found.test == "bootstrap"
    assert found.interval == pytest.approx((low, high), abs=0.002)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.01)


def test_no_difference_is_no_finding() -> None:
    values = binary(np.random.default_rng(3), 0.3, 50)
    found = compare_paired(values, values)
    assert (found.p_value, found.difference, found.interval, found.ratio) == (1.0, 0.0, (0.0, 0.0), 1.0)
    nothing = compare_paired(values, np.zeros_like(values))
    assert (nothing.ratio, nothing.ratio_interval) == (None, None)
    assert nothing.p_value < 0.01


def test_seeds_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(4)
    base = binary(rng, 0.5, 400)
    alike = np.repeat(base, 3, axis=0)
    apart = np.stack([binary(rng, share, 400)[0] for share in (0.3, 0.5, 0.7)])
    narrow, wide = (compare_paired(side, np.zeros((1, 400))).interval for side in (alike, apart))
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])
    assert compare_paired(apart, base).mean_a == pytest.approx(apart.mean())


def test_values_from_places_are_those_of_the_lists() -> None:
    rng = np.random.default_rng(5)
    lists = np.stack([rng.permutation(30)[:12] + 1 for _ in range(40)])
    targets = rng.integers(1, 31, (40, 1))
    ranks = metrics.ranks_of(lists, targets[:, 0])[None]
    for name, function in (("recall", metrics.recall), ("ndcg", metrics.ndcg), ("mrr", metrics.reciprocal_rank)):
        for k in (1, 5, 12):
            assert user_values(ranks, name, k)[0] == pytest.approx(function(lists, targets, k))
    with pytest.raises(ValueError, match="no metric 'f1'; the metrics are recall, ndcg, mrr"):
        user_values(ranks, "f1", 5)


def write_users(path: Path, users: list[int], targets: list[int], ranks: list[int]) -> Path:
    path.mkdir()
    columns = {"user_id": users, "target_item_id": targets, "rank_retrieval": ranks, "rank_item_cf": [0] * len(users)}
    pq.write_table(pa.table(columns), path / "users.parquet")
    return path


def test_users_are_matched_by_id_and_foreign_ones_refused(tmp_path: Path) -> None:
    first = write_users(tmp_path / "a", [1, 2, 3], [7, 8, 9], [1, 0, 5])
    second = write_users(tmp_path / "b", [3, 1, 2], [9, 7, 8], [4, 2, 0])
    both = read_ranks([first, second], "retrieval", name="two")
    assert both.ranks.tolist() == [[1, 0, 5], [2, 0, 4]]
    ours = read_ranks([first], "item_cf", name="ours")
    others = read_ranks([write_users(tmp_path / "c", [1, 2, 4], [7, 8, 9], [0, 0, 0])], "retrieval", name="theirs")
    with pytest.raises(ArtifactError, match="ours has 3 users and theirs 3, of whom 2 are the same"):
        require_same_users(ours, others)
    moved = read_ranks([write_users(tmp_path / "d", [1, 2, 3], [7, 8, 1], [0, 0, 0])], "retrieval", name="moved")
    with pytest.raises(ArtifactError, match="1 users have another held-out item in moved than in ours, such as user 3"):
        require_same_users(ours, moved)
    with pytest.raises(ArtifactError, match="no lists called 'all'; it has retrieval, item_cf"):
        read_ranks([first], "all", name="x")
    with pytest.raises(ValueError, match="have 3 and 2"):
        compare_paired(np.zeros((1, 3)), np.zeros((1, 2)))
