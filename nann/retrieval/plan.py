"""What a walk does on a given graph: fixed before the first item is scored, so that its cost is bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nann.index.graph import Graph

AS_BUILT = -1


@dataclass(frozen=True)
class SearchParameters:
    """The parameters of a search; they can be given anew with every call.

    Attributes:
        ef: per level from level 0 up, at least 1 each: the frontier is taken from the best `ef` items scored so far.
        rounds: per level from level 0 up, at least 0 each; as many as `ef`.
        top_k: K, items to return, at least 1.
        start_level: the walk starts from all nodes of this level and above, and goes down from the level below it; -1: from the entry
            points of the index.

    Raises:
        ValueError: the lengths differ, or a number is too small.
    """

    ef: tuple[int, ...]
    rounds: tuple[int, ...]
    top_k: int
    start_level: int = AS_BUILT

    def __post_init__(self) -> None:
        ef, rounds = self.ef, self.rounds
        if len(ef) != len(rounds) or not ef:
            raise ValueError(f"ef and rounds need one entry per level, from level 0 up; got {len(ef)} and {len(rounds)} entries")
        if min(ef) < 1 or min(rounds) < 0 or self.top_k < 1:
            raise ValueError(f"ef and top_k must be at least 1 and rounds at least 0; got ef {ef}, rounds {rounds}, top_k {self.top_k}")
        if self.start_level < AS_BUILT:
            raise ValueError(f"start_level must be a level from 0 up, or -1 for the index's own; got {self.start_level}")


@dataclass(frozen=True)
class EntryTable:
    """Where walks over a graph may start.

    Attributes:
        positions: [Q] int64, ascending: the entry points of the index, and all nodes with links above level 0.
        levels: [Q] int64, the highest level on which each has links, 0 where it has none above level 0.
        as_built: [Q] bool, true for the entry points of the index.
    """

    positions: NDArray[np.int64]
    levels: NDArray[np.int64]
    as_built: NDArray[np.bool_]

    @classmethod
    def of(cls, graph: Graph) -> EntryTable:
        """The table of a graph."""
        heights = np.zeros(graph.num_nodes, np.int64)
        for level, lists in enumerate(graph.levels):
            heights[np.diff(lists.row_splits) > 0] = level
        as_built = np.zeros(graph.num_nodes, bool)
        as_built[graph.enter_points] = True
        positions = np.flatnonzero(as_built | (heights > 0))
        return cls(positions=positions.astype(np.int64), levels=heights[positions], as_built=as_built[positions])

    def select(self, start_level: int) -> NDArray[np.int64]:
        """Entry points for a start level; of a lower graph those of its highest level."""
        if start_level == AS_BUILT:
            return self.positions[self.as_built]
        return self.positions[self.levels >= min(start_level, int(self.levels.max()))]


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
        enter_points: [P] int64 positions, ascending.
        levels: highest level first; levels without rounds are left out.
        top_k: K, items returned.
    """

    enter_points: NDArray[np.int64]
    levels: tuple[WalkLevel, ...]
    top_k: int


def useful_levels(graph: Graph, num_levels: int) -> NDArray[np.bool_]:
    """[levels] bool: false where every neighbour is an entry point of the index: all of them are scored before the walk begins."""
    is_entry = np.zeros(graph.num_nodes, bool)
    is_entry[graph.enter_points] = True
    return np.array([not is_entry[lists.values].all() for lists in graph.levels[:num_levels]], bool)


def plan_walk(graph: Graph, *, ef: Sequence[int], rounds: Sequence[int], top_k: int, start_level: int = AS_BUILT) -> WalkPlan:
    """Fits search parameters to a graph.

    Left out are levels the graph does not have, levels from the start level up, and with the index's own entry points those levels whose
    every neighbour is one.

    Args:
        graph: the graph.
        ef: see `SearchParameters`.
        rounds: see `SearchParameters`.
        top_k: see `SearchParameters`.
        start_level: see `SearchParameters`.

    Raises:
        ValueError: see `SearchParameters`.
    """
    parameters = SearchParameters(ef=tuple(ef), rounds=tuple(rounds), top_k=top_k, start_level=start_level)
    table = EntryTable.of(graph)
    if start_level == AS_BUILT:
        walked = useful_levels(graph, len(ef))
    else:
        walked = np.arange(min(len(ef), len(graph.levels))) < min(start_level, int(table.levels.max()))
    levels = [
        WalkLevel(level=int(level), ef=int(parameters.ef[level]), rounds=int(parameters.rounds[level]))
        for level in reversed(np.flatnonzero(walked))
        if parameters.rounds[level]
    ]
    return WalkPlan(enter_points=table.select(start_level), levels=tuple(levels), top_k=int(top_k))
