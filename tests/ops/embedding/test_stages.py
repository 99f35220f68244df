import itertools

import numpy as np
import pytest
import tensorflow as tf

from ops.embedding import Feature, grouped_lookup
from ops.embedding.stages import partition_with_permutation, prune_and_fill, staged_lookup, unique_with_counts


def parts_of(whole, strategy, count=3):
    rows = len(whole)
    order = [np.arange(rows)[p::count] for p in range(count)] if strategy == "mod" else np.array_split(np.arange(rows), count)
    return [tf.Variable(whole[chosen]) for chosen in order]


TOLERANCES = {
    tf.float16: {"rtol": 2e-3, "atol": 2e-3},
    tf.bfloat16: {"rtol": 1e-2, "atol": 2e-2},
    tf.float32: {"rtol": 1e-5, "atol": 1e-6},
    tf.float64: {"rtol": 1e-12, "atol": 1e-13},
}


@pytest.mark.parametrize("strategy", ["div", "mod"])
@pytest.mark.parametrize("combiner", ["mean", "sqrtn", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_stages_equal_the_grouped_op(oracle, strategy, combiner, weighted):
    rng = np.random.default_rng(4)
    for max_norm, default_id, ragged, dtype in itertools.product([None, 1.5], [None, 0, 7], [False, True], TOLERANCES):
        case = oracle.random_case(rng, dtype, rows=13, weighted=weighted, combiner=combiner, ragged=ragged)
        parts = parts_of(case.table, strategy)
        weights = None if case.weights is None else tf.constant(case.weights, dtype)
        with tf.GradientTape(persistent=True) as tape:
            if weights is not None:
                tape.watch(weights)
            structured = None if weights is None else case.structure(weights)
            feature = Feature(parts, case.ids(), structured, combiner, max_norm, default_id, strategy)
            staged, grouped = staged_lookup(feature), grouped_lookup([feature])[0]
        assert staged.dtype == dtype
        wide = [tf.cast(pooled, tf.float64) for pooled in (staged, grouped)]
        np.testing.assert_allclose(*wide, **TOLERANCES[dtype])
        for ours, expected in zip(tape.gradient(staged, parts), tape.gradient(grouped, parts), strict=True):
            both = [tf.cast(tf.convert_to_tensor(gradient), tf.float64) for gradient in (ours, expected)]
            np.testing.assert_allclose(*both, **TOLERANCES[dtype])
        if weights is not None:
            both = [tf.cast(tape.gradient(pooled, weights), tf.float64) for pooled in (staged, grouped)]
            np.testing.assert_allclose(*both, **TOLERANCES[dtype])


def test_each_stage():
    table = tf.Variable(tf.ones([10, 2]))
    ids = tf.SparseTensor([[2, 0], [0, 0], [0, 1]], tf.constant([5, 3, -1], tf.int64), [4, 2])
    pruned = prune_and_fill(Feature(table, ids, default_id=9))
    np.testing.assert_array_equal(pruned.ids, [3, 9, 5, 9])
    np.testing.assert_array_equal(pruned.row_splits, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(pruned.row_is_empty, [False, True, False, True])
    np.testing.assert_array_equal(pruned.positions, [1, -1, 0, -1])
    unique, positions, counts = unique_with_counts(pruned.ids)
    np.testing.assert_array_equal(unique, [3, 9, 5])
    np.testing.assert_array_equal(positions, [0, 1, 2, 1])
    np.testing.assert_array_equal(counts, [1, 2, 1])
    rows, permutation = partition_with_permutation(unique, [5, 5], "mod")
    np.testing.assert_array_equal(tf.concat(rows, 0), [1, 4, 2])
    np.testing.assert_array_equal(permutation, [0, 1, 2])
    rows, permutation = partition_with_permutation(unique, [5, 5], "div")
    np.testing.assert_array_equal(rows[0], [3])
    np.testing.assert_array_equal(rows[1], [4, 0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="got id 12 at position 0"):
        partition_with_permutation(tf.constant([12]), [5, 5], "div")
