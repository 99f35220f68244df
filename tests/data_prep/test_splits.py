"""The draw of held-out users and the place of targets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import DataError
from data_prep.splits import draw_splits, held_out_size, held_out_targets, train_targets

OPTIONS = {"train_min_length": 1, "test_min_length": 3, "test_users": -1, "validate_users": -1, "seed": 1}


def test_users_are_split_without_overlap_and_only_long_ones_are_held_out() -> None:
    lengths = np.random.default_rng(0).integers(1, 9, 500)
    splits = draw_splits(lengths, **OPTIONS)
    eligible = int((lengths > 3).sum())
    assert len(splits.test) == len(splits.validate) == eligible // 10
    assert sorted([*splits.train, *splits.validate, *splits.test]) == list(range(500))
    assert lengths[splits.test].min() > 3
    assert lengths[splits.validate].min() > 3
    again, other = draw_splits(lengths, **OPTIONS), draw_splits(lengths, **{**OPTIONS, "seed": 2})
    np.testing.assert_array_equal(again.test, splits.test)
    assert not np.array_equal(other.test, splits.test)


def test_default_sizes() -> None:
    assert [held_out_size(-1, eligible) for eligible in (5, 25, 10**6)] == [1, 2, 10_000]
    assert held_out_size(0, 100) == 0
    assert held_out_size(7, 3) == 7


@pytest.mark.parametrize(
    ("lengths", "options", "message"),
    [
        ([3, 2], {}, "none of the 2 users has more than test_min_length 3 events .the longest history has 3."),
        ([9], {}, "only 1 of 1 users have more than"),
        ([9, 9], {}, "no training sample is left"),
        ([9, 9, 1], {}, "no training sample is left"),
        ([9, 9, 9], {"test_users": 3}, "test_users 3 and validate_users 1"),
        ([1, 1], {"test_users": 0, "validate_users": 0}, "no training sample is left"),
    ],
)
def test_logs_that_cannot_be_split_are_refused(lengths: list[int], options: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw_splits(np.array(lengths), **{**OPTIONS, **options})


def test_nothing_needs_to_be_held_out() -> None:
    splits = draw_splits(np.array([2, 2]), **{**OPTIONS, "test_users": 0, "validate_users": 0})
    assert (len(splits.train), len(splits.validate), len(splits.test)) == (2, 0, 0)


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=20), first=st.integers(1, 4))
def test_targets_against_loops(lengths: list[int], first: int) -> None:
    row_splits = np.cumsum([0, *lengths])
    users = np.flatnonzero(np.arange(len(lengths)) % 3 != 1)
    targets, starts = train_targets(row_splits, users, first)
    expected = [(row_splits[user] + place, row_splits[user]) for user in users for place in range(first, lengths[user])]
    assert list(zip(targets, starts, strict=True)) == expected
    longer = np.flatnonzero(np.array(lengths) > first)
    assert held_out_targets(row_splits, longer, first).tolist() == [
        row_splits[user] + first + (lengths[user] - first) // 2 for user in longer
    ]
