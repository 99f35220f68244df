"""Items without a training event as entry points."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nann.index.entries import MOST, SHARE, enter_at_untrained
from nann.index.graph import Graph, NeighborLists


def graph_of(nodes: int) -> Graph:
    return Graph(np.array([3]), (NeighborLists(np.zeros(0, np.int32), np.zeros(nodes + 1, np.int64)),))


@given(st.integers(4, 400), st.integers(1, 9), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_every_category_has_its_turn_before_any_has_a_second(nodes, num_categories, seed, share) -> None:
    rng = np.random.default_rng(seed)
    counts, categories = (rng.random(nodes) > share).astype(np.int64), rng.integers(0, num_categories, nodes)
    counts[3] = 1  # the entry point of the index
    found = enter_at_untrained(graph_of(nodes), counts, categories)
    added = np.setdiff1d(found.enter_points, [3])
    untrained = np.flatnonzero(counts == 0)
    assert np.isin(added, untrained).all()
    assert 3 in found.enter_points
    assert (np.diff(found.enter_points) > 0).all()
    room = int(SHARE * nodes)
    assert len(added) == min(room, len(untrained))
    taken = np.bincount(categories[added], minlength=num_categories)
    there = np.bincount(categories[untrained], minlength=num_categories)
    assert all(taken[a] + 1 >= min(taken.max(), there[a]) for a in range(num_categories) if there[a])


def test_no_more_than_are_scored_at_once() -> None:
    nodes = 128 * MOST
    found = enter_at_untrained(graph_of(nodes), np.zeros(nodes, np.int64), np.zeros(nodes, np.int64))
    assert len(found.enter_points) == MOST


def test_a_corpus_that_was_trained_whole_keeps_its_entry_points() -> None:
    assert enter_at_untrained(graph_of(100), np.ones(100, np.int64), np.zeros(100, np.int64)).enter_points.tolist() == [3]
