"""Which searches are tried and which is chosen, on literal points."""

from typing import Any

import pytest

from nann.retrieval import SearchParameters
from nann.tuning.candidates import GraphSettings, candidate_searches, choose

POINTS: list[dict[str, Any]] = [
    {"items_scored_mean": 100, "coverage@5": 0.8, "recall_delta@5": 0.2, "p50_ms": 1.0},
    {"items_scored_mean": 300, "coverage@5": 0.99, "recall_delta@5": 0.01, "p50_ms": 3.0},
    {"items_scored_mean": 200, "coverage@5": 0.99, "recall_delta@5": 0.0, "p50_ms": 5.0},
    {"items_scored_mean": 900, "coverage@5": 1.0, "recall_delta@5": None, "p50_ms": 9.0},
]


@pytest.mark.parametrize(
    ("target_coverage", "target_recall_delta", "latency_budget_ms", "chosen"),
    [
        (0.99, 1.0, 0, 2),
        (0.99, 1.0, 4.0, 1),
        (0.995, 1.0, 0, 3),
        (0.0, 0.1, 0, 2),
        (0.0, 1.0, 0, 0),
        (0.995, 1.0, 4.0, 1),
        (0.99, 1.0, 0.5, 2),
    ],
)
def test_the_cheapest_that_reaches_the_target(
    target_coverage: float, target_recall_delta: float, latency_budget_ms: float, chosen: int
) -> None:
    options: dict[str, Any] = {"target_coverage": target_coverage, "target_recall_delta": target_recall_delta}
    assert choose(POINTS, k=5, **options, latency_budget_ms=latency_budget_ms) == chosen


def test_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(ValueError, match="no search to choose from"):
        choose([], k=5, target_coverage=1, target_recall_delta=1, latency_budget_ms=0)


def test_candidates_are_all_combinations() -> None:
    options: dict[str, Any] = {"widths": (10, 20), "rounds": (3,), "upper_rounds": (0, 2), "start_levels": (-1,), "top_k": 5}
    assert candidate_searches(num_levels=3, **options) == [
        SearchParameters((10, 10, 10), (3, 0, 0), 5),
        SearchParameters((10, 10, 10), (3, 2, 1), 5),
        SearchParameters((20, 20, 20), (3, 0, 0), 5),
        SearchParameters((20, 20, 20), (3, 2, 1), 5),
    ]
    assert candidate_searches(num_levels=1, **options) == [SearchParameters((10,), (3,), 5), SearchParameters((20,), (3,), 5)]


def test_graphs_are_read_from_text() -> None:
    assert GraphSettings.parse("32:200") == GraphSettings(32, 200)
    for text in ("32", "1:5", "a:b", ":", "4:0"):
        with pytest.raises(ValueError, match="M:EF_CONSTRUCTION"):
            GraphSettings.parse(text)
