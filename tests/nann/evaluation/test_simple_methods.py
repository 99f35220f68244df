"""Every method is tuned on the users given, and sees what was known at its moment only."""

import logging
from collections.abc import Sequence

import numpy as np
import pytest

from nann.dataset import Histories, Items, Samples
from nann.evaluation import metrics as m
from nann.evaluation import simple_methods
from nann.evaluation.recommenders import ItemCF, RecentPopularity, UserItems, popular_list, session_knn
from nann.evaluation.recommenders.tuning import Settings, SimpleMethod, TunedMethod
from nann.evaluation.simple_methods import METHODS, Known, popularity_recent, simple_lists

HOUR = 3600
NAMES = ["popularity", "popularity_recent", "category_popularity", "repeat_last", "item_cf", "vsknn", "sequential_rules"]


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


def catalogue(train: Histories, *, categories: int = 4) -> Items:
    rows = np.arange(41)
    category_rows = (rows % categories + 1 if categories else np.zeros(41)).astype(np.int32)
    category_rows[0] = 0
    return Items(rows, category_rows, np.full(41, 1 / 40), np.bincount(train.item_rows, minlength=41), categories)


def test_parameters_are_the_best_on_the_users_given(train: Histories, samples: Samples) -> None:
    known = Known(train, catalogue(train), decays=(1.0, 0.3), hours=(1, 20, 100))
    made = simple_lists(known, samples, samples, (5, 10))
    assert list(made.lists) == NAMES
    assert set(made.options) == {"popularity_recent", "category_popularity", "item_cf", "vsknn", "sequential_rules"}
    relevant = samples.targets[:, None]

    def recall(found: np.ndarray) -> float:
        return float(np.mean([m.recall(found, relevant, k).mean() for k in (5, 10)]))

    for decay in (1.0, 0.3):
        found = ItemCF(UserItems(train.item_rows, train.row_splits, num_items=40), decay=decay).recommend(
            samples.histories, 10, fill=popular_list(known.items.train_counts, 10)
        )
        assert made.options["item_cf"]["tried"][f"{decay:g}"] == pytest.approx(recall(found))
    for name, chosen in made.options.items():
        assert recall(made.lists[name]) == pytest.approx(max(chosen["tried"].values())), name
        assert (chosen["num_users"], chosen["ks"]) == (30, [5, 10])
        parameters = {parameter: value for parameter, value in chosen.items() if parameter not in ("tried", "ks", "num_users")}
        text = ", ".join(f"{parameter} {value:g}" for parameter, value in parameters.items())
        assert (text if len(parameters) > 1 else text.split()[1]) in chosen["tried"]


def test_bounds_that_a_method_reaches_are_told(
    train: Histories, samples: Samples, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert simple_lists(Known(train, catalogue(train)), samples, samples, (10,)).bounds == {}
    monkeypatch.setattr(session_knn, "USERS_PER_ITEM", 9)
    frequent = int((Known(train, catalogue(train)).user_items.users_of_item > 9).sum())
    with caplog.at_level(logging.INFO):
        made = simple_lists(Known(train, catalogue(train)), samples, samples, (10,))
    assert made.bounds == {"vsknn": {"users_per_item": {"at_most": 9, "reached_by": frequent}}}
    assert f"vsknn is bounded on this log: users_per_item at most 9 (reached by {frequent})" in caplog.text


def test_lists_are_full_and_without_repeats(train: Histories, samples: Samples) -> None:
    made = simple_lists(Known(train, catalogue(train)), samples.take(slice(0, 0)), samples, (10,))
    for name, found in made.lists.items():
        assert found.shape == (30, 10), name
        assert all(len(set(row)) == 10 and 0 not in row for row in found.tolist()), name


def test_lists_are_made_at_the_newest_event_or_at_the_moment_of_the_split(train: Histories, samples: Samples) -> None:
    recent = RecentPopularity(train.item_rows, train.times, num_items=40)
    for moment, expected in ((None, samples.last_times), (150 * HOUR, np.full(30, 150 * HOUR - 1))):
        method = popularity_recent(Known(train, catalogue(train), moment=moment, hours=(20,)))
        assert method is not None
        found, wanted = method.lists(samples, 10), recent.recommend(expected, 10, hours=20)
        assert np.array_equal(found[wanted > 0], wanted[wanted > 0])


def test_what_the_dataset_lacks_is_left_out(train: Histories, samples: Samples) -> None:
    plain = Histories(train.item_rows, train.row_splits, 1)
    made = simple_lists(Known(plain, catalogue(train, categories=0)), samples, samples, (10,))
    assert list(made.lists) == ["popularity", "repeat_last", "item_cf", "vsknn", "sequential_rules"]
    assert set(made.options) == {"item_cf", "vsknn", "sequential_rules"}


def test_a_further_method_is_one_more_entry(train: Histories, samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    def newest_neighbour(known: Known) -> SimpleMethod:
        """The row behind that of the newest event, or a given number further."""

        def recommend_each(samples: Samples, k: int, settings: Sequence[Settings]) -> list[np.ndarray]:
            rows = samples.histories[:, -1:] + np.arange(k)
            return [(rows + int(each["step"]) - 1) % known.num_items + 1 for each in settings]

        return TunedMethod("newest_neighbour", recommend_each, {"step": (1, 2)})

    monkeypatch.setattr(simple_methods, "METHODS", (*METHODS, newest_neighbour))
    made = simple_lists(Known(train, catalogue(train)), samples, samples, (3,))
    assert list(made.lists) == [*NAMES, "newest_neighbour"]
    step = made.options["newest_neighbour"]["step"]
    assert made.lists["newest_neighbour"][0, 0] == (samples.histories[0, -1] + step - 1) % 40 + 1
