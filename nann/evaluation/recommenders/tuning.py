"""What an evaluation asks of a simple method, and the choice of its parameters on validation users."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from nann.dataset import Samples
from nann.evaluation import metrics as m
from nann.evaluation.recommenders.order import Bounds, Rows
from nann.progress import SECONDS_BETWEEN_REPORTS

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

    def bounds(self) -> Bounds:
        """The bounds on time and memory that the lists made last have reached."""
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
        bounds: tells which bounds the lists made last have reached; None: there are none.

    Raises:
        ValueError: a parameter has no value, or ``start`` names another one.
    """

    def __init__(
        self,
        name: str,
        recommend_each: RecommendEach,
        values: Mapping[str, Sequence[float]] | None = None,
        start: Settings | None = None,
        bounds: Callable[[], Bounds] | None = None,
    ) -> None:
        self.name = name
        self._recommend_each, self._bounds = recommend_each, bounds
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
        self._errors: dict[str, float] = {}
        if len(samples.targets) and any(len(values) > 1 for values in self._values.values()):
            left = _TimeLeft(self.name, self._values, PASSES if len(self._values) > 1 else 1)
            for _ in range(left.passes):
                before = dict(self.settings)
                for parameter in self._values:
                    self._choose_one(parameter, samples, ks, tried)
                    left.update(parameter, len(tried))
                if self.settings == before:
                    break
            best = self._text(self.settings)
            chosen = (self.name, best, len(tried), tried[best], self._errors[best], len(samples.targets))
            logger.info("%s: %s, the best of %d settings, recall %.4f with a standard error of %.4f on %d users", *chosen)
        return {**self.settings, "tried": tried, "ks": list(ks), "num_users": len(samples.targets) if tried else 0}

    def lists(self, samples: Samples, k: int) -> Rows:
        """See `SimpleMethod`."""
        return self._recommend_each(samples, k, [self.settings])[0]

    def bounds(self) -> Bounds:
        """See `SimpleMethod`."""
        return self._bounds() if self._bounds else {}

    def _choose_one(self, parameter: str, samples: Samples, ks: Sequence[int], tried: dict[str, float]) -> None:
        candidates = [self.settings, *({**self.settings, parameter: value} for value in self._values[parameter])]
        missing = {self._text(each): each for each in candidates if self._text(each) not in tried}
        for text, lists in zip(missing, self._recommend_each(samples, max(ks), list(missing.values())), strict=True):
            recalls = [m.recall(lists, samples.targets[:, None], k) for k in ks]
            tried[text], self._errors[text] = float(np.mean([each.mean() for each in recalls])), m.standard_error(np.mean(recalls, axis=0))
        self.settings = max(candidates, key=lambda each: tried[self._text(each)])  # the first of equals, which is what there was

    def _text(self, settings: Settings) -> str:
        """``0.8`` of the only parameter; ``decay 0.8, own 1`` of several."""
        if len(settings) == 1:
            return f"{next(iter(settings.values())):g}"
        return ", ".join(f"{parameter} {value:g}" for parameter, value in settings.items())


class _TimeLeft:
    """Says every few seconds how far a search is, and how long it can still take."""

    def __init__(self, name: str, values: Mapping[str, Sequence[float]], passes: int) -> None:
        self._name, self._values, self.passes = name, values, passes
        self._to_try = passes * sum(map(len, values.values()))
        self._began = self._reported = time.perf_counter()

    def update(self, parameter: str, tried: int) -> None:
        """Takes notice that a parameter is chosen, and how many settings were tried so far."""
        now = time.perf_counter()
        self._to_try -= len(self._values[parameter])
        if now - self._reported >= SECONDS_BETWEEN_REPORTS:
            self._reported, at_most = now, self._to_try * (now - self._began) / max(tried, 1)
            logger.info("%s: %s chosen, %d settings tried, at most %.0f s left", self._name, parameter, tried, at_most)
