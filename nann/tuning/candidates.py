"""Which searches and graphs are tried, and which of them is chosen."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nann.retrieval import SearchParameters


@dataclass(frozen=True)
class GraphSettings:
    """How a graph is built.

    Attributes:
        m: HNSW degree M.
        ef_construction: candidate list size while building.
    """

    m: int
    ef_construction: int

    @classmethod
    def parse(cls, text: str) -> GraphSettings:
        """Reads "M:EF_CONSTRUCTION".

        Raises:
            ValueError: the text is not of that form.
        """
        m, colon, ef_construction = text.partition(":")
        if not (colon and m.strip().isdigit() and ef_construction.strip().isdigit() and int(m) >= 2 and int(ef_construction) >= 1):
            raise ValueError(f"a graph is given as M:EF_CONSTRUCTION, such as 32:200, with M at least 2; got {text!r}")
        return cls(int(m), int(ef_construction))


def candidate_searches(
    *,
    num_levels: int,
    widths: Sequence[int],
    rounds: Sequence[int],
    upper_rounds: Sequence[int],
    start_levels: Sequence[int],
    top_k: int,
) -> list[SearchParameters]:
    """All combinations; `ef` is the same on all levels.

    Args:
        num_levels: levels the parameters name.
        widths: values of `ef`.
        rounds: rounds on level 0.
        upper_rounds: rounds on level 1; levels above it have one round each, none where this is 0.
        start_levels: see `SearchParameters`.
        top_k: items to return.
    """
    searches = []
    for start_level, width, below, above in itertools.product(start_levels, widths, rounds, upper_rounds):
        upper = [above, *[min(above, 1)] * max(0, num_levels - 2)][: num_levels - 1]
        searches.append(SearchParameters((width,) * num_levels, (below, *upper), top_k, start_level))
    return list(dict.fromkeys(searches))


def choose(
    points: Sequence[dict[str, Any]], *, k: int, target_coverage: float, target_recall_delta: float, latency_budget_ms: float
) -> int:
    """The number of the point with the fewest items scored among those that reach the target within the budget.

    Where there is none, the one that comes closest: first within the budget (if any is), then by coverage.

    Args:
        points: each with ``items_scored_mean``, ``coverage@K``, ``recall_delta@K`` (None where the exact recall is 0) and ``p50_ms``.
        k: K.
        target_coverage: least coverage@K; 0: none.
        target_recall_delta: most of the exact recall that may be lost; 1: all.
        latency_budget_ms: most of the median latency of one user; 0: no limit.

    Raises:
        ValueError: there is no point.
    """
    if not points:
        raise ValueError("there is no search to choose from; give at least one value for each parameter")
    numbers = range(len(points))
    affordable = [n for n in numbers if not latency_budget_ms or points[n]["p50_ms"] <= latency_budget_ms] or list(numbers)
    good = [n for n in affordable if reaches(points[n], k=k, target_coverage=target_coverage, target_recall_delta=target_recall_delta)]
    if good:
        return min(good, key=lambda n: (points[n]["items_scored_mean"], points[n]["p50_ms"]))
    return max(affordable, key=lambda n: (points[n][f"coverage@{k}"], -points[n]["items_scored_mean"]))


def reaches(point: dict[str, Any], *, k: int, target_coverage: float, target_recall_delta: float) -> bool:
    """Whether a point reaches the targets of `choose`."""
    delta = point[f"recall_delta@{k}"]
    return bool(point[f"coverage@{k}"] >= target_coverage and (delta is None or delta <= target_recall_delta))
