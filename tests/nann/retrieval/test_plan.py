"""Which levels a walk takes."""

from typing import Any

import pytest

from nann.retrieval import WalkLevel, plan_walk


def test_levels_of_entry_points_only_are_left_out(make_corpus: Any) -> None:
    graph = make_corpus(600, m=4, start_level=2).graph
    plan = plan_walk(graph, ef=(40, 30, 20), rounds=(8, 2, 1), top_k=10)
    assert plan.levels == (WalkLevel(level=1, ef=30, rounds=2), WalkLevel(level=0, ef=40, rounds=8))
    assert plan.pool_size == 40


def test_a_corpus_of_entry_points_needs_no_walk(make_corpus: Any) -> None:
    plan = plan_walk(make_corpus(30, start_level=0).graph, ef=(40, 30), rounds=(8, 2), top_k=7)
    assert plan.levels == ()
    assert plan.pool_size == 7


def test_levels_without_rounds_or_without_links_are_left_out(make_corpus: Any) -> None:
    graph = make_corpus(600, m=4).graph
    assert [level.level for level in plan_walk(graph, ef=(4,) * 30, rounds=(1, 0) + (1,) * 28, top_k=7).levels] == [0]


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
