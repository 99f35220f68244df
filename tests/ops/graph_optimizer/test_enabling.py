"""The documented call: in version 1 graphs, in functions, for inference and for training."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ops import graph_optimizer

v1 = tf.compat.v1
USERS, SIZES = 4, [3, 0, 5, 2]


def scores_of(user: tf.Tensor, item: tf.Tensor, parameters: dict[str, Any]) -> tf.Tensor:
    """An unmodified model on rows of (user, item): tower, attention over the user's sequence, and a network over both."""
    keys = tf.nn.tanh(tf.matmul(user, parameters["keys"]))
    query = tf.matmul(item, parameters["query"])
    attention = tf.nn.softmax(tf.squeeze(tf.matmul(query[:, tf.newaxis, :], keys, transpose_b=True), axis=1))
    interest = tf.einsum("bl,bld->bd", attention, user)
    pooled = tf.nn.relu(tf.matmul(tf.reduce_mean(user, axis=1), parameters["tower"]))
    joined = tf.concat([pooled, interest, item], axis=1)
    return tf.squeeze(tf.matmul(tf.nn.relu(tf.matmul(joined, parameters["first"]) + parameters["bias"]), parameters["last"]), axis=1)


SHAPES = {"keys": (6, 8), "query": (5, 8), "tower": (6, 8), "first": (19, 8), "bias": (8,), "last": (8, 1)}


def parameter_values() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {name: rng.normal(size=shape).astype(np.float32) / 2 for name, shape in SHAPES.items()}


def values() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    return {
        "user": rng.normal(size=(USERS, 7, 6)).astype(np.float32),
        "item": rng.normal(size=(sum(SIZES), 5)).astype(np.float32),
        "label": rng.integers(0, 2, size=sum(SIZES)).astype(np.float32),
    }


def expected() -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Scores, gradients of the parameters and of the users, on repeated rows."""
    parameters = {name: tf.Variable(value) for name, value in parameter_values().items()}
    given = values()
    user = tf.Variable(given["user"])
    with tf.GradientTape() as tape:
        scores = scores_of(tf.repeat(user, SIZES, axis=0), tf.constant(given["item"]), parameters)
        loss = loss_of(scores, tf.constant(given["label"]))
    gradients = tape.gradient(loss, [*parameters.values(), user])
    return scores.numpy(), dict(zip(parameters, (g.numpy() for g in gradients), strict=False)), gradients[-1].numpy()


def loss_of(scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=scores))


def test_the_example_of_the_documentation() -> None:
    """Called in the feature loop with lists that grow, on string features; its return value is ignored."""
    with tf.Graph().as_default() as graph, v1.Session() as session:
        item_size = v1.placeholder(tf.int32, [None], name="item_size")
        features, user_tensors, item_tensors = {}, [], []
        for name in ("user_feature_0", "user_feature_1", "item_feature_0", "item_feature_1"):
            features[name] = v1.placeholder(tf.string, [None], name=name)
            (item_tensors if name.startswith("item") else user_tensors).append(features[name])
            graph_optimizer.enable_sample_awared_graph_compression(user_tensors, item_tensors, item_size)
        table = v1.get_variable("table", initializer=np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32))
        embedded = [tf.gather(table, tf.strings.to_hash_bucket_fast(feature, 100)) for feature in features.values()]
        kernel = v1.get_variable("kernel", initializer=np.random.default_rng(1).normal(size=(32, 16)).astype(np.float32))
        tf.reduce_sum(tf.nn.relu(tf.concat(embedded, axis=1) @ kernel), axis=1, name="scores")
        session.run(v1.global_variables_initializer())
        before = graph.as_graph_def()
        frozen = graph_optimizer.freeze(session, ["scores"])
        assert graph.as_graph_def() == before
        users = {f"user_feature_{i}:0": np.array([b"a", b"bc"]) for i in range(2)}
        items = {f"item_feature_{i}:0": np.array([b"x", b"y", b"z"]) for i in range(2)}
        wanted = session.run("scores:0", {**{name: np.repeat(value, [1, 2]) for name, value in users.items()}, **items})
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(frozen, name="")
        found = session.run("scores:0", {**users, **items, "item_size:0": [1, 2]})
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert sum(node.op == "MatMul" for node in frozen.node) == 2


@pytest.mark.parametrize("name_outputs", [True, False])
def test_training_in_a_version_1_graph(name_outputs: bool) -> None:
    scores_wanted, gradients_wanted, user_wanted = expected()
    given = values()
    with tf.Graph().as_default(), v1.Session() as session:
        user, item = v1.placeholder(tf.float32, [None, 7, 6]), v1.placeholder(tf.float32, [None, 5])
        label, item_size = v1.placeholder(tf.float32, [None]), v1.placeholder(tf.int32, None)
        parameters = {name: v1.get_variable(name, initializer=value) for name, value in parameter_values().items()}
        graph_optimizer.enable_sample_awared_graph_compression([user], [item, label], item_size)
        scores = scores_of(user, item, parameters)
        loss = loss_of(scores, label)
        if name_outputs:
            loss, scores = graph_optimizer.apply((loss, scores))
        else:
            graph_optimizer.apply()
        assert graph_optimizer.apply(loss) is loss, "a second call does nothing"
        gradients = tf.gradients(loss, [*parameters.values(), user])
        session.run(v1.global_variables_initializer())
        feeds = {user: given["user"], item: given["item"], label: given["label"], item_size: SIZES}
        found, *rest = session.run([scores, *gradients], feeds)
    np.testing.assert_allclose(found, scores_wanted, rtol=1e-5, atol=1e-6)
    for gradient, wanted in zip(rest, [*gradients_wanted.values(), user_wanted], strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("item_size", [SIZES, [3], 3], ids=str)
def test_training_in_a_function(item_size: Any) -> None:
    counts = np.broadcast_to(np.reshape(item_size, -1), [USERS])
    rng = np.random.default_rng(4)
    user, item = rng.normal(size=(USERS, 7, 6)).astype(np.float32), rng.normal(size=(counts.sum(), 5)).astype(np.float32)
    parameters = {name: tf.Variable(value) for name, value in parameter_values().items()}

    def model(user: tf.Tensor, item: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
        graph_optimizer.enable_sample_awared_graph_compression([user], [item], sizes)
        return scores_of(user, item, parameters)

    fast = graph_optimizer.compressed(model)

    @tf.function
    def gradients(repeat: bool) -> Any:
        users = tf.constant(user)
        with tf.GradientTape() as tape:
            tape.watch(users)
            if repeat:
                scores = scores_of(tf.repeat(users, counts, axis=0), tf.constant(item), parameters)
            else:
                scores = fast(users, item, tf.constant(item_size))
            loss = tf.reduce_mean(tf.square(scores))
        return scores, *tape.gradient(loss, [*parameters.values(), users])

    for found, wanted in zip(gradients(False), gradients(True), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_inference_in_a_function_and_users_products_run_on_users() -> None:
    parameters = parameter_values()
    shapes = []

    @tf.function(input_signature=[tf.TensorSpec([None, 7, 6]), tf.TensorSpec([None, 5]), tf.TensorSpec([None], tf.int32)])
    def model(user: tf.Tensor, item: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
        graph_optimizer.enable_sample_awared_graph_compression([user], [item], sizes)
        scores = graph_optimizer.apply(scores_of(user, item, parameters))
        shapes.extend(op.name for op in tf.compat.v1.get_default_graph().get_operations() if op.name.endswith("user_part"))
        return scores

    given = values()
    np.testing.assert_allclose(model(given["user"], given["item"], np.array(SIZES, np.int32)), expected()[0], rtol=1e-5, atol=1e-6)
    assert len(shapes) == 1


def test_outputs_of_users_are_expanded_on_request() -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        user, item = v1.placeholder(tf.float32, [None, 2]), v1.placeholder(tf.float32, [None])
        graph_optimizer.enable_sample_awared_graph_compression([user], [item], tf.constant([2, 1]))
        tower, scores = tf.tanh(user), tf.reduce_sum(user, axis=1) + item
        expanded = graph_optimizer.apply({"tower": tower, "scores": scores})
        feeds = {user: [[1, 2], [3, 4]], item: [0, 1, 2]}
        assert session.run(expanded["tower"], feeds).shape == (3, 2)
        assert session.run(tower, feeds).shape == (2, 2)
        np.testing.assert_allclose(session.run(scores, feeds), [3, 4, 9])


def test_what_cannot_be() -> None:
    with pytest.raises(graph_optimizer.GraphCompressionError, match="eager mode"):
        graph_optimizer.enable_sample_awared_graph_compression([tf.zeros([1])], [tf.zeros([1])], tf.constant(1))
    with tf.Graph().as_default():
        with pytest.raises(graph_optimizer.GraphCompressionError, match="nothing is declared"):
            graph_optimizer.apply()
        user = v1.placeholder(tf.float32, [None])
        with pytest.raises(graph_optimizer.GraphCompressionError, match="must be an integer tensor"):
            graph_optimizer.enable_sample_awared_graph_compression([user], [user], tf.constant(1.0))
    with tf.Graph().as_default(), pytest.raises(graph_optimizer.GraphCompressionError, match="belongs to another graph"):
        graph_optimizer.enable_sample_awared_graph_compression([user], [], tf.constant(1))


def test_the_declaration_lies_on_the_graph() -> None:
    with tf.Graph().as_default():
        user = v1.placeholder(tf.float32, [None, 2])
        graph_optimizer.enable_sample_awared_graph_compression([user], [], tf.constant(1))
    with tf.Graph().as_default(), pytest.raises(graph_optimizer.GraphCompressionError, match="nothing is declared"):
        graph_optimizer.apply()
