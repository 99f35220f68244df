import numpy as np
import pytest
import tensorflow as tf

from ops import EmbeddingVariable
from ops.embedding import Feature, grouped_lookup
from ops.embedding.update import FusedFtrl

V1 = tf.compat.v1


def ones(shape, dtype):
    return tf.ones(shape, dtype)


def test_rows_are_given_in_order_and_kept():
    variable = EmbeddingVariable(2, initializer=ones, initial_capacity=4)
    np.testing.assert_array_equal(variable.rows_of(tf.constant([70, -1, 2**62, 70], tf.int64)), [0, -1, 1, 0])
    np.testing.assert_array_equal(variable.rows_of(tf.constant([5, 2**62], tf.int64), insert=False), [-1, 1])
    ids, rows = variable.export()
    np.testing.assert_array_equal(ids, [70, 2**62])
    np.testing.assert_array_equal(rows, np.ones((2, 2)))


def test_growth_keeps_rows_slots_and_start_values():
    variable = EmbeddingVariable(3, initializer=ones, initial_capacity=2)
    optimizer = FusedFtrl([variable.table], 0.1)

    @tf.function
    def step(ids):
        rows = variable.rows_like(ids)
        optimizer.apply([Feature(variable.table, rows, combiner="sum")], [tf.ones([1, 3])])

    for first in range(0, 40, 5):
        step(tf.ragged.constant([[7, *range(1000 + first, 1005 + first)]]))
    ids, rows = variable.export()
    assert len(ids) == 41
    assert variable.table.shape[0] is None
    accumulator, linear = optimizer.slots_of(variable.table)
    assert accumulator.numpy().shape == linear.numpy().shape == variable.table.numpy().shape
    np.testing.assert_allclose(accumulator.numpy()[:41, 0], [0.1 + 8] + [0.1 + 1] * 40, rtol=1e-6)
    np.testing.assert_allclose(rows[1:], np.broadcast_to(rows[1], (40, 3)), rtol=1e-6)
    assert rows[0, 0] < rows[1, 0] < 1


def test_gradient_and_checkpoint(tmp_path):
    made = [EmbeddingVariable(2, initial_capacity=capacity) for capacity in (2, 16)]
    ids = tf.ragged.constant([[8, 9], [9, 11, 30]], dtype=tf.int64)
    with tf.GradientTape() as tape:
        pooled = grouped_lookup([Feature(made[0].table, made[0].rows_like(ids), combiner="sum")])[0]
    gradient = tf.convert_to_tensor(tape.gradient(pooled, made[0].table))
    np.testing.assert_array_equal(gradient[:4, 0], [1, 2, 1, 1])
    made[1].rows_of(tf.constant([1, 2, 3]))
    path = tf.train.Checkpoint(v=made[0]).save(tmp_path / "checkpoint")
    tf.train.Checkpoint(v=made[1]).restore(path).assert_consumed()
    for left, right in zip(made[0].export(), made[1].export(), strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(made[1].rows_of(tf.constant([30, 1, 8], tf.int64)), [3, 4, 0])
    np.testing.assert_array_equal(made[0].rows_of(tf.constant([2, 30], tf.int64)), [4, 3])


@pytest.mark.parametrize("name", ["FtrlOptimizer", "AdagradOptimizer", "AdamOptimizer"])
def test_slots_of_tf1_optimizers_grow_along(name, tmp_path):
    def run(capacity, restore_from=None, feeds=(range(0, 3), range(1, 9), range(5, 40))):
        with tf.Graph().as_default():
            variable = EmbeddingVariable(2, initializer=ones, initial_capacity=capacity)
            ids = V1.placeholder(tf.int64, [None])
            ragged = tf.RaggedTensor.from_row_lengths(ids, [tf.size(ids)])
            pooled = grouped_lookup([Feature(variable.table, variable.rows_like(ragged), combiner="sum")])[0]
            train = getattr(V1.train, name)(0.1).minimize(tf.reduce_sum(pooled * pooled))
            saver = V1.train.Saver()
            with V1.Session() as session:
                session.run(V1.global_variables_initializer())
                if restore_from:
                    saver.restore(session, restore_from)
                for feed in feeds:
                    session.run(train, {ids: list(feed)})
                saved = saver.save(session, str(tmp_path / f"graph{capacity}{bool(restore_from)}"))
                return session.run(variable.table)[: session.run(variable.state)[0]], saved

    small, _ = run(2)
    large, _ = run(64)
    assert len(small) == 40
    np.testing.assert_allclose(small, large, rtol=1e-5)
    _, saved = run(2, feeds=(range(0, 3), range(1, 9)))
    resumed, _ = run(2, restore_from=saved, feeds=(range(5, 40),))
    np.testing.assert_allclose(resumed, large, rtol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="dim must be at least 1"):
        EmbeddingVariable(0)
    variable = EmbeddingVariable(2, initial_capacity=4)
    variable.state.assign([9, 1])
    with pytest.raises(tf.errors.DataLossError, match="restore all variables"):
        variable.rows_of(tf.constant([1]))
