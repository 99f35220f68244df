"""Which levels a walk takes."""

from typing import Any

import numpy as np
import pytest

from nann.retrieval import SearchParameters, WalkLevel, plan_walk


def test_levels_of_entry_points_only_are_left_out(make_corpus: Any) -> None:
    graph = make_corpus(600, m=4, start_level=2).graph
    plan = plan_walk(graph, ef=(40, 30, 20), rounds=(8, 2, 1), top_k=10)
    assert plan.levels == (WalkLevel(level=1, ef=30, rounds=2), WalkLevel(level=0, ef=40, rounds=8))


def test_a_corpus_of_entry_points_needs_no_walk(make_corpus: Any) -> None:
    plan = plan_walk(make_corpus(30, start_level=0).graph, ef=(40, 30), rounds=(8, 2), top_k=7)
    assert plan.levels == ()


def test_levels_without_rounds_or_without_links_are_left_out(make_corpus: Any) -> None:
    graph = make_corpus(600, m=4).graph
    assert [level.level for level in plan_walk(graph, ef=(4,) * 30, rounds=(1, 0) + (1,) * 28, top_k=7).levels] == [0]


def test_a_start_level_moves_the_entry_points(make_corpus: Any) -> None:
    graph = make_corpus(600, m=4, start_level=2).graph
    search: dict[str, Any] = {"ef": (40, 30, 20), "rounds": (8, 2, 1), "top_k": 10}
    as_built = plan_walk(graph, **search)
    same = plan_walk(graph, **search, start_level=2)
    assert same.levels == as_built.levels
    np.testing.assert_array_equal(same.enter_points, as_built.enter_points)
    lower, higher = plan_walk(graph, **search, start_level=1), plan_walk(graph, **search, start_level=3)
    assert len(lower.enter_points) > len(as_built.enter_points) > len(higher.enter_points) > 0
    assert [level.level for level in lower.levels] == [0]
    assert [level.level for level in higher.levels] == [2, 1, 0]


def test_a_start_level_below_the_index_is_refused() -> None:
    with pytest.raises(ValueError, match="start_level must be a level from 0 up"):
        SearchParameters((1,), (1,), 1, start_level=-2)


@pytest.mark.parametrize(
    ("ef", "rounds", "top_k", "message"),
    [
        ((1, 2), (1,), 1, "got 2 and 1 entries"),
        ((), (), 1, "one entry per level"),
        ((0,), (1,), 1, "at least 1"),
        ((1,), (-1,), 1, "at least 0"),
        ((1,), (1,), 0, "top_k 0"),
    ],
)
def test_impossible_parameters_are_refused(make_corpus: Any, ef: tuple, rounds: tuple, top_k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_walk(make_corpus(20).graph, ef=ef, rounds=rounds, top_k=top_k)
