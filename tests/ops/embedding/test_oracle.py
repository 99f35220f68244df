"""The whole grid of options against stock TensorFlow: forward, gradient of the table, gradient of the weights."""

import itertools
import zlib

import numpy as np
import pytest
import tensorflow as tf

# Stock sums 16 bit tables in 16 bits at places; the oracle gets the widened table, and the answer is rounded once.
TOLERANCES = {
    tf.float16: {"rtol": 2e-3, "atol": 2e-3},
    tf.bfloat16: {"rtol": 1e-2, "atol": 2e-2},
    tf.float32: {"rtol": 2e-5, "atol": 2e-6},
    tf.float64: {"rtol": 1e-12, "atol": 1e-13},
}
GRID = list(itertools.product(["mean", "sqrtn", "sum"], [False, True], [None, 1.5], [None, 0, 3]))
INNER = list(
    itertools.product([True, False], [True, False], [tf.int32, tf.int64], [tf.float16, tf.bfloat16, tf.float32, tf.float64], [False, True])
)


def test_the_grid_has_at_least_2000_cases():
    assert len(GRID) * len(INNER) >= 2000


def check(oracle, case, dtype, *, resource, fused):
    wide = tf.float64 if dtype == tf.float64 else tf.float32
    rng = np.random.default_rng(len(case.values))
    direction = tf.constant(np.round(rng.normal(size=(len(case.splits) - 1, case.table.shape[1])), 1), wide)
    weights = None if case.weights is None else tf.cast(tf.constant(case.weights, wide), dtype)
    table = tf.Variable(case.table) if resource else tf.constant(case.table)
    pooled, gradient, weight_gradient, slices = oracle.value_and_gradients(
        lambda t, w: oracle.fused_lookup(t, case, w, fused=fused), table, weights, direction
    )
    wide_weights = None if weights is None else tf.cast(weights, wide)
    expected, expected_gradient, expected_weight_gradient, _ = oracle.value_and_gradients(
        lambda t, w: oracle.stock_lookup(t, case, w), tf.Variable(tf.cast(table, wide)), wide_weights, direction
    )
    assert pooled.dtype == dtype
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(tf.cast(pooled, wide), expected, **tolerance)
    np.testing.assert_allclose(tf.cast(gradient, wide), expected_gradient, **tolerance)
    if weights is not None:
        looser = {name: 10 * value for name, value in tolerance.items()}  # differences of near-equal products over small sums
        np.testing.assert_allclose(tf.cast(weight_gradient, wide), expected_weight_gradient, **looser)
    if fused:
        indices = slices.indices.numpy()
        assert len(indices) == len(set(indices.tolist()))


@pytest.mark.slow
@pytest.mark.parametrize(("combiner", "weighted", "max_norm", "default_id"), GRID)
def test_equals_stock(oracle, combiner, weighted, max_norm, default_id):
    rng = np.random.default_rng(zlib.crc32(repr((combiner, weighted, max_norm, default_id)).encode()))
    for number, (prune, fill, id_dtype, dtype, ragged) in enumerate(INNER):
        case = oracle.random_case(
            rng,
            dtype,
            dim=int(rng.choice([1, 3, 8, 16, 17, 33])),
            weighted=weighted,
            negatives=prune,
            combiner=combiner,
            max_norm=max_norm,
            default_id=default_id,
            prune=prune,
            fill=fill,
            id_dtype=id_dtype,
            ragged=ragged,
        )
        check(oracle, case, dtype, resource=number % 2 == 0, fused=True)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("combiner", "weighted", "max_norm", "default_id"), GRID)
def test_equals_stock_quickly(oracle, combiner, weighted, max_norm, default_id, fused):
    rng = np.random.default_rng(zlib.crc32(repr((combiner, weighted, max_norm, default_id, 1)).encode()))
    options = {"combiner": combiner, "max_norm": max_norm, "default_id": default_id, "ragged": bool(rng.integers(2))}
    check(oracle, oracle.random_case(rng, weighted=weighted, **options), tf.float32, resource=bool(rng.integers(2)), fused=fused)
