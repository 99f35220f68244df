"""Edges against counting in plain Python."""

from collections import defaultdict
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nann.dataset import Histories
from nann.neighborhood import build_graph

NUM_ITEMS = 9


def make(users):
    lengths = [len(events) for events in users]
    rows = np.array([row for events in users for row in events], np.int32)
    return Histories(rows, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), 1)


def near_by_loop(users, window, max_neighbors):
    counts, weight, supporters = defaultdict(int), defaultdict(float), defaultdict(set)
    for user, events in enumerate(users):
        for place, row in enumerate(events):
            counts[row] += 1
            for distance in range(1, window + 1):
                for other in (place - distance, place + distance):
                    if 0 <= other < len(events) and events[other] != row:
                        weight[row, events[other]] += 1 / distance
                        supporters[row, events[other]].add(user)
    found = {}
    for row in range(NUM_ITEMS + 1):
        edges = [
            (-weight[pair] / sqrt(counts[row] * counts[pair[1]]), pair[1])
            for pair in weight
            if pair[0] == row and len(supporters[pair]) > 1
        ]
        found[row] = [(near, -value) for value, near in sorted((round(value, 9), near) for value, near in edges)][:max_neighbors]
    return found


logs = st.lists(st.lists(st.integers(1, NUM_ITEMS), min_size=1, max_size=8), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(users=logs, window=st.integers(1, 4), max_neighbors=st.sampled_from([2, 20]), pairs_at_once=st.sampled_from([1, 40, 1 << 20]))
def test_item_edges_are_those_of_a_loop(users, window, max_neighbors, pairs_at_once):
    graph = build_graph(make(users), num_items=NUM_ITEMS, window=window, max_neighbors=max_neighbors, pairs_at_once=pairs_at_once)
    expected = near_by_loop(users, window, max_neighbors)
    for row in range(NUM_ITEMS + 1):
        edges = slice(graph.near_splits[row], graph.near_splits[row + 1])
        weights = [value for _, value in expected[row]]
        assert graph.near_weights[edges] == pytest.approx(weights)
        if len(set(weights)) == len(weights) and len(weights) < max_neighbors:  # equal weights may come in either order
            assert graph.near[edges].tolist() == [near for near, _ in expected[row]]


@settings(max_examples=40, deadline=None)
@given(users=logs)
def test_users_of_an_item_and_items_of_a_user_are_the_events(users):
    graph = build_graph(make(users), num_items=NUM_ITEMS)
    for row in range(NUM_ITEMS + 1):
        found = graph.users[graph.users_splits[row] : graph.users_splits[row + 1]]
        assert found.tolist() == [user for user, events in enumerate(users) for event in events if event == row]
    for user, events in enumerate(users):
        assert graph.items[graph.items_splits[user] : graph.items_splits[user + 1]].tolist() == events
