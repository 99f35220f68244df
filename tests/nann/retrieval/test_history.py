"""Histories as they come: any integers, any length."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from nann.retrieval import prepare_history


def run(items: list, categories: list, max_length: int = 4) -> tuple[list, list]:
    shape = (len(items), -1) if items else (0, 3)
    arrays = [tf.constant(np.array(values, np.int64).reshape(shape)) for values in (items, categories)]
    rows, cates = prepare_history(*arrays, num_items=9, num_categories=5, max_length=max_length)
    return rows.numpy().tolist(), cates.numpy().tolist()


@pytest.mark.parametrize(
    ("items", "categories", "expected"),
    [
        ([[1, 2, 0]], [[3, 4, 0]], ([[1, 2, 0]], [[3, 4, 0]])),
        ([[0, 1, 0, 2]], [[5, 3, 5, 4]], ([[1, 2, 0, 0]], [[3, 4, 0, 0]])),
        ([[1, 2, 3, 4, 5, 6]], [[1, 1, 1, 1, 2, 3]], ([[3, 4, 5, 6]], [[1, 1, 2, 3]])),
        ([[10, -1, 2**62, 9]], [[1, 1, 1, 6]], ([[9, 0, 0, 0]], [[0, 0, 0, 0]])),
        ([[0, 0]], [[0, 0]], ([[0, 0]], [[0, 0]])),
        ([[]], [[]], ([[0]], [[0]])),
        ([], [], ([], [])),
        ([[7, 0], [0, 8]], [[-3, 0], [0, 2]], ([[7, 0], [8, 0]], [[0, 0], [2, 0]])),
    ],
)
def test_cases(items: list, categories: list, expected: tuple[list, list]) -> None:
    if items == [[]]:
        rows, cates = prepare_history(tf.zeros([1, 0], tf.int64), tf.zeros([1, 0], tf.int64), num_items=9, num_categories=5, max_length=4)
        assert (rows.numpy().tolist(), cates.numpy().tolist()) == expected
    else:
        assert run(items, categories) == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(-2, 11), st.integers(-2, 7)), min_size=6, max_size=6), min_size=1, max_size=3))
def test_equals_a_loop(pairs: list[list[tuple[int, int]]]) -> None:
    rows, cates = run([[i for i, _ in user] for user in pairs], [[c for _, c in user] for user in pairs])
    for user, items, categories in zip(pairs, rows, cates, strict=True):
        kept = [(i, c if 1 <= c <= 5 else 0) for i, c in user if 1 <= i <= 9][-4:]
        kept += [(0, 0)] * (4 - len(kept))
        assert list(zip(items, categories, strict=True)) == kept


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-1, 11), min_size=1, max_size=8), st.integers(1, 5))
def test_what_stands_beside_an_item_moves_with_it(items: list[int], max_length: int) -> None:
    times = [100 + place for place in range(len(items))]
    arrays = [tf.constant([values], tf.int64) for values in (items, [1] * len(items), times, [-time for time in times])]
    rows, _, moved, negated = prepare_history(*arrays, num_items=9, num_categories=5, max_length=max_length)
    kept = [(item, time) for item, time in zip(items, times, strict=True) if 1 <= item <= 9][-max_length:]
    padded = kept + [(0, 0)] * (rows.shape[1] - len(kept))
    assert [*zip(rows[0].numpy().tolist(), moved[0].numpy().tolist(), strict=True)] == padded
    np.testing.assert_array_equal(negated, -moved)
