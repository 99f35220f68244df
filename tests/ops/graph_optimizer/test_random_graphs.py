"""Chains of ops drawn at random, right or wrong for a batch of users: the compressed graph gives the same, or names a node."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

v1 = tf.compat.v1
WIDTH = 6

# Each keeps the form [rows, 6]; the second argument is the item tensor [rows, 6].
OPS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "tanh": lambda x, i: tf.tanh(x),
    "scale": lambda x, i: x * tf.range(1.0, 7.0) / 6.0,
    "column": lambda x, i: x + x[:, 2:3],
    "half": lambda x, i: tf.concat([x[:, 3:], x[:, :3]], axis=1),
    "transposed": lambda x, i: tf.transpose(tf.transpose(x) * 0.5),
    "fold": lambda x, i: tf.reshape(tf.reshape(x, [-1, 2]) * [0.5, 2.0], [-1, WIDTH]),
    "fold by shape": lambda x, i: tf.reshape(tf.reshape(x, [tf.shape(x)[0] * 3, 2]) + 1.0, tf.shape(x)),
    "stack": lambda x, i: tf.reduce_max(tf.stack([x, -x], axis=1), axis=1),
    "stack in front": lambda x, i: tf.reduce_sum(tf.stack([x, 0.5 * x], axis=0), axis=0),
    "softmax": lambda x, i: tf.nn.softmax(x),
    "zeros": lambda x, i: x + tf.zeros([tf.shape(x)[0], WIDTH]) + tf.fill([tf.shape(x)[0], 1], 0.25),
    "count": lambda x, i: x / (1.0 + tf.cast(tf.shape(x)[0], tf.float32)),
    "tile": lambda x, i: x + tf.tile(tf.ones([1, WIDTH]), [tf.shape(x)[0], 1]),
    "product": lambda x, i: x @ (tf.eye(WIDTH) + 0.1),
    "two products": lambda x, i: tf.squeeze(x[:, tf.newaxis, :] @ tf.ones([WIDTH, WIDTH]), axis=1) / 6.0,
    "einsum": lambda x, i: tf.einsum("ab,bc->ac", x, tf.eye(WIDTH)),
    "own gram": lambda x, i: tf.einsum("ab,ac->abc", x, x)[:, 0],
    "one hot": lambda x, i: x + tf.one_hot(tf.argmax(x, axis=1), WIDTH),
    "cumulative": lambda x, i: tf.cumsum(x, axis=1) / 6.0,
    "centred": lambda x, i: x - tf.reduce_mean(x, axis=0),
    "cumulative rows": lambda x, i: tf.tanh(tf.cumsum(x, axis=0)),
    "reverse rows": lambda x, i: x + tf.reverse(x, axis=[0]),
    "first row": lambda x, i: x + x[:1],
    "numbered": lambda x, i: x + tf.cast(tf.range(tf.shape(x)[0])[:, tf.newaxis], tf.float32),
    "order": lambda x, i: tf.gather(x, tf.argsort(x[:, 0])),
    "item sum": lambda x, i: x + i,
    "item product": lambda x, i: tf.concat([x, i], axis=1) @ (tf.ones([2 * WIDTH, WIDTH]) / 12.0),
    "item scale": lambda x, i: x * tf.reduce_sum(i, axis=1, keepdims=True),
    "item attention": lambda x, i: tf.einsum("bd,bdk->bk", i, tf.einsum("ab,ac->abc", x, x)) / 6.0,
}


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.sampled_from(sorted(OPS)), min_size=2, max_size=7))
def test_a_random_chain(kit: Any, names: list[str]) -> None:
    def graph() -> None:
        x, item = v1.placeholder(tf.float32, [None, WIDTH], name="user"), v1.placeholder(tf.float32, [None, WIDTH], name="item")
        for name in names:
            x = OPS[name](x, item)
        tf.add(x, item, name="scores")

    made = kit.build(graph, {"user": kit.floats(WIDTH)}, {"item": kit.floats(WIDTH)})
    compressed, _ = kit.compress_model(made, min_items_per_user=0, fallback="expand")
    sizes = ["each", "ragged"] if any(name in names for name in ("first row", "centred")) else ["ragged", "zeros", "scalar"]
    kit.assert_equal_to_repeated_rows(made, compressed, sizes=sizes, rtol=1e-4)
