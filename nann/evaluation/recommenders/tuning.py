"""What an evaluation asks of a simple method, and the choice of its parameters on validation users."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from nann.dataset import Samples
from nann.evaluation import metrics as m
from nann.evaluation.recommenders.order import Rows

logger = logging.getLogger(__name__)

Settings = Mapping[str, float]
# Samples, length of the lists, and several settings -> per settings [S, k] lists: what settings have in common is worked out once.
RecommendEach = Callable[[Samples, int, Sequence[Settings]], list[Rows]]
PASSES = 2


class SimpleMethod(Protocol):
    """A recommender that a trained model has to beat.

    Attributes:
        name: its key under ``baselines`` in ``metrics.json``.
    """

    name: str

    def choose(self, samples: Samples, ks: Sequence[int]) -> dict[str, Any]:
        """Chooses the parameters on validation users and keeps them.

        Args:
            samples: validation users; the first values are taken where there are none.
            ks: list lengths K that will be measured.

        Returns:
            What ``metrics.json`` says of it under ``baseline_options``; empty for a method without parameters.
        """
        ...

    def lists(self, samples: Samples, k: int) -> Rows:
        """[S, k] item rows for each sample, best first, with the parameters chosen."""
        ...


class TunedMethod:
    """A simple method whose parameters are chosen by coordinate search.

    One parameter after the other is set to its value of highest recall, all others staying as they are, in at most ``PASSES`` rounds or
    until a round changes nothing. Recall is the mean of recall@K over the K that are measured, so that no list length is favoured;
    among equals the value stays as it is. A single parameter is simply tried at all its values. The search makes at most PASSES lists
    a user for each value.

    Args:
        name: see `SimpleMethod`.
        recommend_each: makes the lists.
        values: parameter -> values to try, at least one; none: the method has no parameters.
        start: where the search begins; a parameter that is left out begins at its first value.

    Raises:
        ValueError: a parameter has no value, or ``start`` names another one.
    """

    def __init__(
        self,
        name: str,
        recommend_each: RecommendEach,
        values: Mapping[str, Sequence[float]] | None = None,
        start: Settings | None = None,
    ) -> None:
        self.name = name
        self._recommend_each = recommend_each
        self._values = dict(values or {})
        for parameter, tried in self._values.items():
            if not tried:
                raise ValueError(f"{name}: no value of {parameter} is given; give one to take, or several to choose from")
        if unknown := set(start or {}) - set(self._values):
            raise ValueError(f"{name}: the search cannot begin with {sorted(unknown)}, which have no values to try")
        self.settings: dict[str, float] = {parameter: tried[0] for parameter, tried in self._values.items()} | dict(start or {})

    def choose(self, samples: Samples, ks: Sequence[int]) -> dict[str, Any]:
        """See `SimpleMethod`: the parameters, ``tried`` (recall by settings), and ``ks`` and ``num_users`` of that recall."""
        if not self._values:
            return {}
        tried: dict[str, float] = {}
        if len(samples.targets) and any(len(values) > 1 for values in self._values.values()):
            for _ in range(PASSES if len(self._values) > 1 else 1):
                before = dict(self.settings)
                for parameter in self._values:
                    self._choose_one(parameter, samples, ks, tried)
                if self.settings == before:
                    break
            logger.info("%s: %s, the best of %d settings", self.name, self._text(self.settings), len(tried))
        return {**self.settings, "tried": tried, "ks": list(ks), "num_users": len(samples.targets) if tried else 0}

    def lists(self, samples: Samples, k: int) -> Rows:
        """See `SimpleMethod`."""
        return self._recommend_each(samples, k, [self.settings])[0]

    def _choose_one(self, parameter: str, samples: Samples, ks: Sequence[int], tried: dict[str, float]) -> None:
        candidates = [self.settings, *({**self.settings, parameter: value} for value in self._values[parameter])]
        missing = {self._text(each): each for each in candidates if self._text(each) not in tried}
        for text, lists in zip(missing, self._recommend_each(samples, max(ks), list(missing.values())), strict=True):
            tried[text] = float(np.mean([m.recall(lists, samples.targets[:, None], k).mean() for k in ks]))
        self.settings = max(candidates, key=lambda each: tried[self._text(each)])  # the first of equals, which is what there was

    def _text(self, settings: Settings) -> str:
        """``0.8`` of the only parameter; ``decay 0.8, own 1`` of several."""
        if len(settings) == 1:
            return f"{next(iter(settings.values())):g}"
        return ", ".join(f"{parameter} {value:g}" for parameter, value in settings.items())
