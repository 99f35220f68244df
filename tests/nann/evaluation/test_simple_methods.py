"""Parameters are the best ones for the users given, and every method sees what was known at its moment only."""

import numpy as np
import pytest

from nann.evaluation import metrics as m
from nann.evaluation.recommenders import ItemCF, RecentPopularity, popular_list
from nann.evaluation.simple_methods import SimpleMethods
from nann.samples import Histories, Samples

HOUR = 3600


@pytest.fixture
def train() -> Histories:
    rng = np.random.default_rng(7)
    lengths = rng.integers(2, 8, 60)
    row_splits = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    times = np.concatenate([np.sort(rng.integers(0, 200 * HOUR, length)) for length in lengths]).astype(np.int64)
    return Histories(rng.integers(1, 41, row_splits[-1]).astype(np.int32), row_splits, 1, times)


@pytest.fixture
def samples() -> Samples:
    rng = np.random.default_rng(8)
    histories = rng.integers(1, 41, (30, 5)).astype(np.int32)
    return Samples(histories, rng.integers(1, 41, 30).astype(np.int32), np.arange(30), rng.integers(50 * HOUR, 200 * HOUR, 30))


def counts(train: Histories) -> np.ndarray:
    return np.bincount(train.item_rows, minlength=41)


def test_parameters_are_the_best_on_the_users_given(train: Histories, samples: Samples) -> None:
    chosen = SimpleMethods(train, counts(train)).choose(samples, k=10, decays=(1.0, 0.3), hours=(1, 20, 100))
    relevant = samples.targets[:, None]
    tried = chosen.options["item_cf"]["tried"]
    for decay in (1.0, 0.3):
        item_cf = ItemCF(train.item_rows, train.row_splits, num_items=40, decay=decay)
        lists = item_cf.recommend(samples.histories, 10, fill=popular_list(counts(train), 10))
        assert tried[f"{decay:g}"] == pytest.approx(m.recall(lists, relevant, 10).mean())
    assert tried[f"{chosen.decay:g}"] == max(tried.values())
    windows = chosen.options["popularity_recent"]["tried"]
    assert windows[f"{chosen.hours:g}"] == max(windows.values())
    assert chosen.options["item_cf"]["num_users"] == 30


def test_single_values_are_taken_and_nobody_to_choose_on_takes_the_first(train: Histories, samples: Samples) -> None:
    methods = SimpleMethods(train, counts(train))
    given = methods.choose(samples, k=10, decays=(0.7,), hours=(5,))
    assert (given.decay, given.hours, given.options["item_cf"]["num_users"]) == (0.7, 5, 0)
    nobody = samples.take(np.zeros(0, np.int64))
    assert methods.choose(nobody, k=10, decays=(0.4, 0.9), hours=(3, 4)).decay == 0.4


def test_lists_are_made_at_the_newest_event_or_at_the_moment_of_the_split(train: Histories, samples: Samples) -> None:
    recent = RecentPopularity(train.item_rows, train.times, num_items=40)
    for moment, expected in ((None, samples.last_times), (150 * HOUR, np.full(30, 150 * HOUR - 1))):
        methods = SimpleMethods(train, counts(train), moment=moment)
        lists = methods.lists(samples, 10, methods.choose(samples, k=10, decays=(0.8,), hours=(20,)))
        assert list(lists) == ["popularity", "popularity_recent", "repeat_last", "item_cf"]
        found, wanted = lists["popularity_recent"], recent.recommend(expected, 10, hours=20)
        assert np.array_equal(found[wanted > 0], wanted[wanted > 0])
        assert all(len(set(row)) == 10 for row in found.tolist())


def test_without_times_there_is_no_recent_popularity(train: Histories, samples: Samples) -> None:
    plain = Histories(train.item_rows, train.row_splits, 1)
    methods = SimpleMethods(plain, counts(train))
    chosen = methods.choose(samples, k=10, decays=(0.8, 0.9), hours=(20, 30))
    assert (chosen.hours, "popularity_recent" in chosen.options) == (None, False)
    assert list(methods.lists(samples, 10, chosen)) == ["popularity", "repeat_last", "item_cf"]
