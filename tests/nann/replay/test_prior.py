"""The mixture of what was read: known at the moment only, and weighted by what the last window made likely."""

import numpy as np
import pytest

from nann.replay.log import number_by_time
from nann.replay.prior import components, log_prior, mixture_weights

HOUR = 3600


def make_log(events):
    """Events (item, time), each of a user of its own."""
    rows, times = (np.array(column) for column in zip(*events, strict=True))
    return number_by_time(rows, times, np.ones(len(rows), np.int64), np.zeros(int(rows.max()) + 1, np.int32))


def random_events(seed, hours, items=40):
    rng = np.random.default_rng(seed)
    return [(int(rng.zipf(1.5) % items) + 1, int(rng.integers(hours * HOUR))) for _ in range(600)]


def test_components_are_distributions_over_what_is_known():
    log = make_log(random_events(1, 72))
    found = components(log, 48 * HOUR)
    assert set(np.round(found.sum(axis=1), 9)) <= {0.0, 1.0}
    assert found[-1].sum() == pytest.approx(1)
    assert not found[:, 0].any()
    assert not found[:, log.items_before(48 * HOUR) + 1 :].any()


def test_nothing_from_the_moment_on_is_looked_at():
    events = random_events(2, 48)
    later = [(item, time + 48 * HOUR) for item, time in random_events(3, 24)]
    short, whole = make_log(events), make_log(events + later)
    expected = log_prior(short, 48 * HOUR, 24 * HOUR)
    found = log_prior(whole, 48 * HOUR, 24 * HOUR)
    np.testing.assert_array_equal(found[: len(expected)], expected)
    assert np.isneginf(found[len(expected) :]).all()
    assert np.isfinite(expected[1:]).all()
    assert np.exp(expected[1:]).sum() == pytest.approx(1, rel=1e-5)


def test_the_weights_are_those_that_made_the_events():
    rng = np.random.default_rng(4)
    distributions = np.concatenate([np.zeros((3, 1)), rng.dirichlet(np.full(50, 0.3), size=3)], axis=1)
    truth = np.array([0.7, 0.2, 0.1])
    counts = rng.multinomial(200_000, truth @ distributions)
    np.testing.assert_allclose(mixture_weights(distributions, counts), truth, atol=0.02)


def test_events_that_nothing_allows_do_not_count():
    distributions = np.array([[0, 1.0, 0, 0], [0, 0, 1.0, 0]])
    np.testing.assert_allclose(mixture_weights(distributions, np.array([0, 3, 1, 100])), [0.75, 0.25])
    np.testing.assert_allclose(mixture_weights(distributions, np.array([0, 0, 0, 100])), [0.5, 0.5])
