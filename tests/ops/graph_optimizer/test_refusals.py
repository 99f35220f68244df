"""What would change its result is refused by name, or run on repeated rows if that is asked for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ops import graph_optimizer

v1 = tf.compat.v1


def model(kit: Any, inside: Callable[[tf.Tensor], tf.Tensor]) -> Any:
    def graph() -> None:
        user, item = v1.placeholder(tf.float32, [None, 6], name="user"), v1.placeholder(tf.float32, [None, 5], name="item")
        hidden = inside(tf.nn.relu(user @ kit.weights(6, 6)))
        tf.reduce_sum(tf.concat([hidden, item], axis=1) @ kit.weights(11, 4), axis=1, name="scores")

    return kit.build(graph, {"user": kit.floats(6)}, {"item": kit.floats(5)})


def batch_norm_in_training(x: tf.Tensor) -> tf.Tensor:
    image = tf.reshape(x, [-1, 1, 1, 6])
    return tf.reshape(v1.nn.fused_batch_norm(image, tf.ones(6), tf.zeros(6), name="norm")[0], [-1, 6])


MIXING = {
    "batch norm in training": (batch_norm_in_training, "norm"),
    "mean over axis 0": (lambda x: x - tf.reduce_mean(x, axis=0, name="centre"), "centre"),
    "softmax over the batch": (lambda x: tf.transpose(tf.nn.softmax(tf.transpose(x), name="in_batch")), "in_batch"),
    "all against all": (lambda x: tf.matmul(tf.matmul(x, x, transpose_b=True, name="gram"), x), "gram"),
    "cumulative sum": (lambda x: tf.cumsum(x, axis=0, name="running"), "running"),
    "unknown op": (lambda x: tf.raw_ops.Roll(input=x, shift=[1], axis=[0], name="rolled"), "rolled"),
    "picked rows": (lambda x: x + x[:1], "strided_slice"),
    "sum of all": (lambda x: x / tf.reduce_sum(x, name="total"), "total"),
}


@pytest.mark.parametrize("case", MIXING)
def test_refused_by_name(kit: Any, case: str) -> None:
    inside, node = MIXING[case]
    made = model(kit, inside)
    with pytest.raises(graph_optimizer.GraphCompressionError, match=f"node {node} ") as caught:
        kit.compress_model(made)
    assert isinstance(caught.value, ValueError)
    assert caught.value.node == node


@pytest.mark.parametrize("case", MIXING)
def test_run_on_repeated_rows_if_asked(kit: Any, case: str) -> None:
    made = model(kit, MIXING[case][0])
    compressed, report = kit.compress_model(made, fallback="expand", min_items_per_user=0)
    assert MIXING[case][1] in report.fallbacks
    kit.assert_equal_to_repeated_rows(made, compressed, sizes=["each", "ragged", "zeros", "one user"], rtol=2e-5)
    assert kit.products_on_rows(compressed)["matmul"] == "users", "expanded no earlier than necessary"


def test_mixing_items_is_not_a_matter_of_users(kit: Any) -> None:
    def graph() -> None:
        user, item = v1.placeholder(tf.float32, [None, 6], name="user"), v1.placeholder(tf.float32, [None, 5], name="item")
        joined = tf.concat([tf.nn.relu(user @ kit.weights(6, 6)), item - tf.reduce_mean(item, axis=0)], axis=1) @ kit.weights(11, 4)
        tf.reduce_sum(joined - tf.reduce_mean(joined, axis=0), axis=1, name="scores")

    made = kit.build(graph, {"user": kit.floats(6)}, {"item": kit.floats(5)})
    compressed, _ = kit.compress_model(made, min_items_per_user=0)
    kit.assert_equal_to_repeated_rows(made, compressed, sizes=["each", "ragged", "zeros"], rtol=2e-5)


def test_random_numbers_are_drawn_per_row(kit: Any) -> None:
    made = model(kit, lambda x: x + 0.0 * tf.random.uniform(tf.shape(x), seed=1))
    compressed, _ = kit.compress_model(made, min_items_per_user=0)
    kit.assert_equal_to_repeated_rows(made, compressed)
    names = {node.name: node for node in compressed.node}
    [drawn] = [node for node in names.values() if node.op == "RandomUniform"]
    assert drawn.input[0].startswith("sample_aware_compression/")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"user_inputs": []}, "no user inputs"),
        ({"outputs": []}, "no outputs"),
        ({"user_inputs": ["nobody"]}, "no node named nobody"),
        ({"outputs": ["nothing"]}, "no node named nothing"),
        ({"item_inputs": ["user"]}, "both a user input and an item input"),
        ({"item_size": "scores"}, "has a node scores already"),
    ],
)
def test_arguments_that_cannot_be(kit: Any, arguments: dict[str, Any], message: str) -> None:
    given = {"user_inputs": ["user"], "item_inputs": ["item"], "outputs": ["scores"], **arguments}
    with pytest.raises(graph_optimizer.GraphCompressionError, match=message):
        graph_optimizer.compress(model(kit, tf.identity).graph_def, **given)


def test_a_scalar_is_no_user_input() -> None:
    with tf.Graph().as_default() as graph:
        v1.placeholder(tf.float32, [], name="user")
        v1.placeholder(tf.float32, [None], name="item")
        tf.add(graph.get_tensor_by_name("user:0"), graph.get_tensor_by_name("item:0"), name="scores")
    with pytest.raises(graph_optimizer.GraphCompressionError, match="needs an axis 0 with one entry per user"):
        graph_optimizer.compress(graph.as_graph_def(), user_inputs=["user"], item_inputs=["item"], outputs=["scores"])


def test_broadcasting_against_the_wrong_axis(kit: Any) -> None:
    """[U, H] + [U] only works where U is H: nothing is proven, so both are expanded."""

    def graph() -> None:
        user, item = v1.placeholder(tf.float32, [None, 5], name="user"), v1.placeholder(tf.float32, [None, 5], name="item")
        tf.reduce_sum(user + tf.reduce_sum(user, axis=1) + item, axis=1, name="scores")

    made = kit.build(graph, {"user": kit.floats(5)}, {"item": kit.floats(5)})
    compressed, _ = kit.compress_model(made, min_items_per_user=0, fallback="expand")
    rng = np.random.default_rng(0)
    user, item = rng.normal(size=(2, 5)), rng.normal(size=(5, 5))
    [found] = kit.run(compressed, ["scores"], {"user": user, "item": item, "item_size": [2, 3]})
    [expected] = kit.run(made.graph_def, ["scores"], {"user": np.repeat(user, [2, 3], axis=0), "item": item})
    np.testing.assert_allclose(found, expected, rtol=1e-5)
