"""The graph as plain arrays, and its files.

``enter_points.npy`` int64 [P], and per level l ``neighbors_level_{l}_values.npy`` int32 and ``neighbors_level_{l}_row_splits.npy``
int64 [N + 1]: the neighbours of position p at level l are ``values[row_splits[p] : row_splits[p + 1]]``. All ids are positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nann.contents import load_array
from nann.errors import ArtifactError


@dataclass(frozen=True)
class NeighborLists:
    """The links of one level.

    Attributes:
        values: [total] int32 positions.
        row_splits: [N + 1] int64, non-decreasing from 0 to total. Nodes that do not reach the level have empty lists.
    """

    values: np.ndarray
    row_splits: np.ndarray

    def of(self, position: int) -> np.ndarray:
        """The neighbours of one position, [degree] int32."""
        return self.values[self.row_splits[position] : self.row_splits[position + 1]]


@dataclass(frozen=True)
class Graph:
    """A layered proximity graph.

    Attributes:
        enter_points: [P] int64 positions, ascending, P >= 1.
        levels: the links, from level 0 up.
    """

    enter_points: np.ndarray
    levels: tuple[NeighborLists, ...]

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.levels[0].row_splits) - 1


def save_graph(graph: Graph, directory: Path) -> None:
    """Writes the files of a graph into an existing directory."""
    np.save(directory / "enter_points.npy", graph.enter_points.astype(np.int64))
    for level, lists in enumerate(graph.levels):
        np.save(directory / f"neighbors_level_{level}_values.npy", lists.values.astype(np.int32))
        np.save(directory / f"neighbors_level_{level}_row_splits.npy", lists.row_splits.astype(np.int64))


def load_graph(directory: Path) -> Graph:
    """Reads a graph and checks that no id or offset leaves its range.

    Raises:
        ArtifactError: a file is missing or unreadable, or the arrays do not form a graph.
    """
    enter_points = load_array(directory / "enter_points.npy", step="build-index")
    levels: list[NeighborLists] = []
    while not levels or (directory / f"neighbors_level_{len(levels)}_values.npy").exists():
        stem = f"neighbors_level_{len(levels)}"
        values, row_splits = (load_array(directory / f"{stem}_{what}.npy", step="build-index") for what in ("values", "row_splits"))
        levels.append(NeighborLists(values=values, row_splits=row_splits))
    graph = Graph(enter_points=enter_points, levels=tuple(levels))
    problem = problem_of(graph)
    if problem:
        raise ArtifactError(f"{directory}: {problem}; run `nann build-index` again")
    return graph


def problem_of(graph: Graph) -> str | None:
    """What keeps arrays from being a graph; None where nothing does."""
    arrays = [graph.enter_points, *(array for lists in graph.levels for array in (lists.values, lists.row_splits))]
    if bad := [array for array in arrays if array.ndim != 1 or array.dtype.kind not in "iu"]:
        return f"its arrays must be lists of integers, one is {list(bad[0].shape)} {bad[0].dtype}"
    if not len(graph.levels[0].row_splits):
        return "row splits of level 0 are empty"
    count = graph.num_nodes
    if not len(graph.enter_points) or graph.enter_points.min() < 0 or graph.enter_points.max() >= count:
        return f"enter_points must be at least one position in 0..{count - 1}"
    for level, lists in enumerate(graph.levels):
        splits, values = lists.row_splits, lists.values
        if len(splits) != count + 1 or splits[0] != 0 or splits[-1] != len(values) or (np.diff(splits) < 0).any():
            return f"row splits of level {level} must be {count + 1} numbers rising from 0 to {len(values)}"
        if len(values) and (values.min() < 0 or values.max() >= count):
            return f"neighbours of level {level} must be positions in 0..{count - 1}"
    return None
