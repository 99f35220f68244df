import numpy as np
import pytest
import tensorflow as tf

from ops.lookup import lookup_positions


def test_rows_side_by_side_and_zeros_where_missing():
    items = tf.Variable(np.arange(12, dtype=np.float32).reshape(4, 3))
    categories = tf.Variable(np.arange(10, 16, dtype=np.float32).reshape(3, 2))
    item_ids, category_ids = np.array([[3, 0], [1, 2]]), np.array([[2, 1], [0, 0]])
    expected = np.concatenate(
        [items.numpy()[item_ids] * (item_ids > 0)[..., None], categories.numpy()[category_ids] * (category_ids > 0)[..., None]], axis=-1
    )
    np.testing.assert_array_equal(lookup_positions([items, categories], [item_ids, category_ids]), expected)


def test_gradient_reaches_the_rows_looked_up_and_not_row_zero():
    table = tf.Variable(tf.ones([5, 2]))
    ids = tf.constant([1, 0, 1, 4])
    weights = tf.constant([[1.0, 2.0], [100.0, 100.0], [3.0, 4.0], [5.0, 6.0]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(lookup_positions([table], [ids]) * weights)
    dense = tf.convert_to_tensor(tape.gradient(loss, table)).numpy()
    np.testing.assert_array_equal(dense, [[0, 0], [4, 6], [0, 0], [0, 0], [5, 6]])


def test_refuses_unequal_numbers():
    with pytest.raises(ValueError, match="1 tables and 2 id tensors"):
        lookup_positions([tf.Variable(tf.ones([2, 2]))], [tf.constant([1]), tf.constant([1])])
