"""Graph files, their checks, and the statistics on graphs small enough to see through."""

from pathlib import Path

import numpy as np
import pytest

from nann.errors import ArtifactError
from nann.index import Graph, NeighborLists, describe_graph, load_graph, save_graph
from nann.index.statistics import reachable


def lists(*rows: list[int]) -> NeighborLists:
    splits = np.cumsum([0, *(len(row) for row in rows)])
    return NeighborLists(values=np.array([v for row in rows for v in row], np.int32), row_splits=splits.astype(np.int64))


GRAPH = Graph(
    enter_points=np.array([2]),
    levels=(lists([1], [0], [], [4], [3], []), lists([], [], [0], [], [], [])),
)


def test_round_trip(tmp_path: Path) -> None:
    save_graph(GRAPH, tmp_path)
    loaded = load_graph(tmp_path)
    np.testing.assert_array_equal(loaded.enter_points, [2])
    assert len(loaded.levels) == 2
    for a, b in zip(loaded.levels, GRAPH.levels, strict=True):
        np.testing.assert_array_equal(a.values, b.values)
        np.testing.assert_array_equal(a.row_splits, b.row_splits)
        assert (a.values.dtype, a.row_splits.dtype) == (np.int32, np.int64)


def test_reachability_descends_level_by_level() -> None:
    np.testing.assert_array_equal(reachable(GRAPH), [True, True, True, False, False, False])


def test_description() -> None:
    description = describe_graph(GRAPH)
    assert description["num_items"] == 6
    assert description["num_enter_points"] == 1
    assert description["reachable_share"] == 0.5
    assert (description["level_0_nodes"], description["level_0_degree_mean"], description["level_0_degree_max"]) == (4, 1.0, 1)
    assert (description["level_1_nodes"], description["level_1_degree_max"]) == (1, 1)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("enter_points", np.array([6]), r"position in 0\.\.5"),
        ("enter_points", np.array([], np.int64), "at least one"),
        ("neighbors_level_0_values", np.array([1, 0, 4, 9], np.int32), r"level 0 must be positions in 0\.\.5"),
        ("neighbors_level_1_row_splits", np.array([0, 0, 1], np.int64), "level 1 must be 7 numbers"),
        ("neighbors_level_0_row_splits", np.array([0, 2, 1, 2, 3, 4, 4], np.int64), "level 0 must be 7 numbers rising"),
    ],
)
def test_broken_graphs_are_refused(tmp_path: Path, name: str, values: np.ndarray, message: str) -> None:
    save_graph(GRAPH, tmp_path)
    np.save(tmp_path / f"{name}.npy", values)
    with pytest.raises(ArtifactError, match=message):
        load_graph(tmp_path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"enter_points\.npy.*run `nann build-index` again"):
        load_graph(tmp_path)
