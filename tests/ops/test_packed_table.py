"""Packed tables against rounding by hand, and the native gather against the stock one."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ops import retrieval
from ops.packed_table import PackedTable, pack, unpack

PRECISIONS = ["float32", "bfloat16", "float16", "int8"]
TABLES = arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(-1000, 1000, width=32))


@settings(max_examples=60, deadline=None)
@given(table=TABLES)
def test_int8_rows_are_off_by_at_most_half_a_scale_and_keep_their_zeros(table):
    packed = pack(table, "int8")
    assert packed.values.dtype == np.int8
    assert packed.scales.shape == (len(table),)
    largest = np.abs(table).max(axis=1, keepdims=True)
    assert np.all(np.abs(unpack(packed) - table) <= largest / 127 * 0.5001 + 1e-30)
    assert np.all(unpack(packed)[table == 0] == 0)


@settings(max_examples=30, deadline=None)
@given(table=TABLES, precision=st.sampled_from(PRECISIONS[:3]))
def test_the_other_types_are_casts(table, precision):
    packed = pack(table, precision)
    assert packed.scales is None
    np.testing.assert_array_equal(unpack(packed), tf.cast(tf.cast(table, precision), tf.float32).numpy())


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"1e.05, does not fit into float16; use bfloat16"):
        pack(np.array([[1e5]], np.float32), "float16")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_gathers_agree_in_every_bit(precision):
    if not retrieval.available():
        pytest.skip("the native library is not built; run `make install`")
    rng = np.random.default_rng(0)
    table = pack(rng.normal(size=(40, 19)).astype(np.float32), precision)
    tensors = PackedTable(*table).read()
    rows, splits = rng.integers(0, 40, size=9), np.array([0, 4, 4, 9])
    block = retrieval.gather_candidates(tensors, tf.constant(rows), tf.constant(splits), [3, 8]).numpy()
    assert block.shape == (3, 8, 19)
    looked_up = tensors.gather(tf.constant(rows)).numpy()
    np.testing.assert_array_equal(looked_up, unpack(table)[rows])
    for user, (first, last) in enumerate(itertools.pairwise(splits)):
        np.testing.assert_array_equal(block[user, : last - first], looked_up[first:last])
        assert not block[user, last - first :].any()


@pytest.mark.parametrize(("dtype", "scales"), [(np.int8, 0), (np.int8, 3), (np.float32, 4)])
def test_scales_must_fit_the_type(dtype, scales):
    if not retrieval.available():
        pytest.skip("the native library is not built; run `make install`")
    table = PackedTable(tf.zeros([4, 2], dtype), tf.ones([scales]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="scales must be"):
        retrieval.gather_candidates(table, tf.constant([1], tf.int64), tf.constant([0, 1], tf.int64), [1])
