"""Recurrent user towers and branches, as control flow of version 1 and as functions."""

from typing import Any

import pytest
import tensorflow as tf

v1 = tf.compat.v1


@pytest.fixture(params=["v1", "v2"])
def control_flow(request: pytest.FixtureRequest) -> Any:
    was = tf.compat.v1.control_flow_v2_enabled()
    (v1.enable_control_flow_v2 if request.param == "v2" else v1.disable_control_flow_v2)()
    yield request.param
    (v1.enable_control_flow_v2 if was else v1.disable_control_flow_v2)()


def gru(kit: Any, x: tf.Tensor, size: int) -> tf.Tensor:
    """The last state [B, size] of a GRU over [B, L, D]; the state starts as zeros of the batch's size."""
    inputs = int(x.shape[-1])
    array = tf.TensorArray(tf.float32, tf.shape(x)[1]).unstack(tf.transpose(x, [1, 0, 2]))
    gates, candidate = kit.weights(inputs + size, 2 * size), kit.weights(inputs + size, size)

    def step(time: tf.Tensor, state: tf.Tensor, outputs: tf.TensorArray) -> Any:
        now = array.read(time)
        now.set_shape([None, inputs])
        reset, update = tf.split(tf.sigmoid(tf.concat([now, state], 1) @ gates), 2, axis=1)
        new = tf.tanh(tf.concat([now, reset * state], 1) @ candidate)
        state = update * state + (1 - update) * new
        return time + 1, state, outputs.write(time, state)

    start = (tf.constant(0), tf.zeros([tf.shape(x)[0], size]), tf.TensorArray(tf.float32, tf.shape(x)[1]))
    _, last, outputs = tf.while_loop(lambda time, *_: time < tf.shape(x)[1], step, start)
    states = outputs.stack()
    states.set_shape([None, None, size])
    return last + tf.reduce_mean(tf.transpose(states, [1, 0, 2]), axis=1)


def test_gru_runs_on_users(kit: Any, control_flow: str) -> None:
    def graph() -> None:
        user, item = v1.placeholder(tf.float32, [None, 4, 3], name="user"), v1.placeholder(tf.float32, [None, 5], name="item")
        joined = tf.concat([gru(kit, user, 8), item], axis=1)
        tf.squeeze(joined @ kit.weights(13, 1), axis=1, name="scores")

    made = kit.build(graph, {"user": kit.floats(4, 3)}, {"item": kit.floats(5)})
    loops = {node.op for node in made.graph_def.node} & {"While", "StatelessWhile", "Enter"}
    assert loops
    assert (loops == {"Enter"}) == (control_flow == "v1")
    compressed, report = kit.compress_model(made, min_items_per_user=0)
    kit.assert_equal_to_repeated_rows(made, compressed)
    assert all(boundary.shape is None or len(boundary.shape) < 3 for boundary in report.boundaries), report.boundaries
    if control_flow == "v1":
        assert [where for name, where in kit.products_on_rows(compressed).items() if name.startswith("while")] == ["users", "users"]


def test_a_loop_over_both_gets_expanded_inputs(kit: Any, control_flow: str) -> None:
    def graph() -> None:
        user, item = v1.placeholder(tf.float32, [None, 5], name="user"), v1.placeholder(tf.float32, [None, 5], name="item")
        tower = tf.tanh(user @ kit.weights(5, 5))
        tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, x * 0.5 + item * tower), (0, tower))[1]
        _, last = tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, x * 0.5 + item), (0, tower))
        tf.reduce_sum(last, axis=1, name="scores")

    made = kit.build(graph, {"user": kit.floats(5)}, {"item": kit.floats(5)})
    compressed, _ = kit.compress_model(made, min_items_per_user=0)
    kit.assert_equal_to_repeated_rows(made, compressed)
    assert kit.products_on_rows(compressed)["matmul"] == "users"


def test_branches(kit: Any, control_flow: str) -> None:
    def graph() -> None:
        user, item = v1.placeholder(tf.float32, [None, 6], name="user"), v1.placeholder(tf.float32, [None, 5], name="item")
        flag = v1.placeholder_with_default(True, [], name="flag")
        hidden = tf.cond(flag, lambda: tf.nn.relu(user @ kit.weights(6, 16)), lambda: tf.tanh(user @ kit.weights(6, 16)))
        mixed = tf.cond(flag, lambda: hidden[:, :5] + item, lambda: item)
        tf.reduce_sum(tf.concat([hidden, mixed], axis=1) @ kit.weights(21, 4), axis=1, name="scores")

    made = kit.build(graph, {"user": kit.floats(6)}, {"item": kit.floats(5)})
    compressed, report = kit.compress_model(made, min_items_per_user=0)
    kit.assert_equal_to_repeated_rows(made, compressed)
    assert len(report.split) == 1


def test_calls(kit: Any) -> None:
    @tf.function
    def tower(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(x @ kit.weights(6, 16))

    def graph() -> None:
        user, item = v1.placeholder(tf.float32, [None, 6], name="user"), v1.placeholder(tf.float32, [None, 5], name="item")
        tf.reduce_sum(tf.concat([tower(user), item], axis=1) @ kit.weights(21, 4), axis=1, name="scores")

    made = kit.build(graph, {"user": kit.floats(6)}, {"item": kit.floats(5)})
    assert {node.op for node in made.graph_def.node} & {"PartitionedCall", "StatefulPartitionedCall"}
    compressed, report = kit.compress_model(made, min_items_per_user=0)
    kit.assert_equal_to_repeated_rows(made, compressed)
    assert len(report.split) == 1
