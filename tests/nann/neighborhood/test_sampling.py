"""Samples are walks along the edges, in the proportions the edges say."""

import numpy as np
import pytest

from nann.dataset import Histories
from nann.neighborhood import NeighborhoodShape, NeighborSampler, build_graph

NUM_ITEMS = 30
SHAPE = NeighborhoodShape(items=3, users=2, user_items=4)


def make_users(seed=0):
    rng = np.random.default_rng(seed)
    users = [rng.integers(1, NUM_ITEMS - 3, size=rng.integers(1, 12)).tolist() for _ in range(40)]
    return [*users, [NUM_ITEMS]]  # an item of one user alone; the items before it have no event at all


def make_sampler(users, shape=SHAPE):
    splits = np.concatenate([[0], np.cumsum([len(events) for events in users])]).astype(np.int64)
    histories = Histories(np.array([row for events in users for row in events], np.int32), splits, 1)
    return NeighborSampler(build_graph(histories, num_items=NUM_ITEMS), shape)


def parts(sampled, shape=SHAPE):
    near, own, similar = np.split(sampled, [shape.items, shape.items + shape.users * shape.user_items], axis=-1)
    return near, own.reshape(*own.shape[:-1], shape.users, -1), similar.reshape(*similar.shape[:-1], shape.users, -1)


def test_every_sample_is_a_walk_along_the_edges():
    users = make_users()
    sampler = make_sampler(users)
    graph = sampler.graph
    rows = np.tile(np.arange(NUM_ITEMS + 1, dtype=np.int32), 20).reshape(20, -1)
    near, own, similar = parts(sampler.sample(np.random.default_rng(1), rows))
    for row, some, of_users, of_others in zip(*(part.reshape(-1, *part.shape[2:]) for part in (rows, near, own, similar)), strict=True):
        neighbors = set(graph.near[graph.near_splits[row] : graph.near_splits[row + 1]].tolist())
        assert set(some.tolist()) <= (neighbors or {0})
        with_it = [events for events in users if row in events]
        for drawn, others in zip(of_users, of_others, strict=True):
            assert row == 0 or row not in drawn.tolist()
            reachable = [events for events in with_it if set(drawn.tolist()) - {0} <= set(events)]
            assert reachable or not drawn.any()
            # a similar user shares an item with a user of the item
            met = [events for events in users if set(others.tolist()) - {0} <= set(events) and any(set(events) & set(e) for e in with_it)]
            assert met or not others.any()
    assert near[:, 1:20].all(axis=-1).mean() > 0.5
    assert not sampler.sample(np.random.default_rng(1), np.array([0, NUM_ITEMS - 1], np.int32)).any()


def test_an_excluded_user_leaves_no_trace():
    """Items whose only user is the excluded one have an empty sample; nothing drawn is the excluded user's alone."""
    users = [[1, 2, 3], [1, 4, 5], [4, 6]]
    sampler = make_sampler(users)
    item = np.full(500, 1, np.int32)
    near, own, similar = parts(sampler.sample(np.random.default_rng(0), item, exclude_users=np.zeros(500, np.int64)))
    assert set(np.unique(own)) == {0, 4, 5}
    assert set(np.unique(similar)) == {0, 4, 6}
    assert not near.any()  # no edge has two supporters
    alone = sampler.sample(np.random.default_rng(0), np.full(500, 2, np.int32), exclude_users=np.zeros(500, np.int64))
    assert not alone.any()
    seen = parts(sampler.sample(np.random.default_rng(0), np.full(500, 2, np.int32)))
    assert set(np.unique(seen[1])) == {0, 1, 3}


def test_neighbours_come_in_proportion_to_their_weights():
    users = [[1, 2], [1, 2], [1, 2], [1, 3], [1, 3], [3, 3, 3]]
    sampler = make_sampler(users, NeighborhoodShape(items=1, users=1, user_items=1))
    graph = sampler.graph
    edges = slice(graph.near_splits[1], graph.near_splits[2])
    weights = dict(zip(graph.near[edges].tolist(), graph.near_weights[edges], strict=True))
    drawn = sampler.sample(np.random.default_rng(0), np.full(20_000, 1, np.int32))
    for row, weight in weights.items():
        assert np.mean(drawn[:, 0] == row) == pytest.approx(weight / sum(weights.values()), abs=0.015)
    # own items of a user of item 1: item 2 or 3 in half of the draws, 1 itself is left out
    assert np.mean(drawn[:, 1] == 2) == pytest.approx(0.5 * 3 / 5, abs=0.015)
    assert np.mean(drawn[:, 1] == 3) == pytest.approx(0.5 * 2 / 5, abs=0.015)


def test_equal_streams_give_equal_samples_of_any_shape():
    sampler = make_sampler(make_users())
    rows = np.random.default_rng(2).integers(0, NUM_ITEMS + 1, size=(3, 5)).astype(np.int32)
    one, two = (sampler.sample(np.random.default_rng(7), rows) for _ in range(2))
    assert one.shape == (3, 5, SHAPE.size)
    assert one.dtype == np.int32
    np.testing.assert_array_equal(one, two)
