"""The simple methods of an evaluation: their parameters chosen on validation users, their lists for any users."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nann.evaluation import metrics as m
from nann.evaluation.recommenders import ItemCF, RecentPopularity, popular_list, repeat_lists
from nann.evaluation.recommenders.item_cf import DECAY
from nann.samples import Histories, Samples

logger = logging.getLogger(__name__)

Rows = NDArray[np.int64]
HOURS = 24.0


@dataclass(frozen=True)
class Chosen:
    """Parameters of the simple methods, and how they were chosen.

    Attributes:
        decay: of item CF.
        hours: of the popularity of the last hours; None where the dataset has no times.
        options: what ``metrics.json`` says of it: per method the parameter's name and value, the recall of every value tried, by its
            text, and ``k`` and ``num_users`` of that recall.
    """

    decay: float
    hours: float | None
    options: dict[str, Any]


class SimpleMethods:
    """Popularity, popularity of the last hours, repeat-last and item CF, learned from the training events.

    Args:
        train: training events, with their times where there are any.
        train_counts: [N + 1] events of training users per item row.
        moment: unix seconds at which all lists are made, of a dataset split by time; None: each user's lists are made at the newest event
            of the history.
    """

    def __init__(self, train: Histories, train_counts: NDArray[np.int64], *, moment: int | None = None) -> None:
        num_items = len(train_counts) - 1
        self._train_counts, self._moment = train_counts, moment
        self._item_cf = ItemCF(train.item_rows, train.row_splits, num_items=num_items)
        self._recent = None if train.times is None else RecentPopularity(train.item_rows, train.times, num_items=num_items)

    def choose(self, samples: Samples, *, k: int, decays: Sequence[float], hours: Sequence[float]) -> Chosen:
        """The parameters with the best recall@k for given users; among equals the first one.

        Args:
            samples: validation users; the parameters are the defaults where there are none.
            k: K.
            decays: values to try for item CF; a single one is taken as it is.
            hours: values to try for the popularity of the last hours; likewise.
        """
        popular, options = popular_list(self._train_counts, k), {}
        decay, window = (decays[0] if decays else DECAY), (hours[0] if hours else HOURS)
        targets = samples.targets[:, None]
        if len(decays) > 1 and len(targets):
            every = self._item_cf.recommend_each(samples.histories, k, decays=decays, fill=popular)
            tried = {f"{value:g}": float(m.recall(lists, targets, k).mean()) for value, lists in zip(decays, every, strict=True)}
            decay = decays[int(np.argmax(list(tried.values())))]
            options["item_cf"] = {"decay": decay, "tried": tried}
        else:
            options["item_cf"] = {"decay": decay, "tried": {}}
        moments = self._moments(samples)
        if moments is None:
            return Chosen(decay, None, self._with_sizes(options, k, samples))
        tried = {}
        if len(hours) > 1 and len(targets):
            for value in hours:
                lists = self._recent_lists(moments, k, value, popular)
                tried[f"{value:g}"] = float(m.recall(lists, targets, k).mean())
            window = hours[int(np.argmax(list(tried.values())))]
        options["popularity_recent"] = {"hours": window, "tried": tried}
        return Chosen(decay, window, self._with_sizes(options, k, samples))

    def lists(self, samples: Samples, k: int, chosen: Chosen) -> dict[str, Rows]:
        """Name -> [S, k] lists of every method that the dataset allows, item CF last."""
        popular = popular_list(self._train_counts, k)
        found = {"popularity": np.tile(popular, (len(samples.targets), 1))}
        moments = self._moments(samples)
        if moments is not None and chosen.hours is not None:
            found["popularity_recent"] = self._recent_lists(moments, k, chosen.hours, popular)
        else:
            logger.info("the dataset's records have no times, so the popularity of the last hours is left out")
        found["repeat_last"] = repeat_lists(samples.histories, k, fill=popular)
        (found["item_cf"],) = self._item_cf.recommend_each(samples.histories, k, decays=[chosen.decay], fill=popular)
        return found

    def _moments(self, samples: Samples) -> NDArray[np.int64] | None:
        if self._recent is None or samples.last_times is None:
            return None
        return samples.last_times if self._moment is None else np.full(len(samples.targets), self._moment - 1, np.int64)

    def _recent_lists(self, moments: NDArray[np.int64], k: int, hours: float, popular: Rows) -> Rows:
        if self._recent is None:
            raise ValueError("the training events have no times, so there is no popularity of the last hours")
        return self._recent.recommend(moments, k, hours=hours, fill=popular)

    @staticmethod
    def _with_sizes(options: Mapping[str, dict[str, Any]], k: int, samples: Samples) -> dict[str, Any]:
        num_users = len(samples.targets)
        return {name: {**values, "k": k, "num_users": num_users if values["tried"] else 0} for name, values in options.items()}
