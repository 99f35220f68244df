"""The simple methods of an evaluation. A further one is one more entry of `METHODS`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nann.config import EvaluateConfig
from nann.dataset import Dataset, Histories, Items, Samples
from nann.errors import ArtifactError
from nann.evaluation.recommenders import (
    CategoryPopularity,
    ItemCF,
    KnnSettings,
    RecentPopularity,
    SessionKnn,
    UserItems,
    popular_list,
    repeat_lists,
)
from nann.evaluation.recommenders.order import Bounds, Rows
from nann.evaluation.recommenders.sequential_rules import RuleLists
from nann.evaluation.recommenders.tuning import Settings, SimpleMethod, TunedMethod
from nann.memory.rules import RuleOptions
from nann.memory.search import VALUES as RULE_VALUES

logger = logging.getLogger(__name__)

CATEGORY_DECAYS = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
VSKNN_VALUES = {
    "decay": (0.2, 0.4, 0.6, 0.8, 0.9, 1.0),
    "damping": (0.0, 0.25, 0.5, 1.0),
    "neighbours": (250, 500, 1000, 2000),
    "idf": (0.0, 0.2, 1.0, 3.0),
    "own": (0.0, 0.3, 1.0, 3.0),
}
VSKNN_START = {"decay": 0.8, "damping": 0.25, "neighbours": 500, "own": 1.0}


@dataclass(frozen=True)
class Known:
    """What simple methods may learn from.

    Attributes:
        train: training events, with their times where there are any.
        items: the catalogue: training counts, categories.
        moment: unix seconds at which all lists are made, of a dataset split by time; None: each user's lists are made at the newest event
            of the history.
        decays: of item CF, to choose from.
        hours: windows of the popularity of the last hours, to choose from.
    """

    train: Histories
    items: Items
    moment: int | None = None
    decays: Sequence[float] = (0.8,)
    hours: Sequence[float] = (24.0,)

    @classmethod
    def of(cls, data: Dataset, items: Items, config: EvaluateConfig) -> Known:
        """What a dataset lets them learn, and an evaluation's options to choose from.

        A dataset split by time has all its training events known at one moment, so lists are made then.
        """
        moment = data.meta.get("split_time")
        return cls(data.histories(times=True), items, moment=moment, decays=config.decays, hours=config.recent_hours)

    @cached_property
    def num_items(self) -> int:
        """N."""
        return len(self.items.train_counts) - 1

    @cached_property
    def user_items(self) -> UserItems:
        """Which users have which items, for the methods that look them up."""
        return UserItems(self.train.item_rows, self.train.row_splits, num_items=self.num_items)

    def popular(self, k: int) -> Rows:
        """The ``k`` items that fill the places a method leaves."""
        return popular_list(self.items.train_counts, k)


def popularity(known: Known) -> SimpleMethod:
    """The items with the most training events."""
    return TunedMethod("popularity", lambda samples, k, settings: [np.tile(known.popular(k), (len(samples.targets), 1)) for _ in settings])


def popularity_recent(known: Known) -> SimpleMethod | None:
    """The items with the most events of the last hours, where the records have times."""
    if known.train.times is None:
        logger.info("the dataset's records have no times, so the popularity of the last hours is left out")
        return None
    recent = RecentPopularity(known.train.item_rows, known.train.times, num_items=known.num_items)

    def moments(samples: Samples) -> NDArray[np.int64]:
        if known.moment is not None:
            return np.full(len(samples.targets), known.moment - 1, np.int64)
        if samples.last_times is None:
            raise ArtifactError("the dataset holds times of the training events, but none of the users asked; run `nann convert` again")
        return samples.last_times

    def recommend_each(samples: Samples, k: int, settings: Sequence[Settings]) -> list[Rows]:
        at, fill = moments(samples), known.popular(k)
        return [recent.recommend(at, k, hours=each["hours"], fill=fill) for each in settings]

    return TunedMethod("popularity_recent", recommend_each, {"hours": known.hours})


def category_popularity(known: Known) -> SimpleMethod | None:
    """The items with the most training events in the history's categories, where items have categories."""
    items = known.items
    if not items.num_categories:
        logger.info("the items have no categories, so popularity within categories is left out")
        return None
    method = CategoryPopularity(items.category_rows, items.train_counts, num_categories=items.num_categories)

    def recommend_each(samples: Samples, k: int, settings: Sequence[Settings]) -> list[Rows]:
        return method.recommend_each(samples.histories, k, decays=[each["decay"] for each in settings], fill=known.popular(k))

    return TunedMethod("category_popularity", recommend_each, {"decay": CATEGORY_DECAYS})


def repeat_last(known: Known) -> SimpleMethod:
    """The user's own items, newest first."""
    return TunedMethod(
        "repeat_last", lambda samples, k, settings: [repeat_lists(samples.histories, k, fill=known.popular(k)) for _ in settings]
    )


def item_cf(known: Known) -> SimpleMethod:
    """Item-to-item collaborative filtering."""
    method = ItemCF(known.user_items)

    def recommend_each(samples: Samples, k: int, settings: Sequence[Settings]) -> list[Rows]:
        return method.recommend_each(samples.histories, k, decays=[each["decay"] for each in settings], fill=known.popular(k))

    return TunedMethod("item_cf", recommend_each, {"decay": known.decays}, bounds=lambda: method.bounds)


def vsknn(known: Known) -> SimpleMethod:
    """The nearest training users."""
    method = SessionKnn(known.user_items)

    def recommend_each(samples: Samples, k: int, settings: Sequence[Settings]) -> list[Rows]:
        return method.recommend_each(samples.histories, k, [_knn_settings(each) for each in settings], fill=known.popular(k))

    return TunedMethod("vsknn", recommend_each, VSKNN_VALUES, VSKNN_START, lambda: method.bounds)


def _knn_settings(settings: Settings) -> KnnSettings:
    return KnnSettings(
        neighbours=int(settings["neighbours"]),
        decay=settings["decay"],
        damping=settings["damping"],
        idf=settings["idf"],
        own=settings["own"],
    )


def sequential_rules(known: Known) -> SimpleMethod:
    """What followed the history's items in the histories of training users: the memory of pairs alone."""
    method = RuleLists(known.train, known.items)

    def recommend_each(samples: Samples, k: int, settings: Sequence[Settings]) -> list[Rows]:
        return method.recommend_each(samples.histories, k, [RuleOptions(**each) for each in settings], fill=known.popular(k))

    return TunedMethod("sequential_rules", recommend_each, RULE_VALUES, asdict(RuleOptions()), lambda: method.bounds)


# In the order in which reports show them. Each entry learns from what is known, or is None where the dataset does not allow it.
METHODS: tuple[Callable[[Known], SimpleMethod | None], ...] = (
    popularity,
    popularity_recent,
    category_popularity,
    repeat_last,
    item_cf,
    vsknn,
    sequential_rules,
)


@dataclass(frozen=True)
class SimpleLists:
    """What simple methods answer.

    Attributes:
        lists: name -> [S, max(ks)] item rows, best first.
        options: name -> parameters and how they were chosen, of the methods that have any.
        bounds: name -> the bounds on time and memory that the method reaches on this log, of those that reach any.
    """

    lists: dict[str, Rows]
    options: dict[str, dict[str, Any]]
    bounds: dict[str, Bounds]


def simple_lists(known: Known, validation: Samples, samples: Samples, ks: Sequence[int]) -> SimpleLists:
    """The lists of every method that the dataset allows. One method after the other learns, is tuned, answers, and is dropped.

    Args:
        known: what they learn from.
        validation: users on whom parameters are chosen.
        samples: users to answer for.
        ks: list lengths K that will be measured.
    """
    made = SimpleLists({}, {}, {})
    for learn in METHODS:
        method = learn(known)
        if method is None:
            continue
        if chosen := method.choose(validation, ks):
            made.options[method.name] = chosen
        made.lists[method.name] = method.lists(samples, max(ks))
        if reached := method.bounds():
            made.bounds[method.name] = reached
            text = ", ".join(f"{bound} at most {of['at_most']:,} (reached by {of['reached_by']:,})" for bound, of in reached.items())
            logger.info("%s is bounded on this log: %s", method.name, text)
    return made
