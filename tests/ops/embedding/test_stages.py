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


@pytest.mark.parametrize("strategy", ["div", "mod"])
@pytest.mark.parametrize("combiner", ["mean", "sqrtn", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_stages_equal_the_grouped_op(oracle, strategy, combiner, weighted):
    rng = np.random.default_rng(4)
    for max_norm, default_id, ragged, dtype in itertools.product([None, 1.5], [None, 0, 7], [False, True], [tf.float32, tf.float64]):
        case = oracle.random_case(rng, dtype, rows=13, weighted=weighted, combiner=combiner, ragged=ragged)
        parts = parts_of(case.table, strategy)
        weights = None if case.weights is None else case.structure(tf.constant(case.weights, dtype))
        feature = Feature(parts, case.ids(), weights, combiner, max_norm, default_id, strategy)
        with tf.GradientTape(persistent=True) as tape:
            staged, grouped = staged_lookup(feature), grouped_lookup([feature])[0]
        np.testing.assert_allclose(staged, grouped, rtol=1e-6, atol=1e-7)
        for ours, expected in zip(tape.gradient(staged, parts), tape.gradient(grouped, parts), strict=True):
            np.testing.assert_allclose(tf.convert_to_tensor(ours), tf.convert_to_tensor(expected), rtol=1e-5, atol=1e-6)


def test_each_stage():
    table = tf.Variable(tf.ones([10, 2]))
    ids = tf.SparseTensor([[2, 0], [0, 0], [0, 1]], tf.constant([5, 3, -1], tf.int64), [4, 2])
    pruned = prune_and_fill(Feature(table, ids, default_id=9))
    np.testing.assert_array_equal(pruned.ids, [3, 9, 5, 9])
    np.testing.assert_array_equal(pruned.row_splits, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(pruned.row_is_empty, [False, True, False, True])
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
