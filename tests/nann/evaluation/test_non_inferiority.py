"""The one-sided test of a ratio of recalls: the stated error, the least ratio that is shown, and how many users are needed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nann.evaluation.non_inferiority import ratio_test

ERROR, LEAST = 0.05, 0.95


def pairs(rng: np.random.Generator, users: int, recall: float, ratio: float, turnover: float) -> tuple[np.ndarray, np.ndarray]:
    """Hits of two models: b finds ``recall``, a ``ratio`` times that; a share ``turnover`` of b's hits is lost, and others are found."""
    b = rng.random(users) < recall
    kept = b & (rng.random(users) >= turnover)
    gained = recall * (ratio - 1 + turnover) / (1 - recall)
    return (kept | (~b & (rng.random(users) < gained))).astype(float), b.astype(float)


def passes(users: int, ratio: float, rounds: int = 2000) -> float:
    rng = np.random.default_rng(1)
    return float(np.mean([ratio_test(*pairs(rng, users, 0.3, ratio, 0.08), least=LEAST, error=ERROR).passed for _ in range(rounds)]))


def test_the_error_is_the_stated_one():
    """At the margin just that share passes; standard error of the simulation: 0.005."""
    assert passes(2000, LEAST) == pytest.approx(ERROR, abs=0.015)
    assert passes(2000, LEAST - 0.05) < 0.001


def test_the_users_needed_give_the_stated_power():
    rng = np.random.default_rng(2)
    needed = ratio_test(*pairs(rng, 20_000, 0.3, 1.0, 0.08), least=LEAST, error=ERROR).users_needed
    assert passes(needed, 1.0) == pytest.approx(0.8, abs=0.06)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    users=st.integers(200, 3000),
    recall=st.floats(0.1, 0.8),
    ratio=st.floats(0.9, 1.05),
    error=st.floats(0.001, 0.4),
    least=st.floats(0.7, 1.1),
)
def test_the_ratio_shown_is_where_the_test_changes_its_mind(seed, users, recall, ratio, error, least):
    a, b = pairs(np.random.default_rng(seed), users, recall, min(ratio, 1 / recall), 0.12)
    found = ratio_test(a, b, least=least, error=error)
    assert found.ratio == pytest.approx(a.mean() / b.mean())
    assert ratio_test(a, b, least=found.shown - 1e-6, error=error).passed
    assert not ratio_test(a, b, least=found.shown + 1e-6, error=error).passed
    assert found.passed == (found.shown > least) or abs(found.shown - least) < 1e-9
    # against scipy's t-test, which is the same from some hundred users on
    p_value = stats.ttest_1samp(a - least * b, 0, alternative="greater").pvalue
    assert found.passed == (p_value < error) or abs(p_value - error) < 0.01


def test_what_tells_nothing_is_not_passed():
    nothing, some = np.zeros(50), np.r_[np.ones(5), np.zeros(45)]
    for a, b in ((nothing, nothing), (nothing, some)):
        found = ratio_test(a, b, least=0.95, error=0.05)
        assert not found.passed
        assert found.shown == 0
    assert ratio_test(some, nothing, least=0.95, error=0.05).ratio is None
    assert ratio_test(nothing, some, least=1.0, error=0.05).users_needed is None
    with pytest.raises(ValueError, match="at least two"):
        ratio_test(np.ones(1), np.ones(1), least=1, error=0.05)
    with pytest.raises(ValueError, match="same users"):
        ratio_test(np.ones(3), np.ones(4), least=1, error=0.05)
