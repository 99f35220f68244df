"""What a walk does on a given graph: fixed before the first item is scored, so that its cost is bounded and the graph can be unrolled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nann.index.graph import Graph


@dataclass(frozen=True)
class WalkLevel:
    """The rounds on one level.

    Attributes:
        level: level of the graph.
        ef: the frontier is taken from the best `ef` items scored so far.
        rounds: rounds of expansion.
    """

    level: int
    ef: int
    rounds: int


@dataclass(frozen=True)
class WalkPlan:
    """A walk: all entry points are scored, then the levels are walked in order, and the best `top_k` of everything scored come out.

    Attributes:
        levels: highest level first.
        top_k: K, items returned.
    """

    levels: tuple[WalkLevel, ...]
    top_k: int

    @property
    def pool_size(self) -> int:
        """How many of the items scored are kept: enough for every frontier and for the answer."""
        return max([self.top_k, *(level.ef for level in self.levels)])


def plan_walk(graph: Graph, *, ef: Sequence[int], rounds: Sequence[int], top_k: int) -> WalkPlan:
    """Fits search parameters to a graph.

    Levels the graph does not have are left out, and so are levels whose every neighbour is an entry point: all of them are scored
    before the walk begins, so that a round there finds nothing. Levels from len(ef) up are not walked.

    Args:
        graph: the graph.
        ef: per level from level 0 up, at least 1 each.
        rounds: per level from level 0 up, at least 0 each; as many as `ef`.
        top_k: items to return, at least 1.

    Raises:
        ValueError: the lengths differ, or a number is too small.
    """
    if len(ef) != len(rounds) or not ef:
        raise ValueError(f"ef and rounds need one entry per level, from level 0 up; got {len(ef)} and {len(rounds)} entries")
    if min(ef) < 1 or min(rounds) < 0 or top_k < 1:
        raise ValueError(f"ef and top_k must be at least 1 and rounds at least 0; got ef {ef}, rounds {rounds}, top_k {top_k}")
    is_entry = np.zeros(graph.num_nodes, bool)
    is_entry[graph.enter_points] = True
    levels = [
        WalkLevel(level=level, ef=int(ef[level]), rounds=int(rounds[level]))
        for level in reversed(range(min(len(ef), len(graph.levels))))
        if rounds[level] and not is_entry[graph.levels[level].values].all()
    ]
    return WalkPlan(levels=tuple(levels), top_k=int(top_k))
