"""The gate: whether a candidate may take the place of the model in service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nann.config import GateConfig
from nann.evaluation.non_inferiority import RatioTest, ratio_test


@dataclass(frozen=True)
class Measured:
    """What was measured of one model.

    Attributes:
        hits: [S] whether the user's held-out item is among the first K, 1 or 0.
        coverage: share of the exact first K that the graph finds.
        catalogue_coverage: different items in all lists, as a share of those that could be there: the smaller one of the largest catalogue
            and K places per user.
        category_excess: share of the lists' places that the category with the most of them has, less its share of held-out items.
        latency_ms: median of single requests.
        size_mb: of the form that was asked.
    """

    hits: NDArray[np.float64]
    coverage: float
    catalogue_coverage: float
    category_excess: float
    latency_ms: float
    size_mb: float

    def figures(self) -> dict[str, float]:
        """For ``gate.json``."""
        numbers = {name: value for name, value in asdict(self).items() if name != "hits"}
        error = float(self.hits.std(ddof=1) / np.sqrt(len(self.hits))) if len(self.hits) > 1 else 0.0
        return {"recall": float(self.hits.mean()), "recall_standard_error": error, **numbers}


@dataclass(frozen=True)
class Check:
    """One rule and how the candidate did.

    Attributes:
        name: of the figure; "recall_ratio" is the least ratio of recalls that is shown.
        candidate: its value.
        bound: the least or the most allowed.
        at_least: whether ``bound`` is the least.
        against: what the candidate is compared with: "in_service", "version 3", or the name of a simple method; None: nothing.
        other: the figure of that; of "recall_ratio" the ratio that was found.
        decided: False where the users are too few to say whether the rule is kept or broken.
        detail: a sentence more.
    """

    name: str
    candidate: float
    bound: float
    at_least: bool = True
    against: str | None = None
    other: float | None = None
    decided: bool = True
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the candidate keeps the bound; a figure that is no number does not."""
        return self.candidate >= self.bound if self.at_least else self.candidate <= self.bound

    @property
    def outcome(self) -> str:
        """In one word."""
        return "kept" if self.passed else "broken" if self.decided else "undecided"

    def as_dict(self) -> dict[str, Any]:
        """For ``gate.json``."""
        return {**asdict(self), "passed": self.passed, "outcome": self.outcome}


def check_candidate(
    candidate: Measured, published: Mapping[str, Measured], best_baseline: tuple[str, NDArray[np.float64]] | None, config: GateConfig
) -> list[Check]:
    """The checks of a candidate; without a model in service those that need none.

    Args:
        candidate: measured on S users.
        published: by name, the one in service and those before it, on the same users.
        best_baseline: name and [S] hits of the best simple method; None: not measured.
        config: the bounds.
    """
    checks = [*_absolute(candidate, config)]
    if best_baseline is not None:
        name, hits = best_baseline
        checks.append(_recall_ratio(candidate.hits, hits, name, config.min_baseline_ratio, config))
    for name, other in published.items():
        checks += _relative(candidate, other, name, config)
    return checks


def _absolute(candidate: Measured, config: GateConfig) -> Iterator[Check]:
    yield Check("users", float(len(candidate.hits)), config.min_users)
    yield Check("recall", float(candidate.hits.mean()), config.min_recall)
    yield Check("coverage", candidate.coverage, config.min_coverage)
    yield Check("catalogue_coverage", candidate.catalogue_coverage, config.min_catalogue_coverage)
    yield Check("category_excess", candidate.category_excess, config.max_category_excess, at_least=False)
    if config.max_latency_ms:
        yield Check("latency_ms", candidate.latency_ms, config.max_latency_ms, at_least=False)
    if config.max_size_mb:
        yield Check("size_mb", candidate.size_mb, config.max_size_mb, at_least=False)


def _relative(candidate: Measured, other: Measured, name: str, config: GateConfig) -> Iterator[Check]:
    if config.max_recall_loss < 1:
        yield _recall_ratio(candidate.hits, other.hits, name, 1 - config.max_recall_loss, config)
    least = other.coverage - config.max_coverage_loss
    yield Check("coverage", candidate.coverage, least, against=name, other=other.coverage)
    least = other.catalogue_coverage * (1 - config.max_catalogue_loss)
    yield Check("catalogue_coverage", candidate.catalogue_coverage, least, against=name, other=other.catalogue_coverage)
    for figure, most in (("latency_ms", config.max_latency_ratio), ("size_mb", config.max_size_ratio)):
        if most:
            value, theirs = getattr(candidate, figure), getattr(other, figure)
            yield Check(figure, value, most * theirs, at_least=False, against=name, other=theirs)


def _recall_ratio(hits: NDArray[np.float64], theirs: NDArray[np.float64], name: str, least: float, config: GateConfig) -> Check:
    if len(hits) < 2:
        return Check("recall_ratio", 0.0, least, against=name, decided=False, detail="one user tells nothing")
    test = ratio_test(hits, theirs, least=least, error=config.error)
    shown = max(test.shown, least) if test.passed else min(test.shown, float(np.nextafter(least, 0)))
    return Check("recall_ratio", shown, least, against=name, other=test.ratio, decided=test.passed or test.worse, detail=_told(test, hits))


def _told(test: RatioTest, hits: NDArray[np.float64]) -> str:
    if test.passed:
        return ""
    if test.worse:
        return "it is shown to be less"
    users = f"{len(hits):,} users are too few to tell"
    return f"{users}; about {test.users_needed:,} would do" if test.users_needed else f"{users}, and nothing speaks for it"
