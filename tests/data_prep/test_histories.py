"""Grouping and ordering against sorted Python lists."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.histories import chronological_order, duplicate_events, group_events

events = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(-3, 3) | st.sampled_from([-(2**61), 2**61])), max_size=50)


@settings(deadline=None)
@given(events=events)
def test_order_is_by_user_and_time_with_ties_in_file_order(events: list[tuple[int, int, int]]) -> None:
    users, _, times = (np.array(column, np.int64) for column in (zip(*events, strict=True) if events else ((), (), ())))
    expected = sorted(range(len(events)), key=lambda row: (events[row][0], events[row][2]))
    assert chronological_order(users, times).tolist() == expected


@settings(deadline=None)
@given(events=events)
def test_repeated_events_are_all_but_the_first_in_file_order(events: list[tuple[int, int, int]]) -> None:
    events = sorted(events, key=lambda event: (event[0], event[2]))
    users, items, times = (np.array(column, np.int64) for column in (zip(*events, strict=True) if events else ((), (), ())))
    seen: set[tuple[int, int, int]] = set()
    expected = []
    for event in events:
        expected.append(event in seen)
        seen.add(event)
    assert duplicate_events(users, items, times).tolist() == expected


def test_groups_keep_order() -> None:
    histories = group_events(np.array([0, 0, 1, 2, 2]), np.array([5, 3, 3, 1, 2]), np.arange(5), np.array([10, 20, 30]))
    assert histories.row_splits.tolist() == [0, 2, 3, 5]
    assert histories.lengths.tolist() == [2, 1, 2]
