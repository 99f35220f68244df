import numpy as np
import pytest
import tensorflow as tf

from ops.optimizers import LazyAdamW


def adamw(value, gradients, *, rate, decay, decayed):
    """Straightforward AdamW, arXiv 1711.05101, algorithm 2, in float64."""
    value, m, v = value.astype(np.float64), np.zeros(value.shape), np.zeros(value.shape)
    for step, gradient in enumerate(gradients, start=1):
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        correction = np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        value = value - rate * (correction * m / (np.sqrt(v) + 1e-8) + (decay * value if decayed else 0))
    return value


def test_dense_variables_follow_adamw():
    rng = np.random.default_rng(0)
    start = [rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=5).astype(np.float32)]
    variables = [tf.Variable(value) for value in start]
    optimizer = LazyAdamW(variables, weight_decay=0.1)
    gradients = [[rng.normal(size=value.shape).astype(np.float32) for value in start] for _ in range(5)]
    for pair in gradients:
        optimizer.apply([tf.constant(gradient) for gradient in pair], tf.constant(0.01))
    for number, variable in enumerate(variables):
        expected = adamw(start[number], [pair[number] for pair in gradients], rate=0.01, decay=0.1, decayed=number == 0)
        np.testing.assert_allclose(variable, expected, rtol=2e-5, atol=1e-6)
    assert int(optimizer.step) == 5


def test_a_table_whose_rows_are_all_touched_follows_adamw_and_repeated_rows_are_summed():
    rng = np.random.default_rng(1)
    start = rng.normal(size=(3, 2)).astype(np.float32)
    table = tf.Variable(start)
    optimizer = LazyAdamW([table], weight_decay=0.1)
    rows = np.array([0, 1, 2, 1])
    gradients = []
    for _ in range(4):
        values = rng.normal(size=(4, 2)).astype(np.float32)
        dense = np.zeros_like(start)
        np.add.at(dense, rows, values)
        gradients.append(dense)
        optimizer.apply([tf.IndexedSlices(tf.constant(values), tf.constant(rows))], tf.constant(0.01))
    np.testing.assert_allclose(table, adamw(start, gradients, rate=0.01, decay=0.1, decayed=True), rtol=2e-5, atol=1e-6)


def test_rows_not_in_the_batch_keep_their_bits():
    start = np.random.default_rng(2).normal(size=(6, 3)).astype(np.float32)
    table = tf.Variable(start)
    optimizer = LazyAdamW([table], weight_decay=0.5)
    for _ in range(3):
        optimizer.apply([tf.IndexedSlices(tf.ones([2, 3]), tf.constant([4, 1]))], tf.constant(0.1))
    untouched = [0, 2, 3, 5]
    np.testing.assert_array_equal(table.numpy()[untouched], start[untouched])
    assert not np.any(table.numpy()[[1, 4]] == start[[1, 4]])


def test_refuses_a_missing_gradient():
    with pytest.raises(ValueError, match="2 variables, 1 gradients"):
        LazyAdamW([tf.Variable(1.0), tf.Variable(2.0)]).apply([tf.constant(1.0)], tf.constant(0.1))
