"""The walk of `nann.retrieval.beam` for one user in plain Python: slow, obvious, and what the tests of both forms compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nann.index.graph import Graph
from nann.retrieval.plan import WalkPlan


@pytest.fixture(scope="session")
def reference_walk() -> Callable[..., Any]:
    return walk_in_python


def walk_in_python(score: Callable[[list[int]], list[float]], graph: Graph, plan: WalkPlan) -> tuple[list[int], list[float], int]:
    """Positions and scores of the best `plan.top_k` items scored, and how many were.

    Args:
        score: scores of positions.
        graph: the graph.
        plan: the walk.
    """
    found: list[tuple[float, int, int]] = []  # score, order of discovery, position

    def visit(positions: list[int]) -> None:
        for position, value in zip(positions, score(positions), strict=True):
            found.append((float(value), len(found), position))

    def ranking(size: int) -> list[tuple[float, int, int]]:
        return sorted(found, key=lambda entry: (-entry[0], entry[1]))[:size]

    visit([int(position) for position in plan.enter_points])
    for level in plan.levels:
        frontier = [position for _, _, position in ranking(level.ef)]
        for _ in range(level.rounds):
            seen = {position for _, _, position in found}
            neighbors = [int(neighbor) for position in frontier for neighbor in graph.levels[level.level].of(position)]
            first_new = len(found)
            visit([neighbor for neighbor in dict.fromkeys(neighbors) if neighbor not in seen])
            frontier = [position for _, order, position in ranking(level.ef) if order >= first_new]
    best = ranking(plan.top_k)
    return [position for _, _, position in best], [value for value, _, _ in best], len(found)
