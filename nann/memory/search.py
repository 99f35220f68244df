"""Chooses the options of sequential rules: one after the other, for the recall of held-out users."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from nann.memory.rules import RuleOptions, SequentialRules
from ops.pair_counts import PairCounts

logger = logging.getLogger(__name__)

KS = (20, 50, 100, 200)
# Tried in this order, each beside the best of the options before it.
VALUES: dict[str, tuple[float, ...]] = {
    "activity": (0.0, 0.5, 1.0),
    "back": (0.0, 0.25, 0.5, 1.0),
    "decay": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "own": (0.0, 0.1, 0.3, 1.0, 3.0),
    "category": (0.0, 0.1, 0.25, 0.5, 1.0, 2.0),
    "popularity": (0.0, 0.1, 0.2, 0.35, 0.5),
    "shrink": (0.0, 1.0, 5.0, 10.0, 30.0),
}


@dataclass(frozen=True)
class Searched:
    """What a search ends with.

    Attributes:
        options: the best found.
        recall: its objective, the mean of recall@K over `KS`.
        tried: option -> value, as text -> objective, in the last round of the search.
    """

    options: RuleOptions
    recall: float
    tried: dict[str, dict[str, float]]


def choose_options(
    rules: SequentialRules,
    histories: NDArray[np.integer],
    targets: NDArray[np.integer],
    *,
    start: RuleOptions | None = None,
    values: Mapping[str, Sequence[float]] = VALUES,
    ks: Sequence[int] = KS,
    rounds: int = 2,
) -> Searched:
    """The options with the best mean recall over some list lengths, by a search along one option at a time.

    Args:
        rules: of the training users.
        histories: [S, L] item rows of users that the rules were not counted on, oldest first, 0 pads.
        targets: [S] item row of each user's held-out event.
        start: where the search begins.
        values: per option what to try.
        ks: list lengths K.
        rounds: passes over the options; the search ends earlier where a pass changes nothing.
    """
    measure = _Measure(rules, np.asarray(histories), np.asarray(targets), ks)
    best = start or RuleOptions()
    found = measure(best)
    tried: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        before = best
        for name, choices in values.items():
            tried[name] = {}
            for value in sorted({*choices, getattr(best, name)}):
                candidate = replace(best, **{name: value})
                tried[name][f"{value:g}"] = measure(candidate)
            value = max(tried[name], key=lambda text: tried[name][text])
            if tried[name][value] > found:
                best, found = replace(best, **{name: float(value)}), tried[name][value]
        if best == before:
            break
    logger.info("sequential rules: %s", ", ".join(f"{name} {value:g}" for name, value in asdict(best).items()))
    return Searched(best, found, tried)


class _Measure:
    """Mean recall of options on some users; pairs are counted once per value of ``activity``."""

    def __init__(self, rules: SequentialRules, histories: NDArray[np.integer], targets: NDArray[np.integer], ks: Sequence[int]) -> None:
        self._rules, self._histories, self._targets, self._ks = rules, histories, targets, ks
        self._sources = np.unique(histories[histories > 0]).astype(np.int64)
        self._counts: dict[float, PairCounts] = {}
        self._known: dict[RuleOptions, float] = {}

    def __call__(self, options: RuleOptions) -> float:
        if options not in self._known:
            if options.activity not in self._counts:
                self._counts[options.activity] = self._rules.count(self._sources, options)
            pairs = self._rules.matrix(self._sources, self._counts[options.activity], options)
            ranks = target_ranks(self._rules.scores(self._histories, pairs, options), self._targets)
            self._known[options] = float(np.mean([np.mean(ranks < k) for k in self._ks]))
        return self._known[options]


def target_ranks(scores: sp.csr_matrix, targets: NDArray[np.integer]) -> NDArray[np.int64]:
    """[S] items that score above each user's target, of scores [S, N + 1] above 0; N + 1 where the target scores nothing."""
    own = np.asarray(scores[np.arange(len(targets)), targets]).ravel()
    users = np.repeat(np.arange(len(targets)), np.diff(scores.indptr))
    above = np.bincount(users[scores.data > own[users]], minlength=len(targets))
    return np.where(own > 0, above, scores.shape[1]).astype(np.int64)
