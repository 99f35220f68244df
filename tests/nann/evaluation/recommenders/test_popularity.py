"""Popularity, popularity of the last hours, and repeats, against counting."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nann.evaluation.recommenders import RecentPopularity, popular_list, repeat_lists


def test_popular_list_breaks_ties_by_row_and_pads() -> None:
    counts = np.array([99, 4, 7, 4, 0])
    assert popular_list(counts, 3).tolist() == [2, 1, 3]
    assert popular_list(counts, 6).tolist() == [2, 1, 3, 0, 0, 0]


def test_repeats_are_the_newest_items_first_each_once() -> None:
    histories = np.array([[1, 2, 1, 0], [3, 0, 0, 0], [0, 0, 0, 0]])
    assert repeat_lists(histories, 3).tolist() == [[1, 2, 0], [3, 0, 0], [0, 0, 0]]
    assert repeat_lists(histories, 3, fill=np.array([2, 4, 3])).tolist() == [[1, 2, 4], [3, 2, 4], [2, 4, 3]]
    assert repeat_lists(histories, 1).tolist() == [[1], [3], [0]]


@settings(max_examples=60, deadline=None)
@given(
    events=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 20_000)), min_size=1, max_size=30),
    moments=st.lists(st.integers(-5000, 25_000), min_size=1, max_size=6),
    hours=st.sampled_from([0.5, 1, 3]),
    k=st.integers(1, 8),
)
def test_recent_popularity_against_counting(events: list[tuple[int, int]], moments: list[int], hours: float, k: int) -> None:
    items, times = np.array(events).T
    fill = np.array([6, 5])
    lists = RecentPopularity(items, times, num_items=6).recommend(np.array(moments), k, hours=hours, fill=fill)
    for moment, found in zip(moments, lists.tolist(), strict=True):
        counts = Counter(item for item, time in events if moment - 3600 * hours < time <= moment)
        best = sorted(counts, key=lambda item: (-counts[item], item))
        best += [item for item in fill.tolist() if item not in best]
        assert found == (best + [0] * k)[:k]


def test_a_window_has_a_length() -> None:
    with pytest.raises(ValueError, match="hours is 0"):
        RecentPopularity(np.array([1]), np.array([5]), num_items=2).recommend(np.array([5]), 1, hours=0)
