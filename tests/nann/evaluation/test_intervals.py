"""Intervals against exact and simulated distributions."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from nann.evaluation.intervals import intervals, percentile_interval, resampled_means, wilson


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (3, 10), (10, 10), (81, 263), (1, 4000), (810, 4000)])
def test_wilson_against_scipy(successes: int, count: int) -> None:
    expected = stats.binomtest(successes, count).proportion_ci(0.95, method="wilson")
    assert wilson(successes, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_no_users_have_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one user"):
        wilson(0, 0)


def test_resampled_means_spread_as_the_standard_error_says_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).gamma(2.0, size=(500, 2))
    means = resampled_means(values, resamples=2000)
    assert means.mean(axis=0) == pytest.approx(values.mean(axis=0), abs=0.02)
    assert means.std(axis=0) == pytest.approx(values.std(axis=0) / np.sqrt(500), rel=0.1)
    assert np.array_equal(resampled_means(values, resamples=2000), means)
    monkeypatch.setattr("nann.evaluation.intervals._AT_ONCE", 1000)
    assert resampled_means(values, resamples=2000) == pytest.approx(means)


def test_the_interval_holds_the_middle() -> None:
    assert percentile_interval(np.arange(1001) / 1000) == pytest.approx((0.025, 0.975))


def test_shares_get_wilson_and_other_means_the_bootstrap() -> None:
    shares, others = np.repeat([0.0, 1.0], [75, 25]), np.linspace(0, 1, 100)
    found = intervals({"others": others, "shares": shares})
    assert list(found) == ["others", "shares"]
    assert found["shares"] == wilson(25, 100)
    low, high = found["others"]
    assert low < others.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * others.std() / 10, rel=0.15)


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    code = (
        "import sys, numpy as np; from nann.evaluation.intervals import resampled_means\n"
        "sys.stdout.buffer.write(resampled_means(np.random.default_rng(0).random((333, 7))).tobytes())"
    )
    found = []
    for threads in ("1", "2"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads}
        found.append(subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True).stdout)
    assert found[0] == found[1] != b""
