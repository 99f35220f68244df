"""Numbers that say what a graph is like: degrees, and how much of the corpus a walk from the entry points can reach."""

from __future__ import annotations

import numpy as np

from nann.index.graph import Graph, NeighborLists


def describe_graph(graph: Graph) -> dict[str, float | int]:
    """Counts, degrees per level and reachability.

    Returns:
        ``num_items``, ``num_levels``, ``num_enter_points``, ``reachable_share`` (of all nodes, by an unbounded walk) and per level l
        ``level_{l}_nodes`` (nodes with a link), ``level_{l}_degree_mean`` (over those) and ``level_{l}_degree_max``.
    """
    description: dict[str, float | int] = {
        "num_items": graph.num_nodes,
        "num_levels": len(graph.levels),
        "num_enter_points": len(graph.enter_points),
        "reachable_share": float(reachable(graph).mean()),
    }
    for level, lists in enumerate(graph.levels):
        degrees = np.diff(lists.row_splits)
        linked = degrees[degrees > 0]
        description[f"level_{level}_nodes"] = len(linked)
        description[f"level_{level}_degree_mean"] = float(linked.mean()) if len(linked) else 0.0
        description[f"level_{level}_degree_max"] = int(linked.max()) if len(linked) else 0
    return description


def reachable(graph: Graph) -> np.ndarray:
    """[N] bool: nodes an unbounded walk finds: from the entry points, all of each level in turn, from the highest down to level 0."""
    found = np.zeros(graph.num_nodes, bool)
    found[graph.enter_points] = True
    for lists in reversed(graph.levels):
        frontier = np.flatnonzero(found)
        while len(frontier):
            neighbors = _gather(lists, frontier)
            frontier = np.unique(neighbors[~found[neighbors]])
            found[frontier] = True
    return found


def _gather(lists: NeighborLists, positions: np.ndarray) -> np.ndarray:
    """All neighbours of some positions, concatenated."""
    starts = lists.row_splits[positions]
    lengths = lists.row_splits[positions + 1] - starts
    ends = np.cumsum(lengths)
    within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    neighbors: np.ndarray = lists.values[np.repeat(starts, lengths) + within]
    return neighbors
