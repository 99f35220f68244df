"""Sessions that compress by themselves, through the native optimizer."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ops import graph_optimizer
from ops.graph_optimizer.session import REFUSED, rewrite_for_session
from ops.graphdef.editing import nodes_by_name
from ops.graphdef.names import node_of

v1 = tf.compat.v1


@pytest.fixture(scope="module")
def config() -> Any:
    try:
        return graph_optimizer.session_config()
    except RuntimeError as error:
        pytest.skip(str(error))


def build(kit: Any, *, mixing: bool = False) -> None:
    user, item = v1.placeholder(tf.float32, [None, 6], name="user"), v1.placeholder(tf.float32, [None, 5], name="item")
    item_size = v1.placeholder(tf.int32, [None], name="item_size")
    graph_optimizer.enable_sample_awared_graph_compression([user], [item], item_size)
    kernel = v1.get_variable("kernel", initializer=np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32))
    hidden = tf.nn.relu(user @ kernel + 0.5)
    if mixing:
        hidden -= tf.reduce_mean(hidden, axis=0, name="centre")
    tf.matmul(tf.concat([hidden, item], axis=1), kit.weights(21, 4), name="scores")


FEEDS = {"user:0": np.random.default_rng(1).normal(size=(3, 6)), "item:0": np.random.default_rng(2).normal(size=(7, 5))}


def test_a_session_compresses_what_was_declared(kit: Any, config: Any) -> None:
    with tf.Graph().as_default():
        build(kit)
        with v1.Session(config=config) as session, v1.Session() as plain:
            for some in (session, plain):
                some.run(v1.global_variables_initializer())
            found = session.run("scores:0", {**FEEDS, "item_size:0": [2, 0, 5]})
            expected = plain.run("scores:0", {**FEEDS, "user:0": np.repeat(FEEDS["user:0"], [2, 0, 5], axis=0)})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_refused_graph_fails_with_the_reason(kit: Any, config: Any) -> None:
    with tf.Graph().as_default():
        build(kit, mixing=True)
        with v1.Session(config=config) as session:
            session.run(v1.global_variables_initializer())
            with pytest.raises(tf.errors.InvalidArgumentError, match=r"node centre \(Mean\) reads user tensors"):
                session.run("scores:0", {**FEEDS, "item_size:0": [2, 0, 5]})


def test_nothing_fails_before_the_refusal(kit: Any) -> None:
    """Users and items that were not put together fail in `concat`, and the first node that fails gives a run its error."""
    with tf.Graph().as_default() as graph:
        build(kit, mixing=True)
    by_name = nodes_by_name(rewrite_for_session(graph.as_graph_def(), ["scores:0"]))
    above = ["concat"]
    for name in above:  # grows while it is read
        above += {node_of(name) for name in by_name[name].input} - set(above)
    assert REFUSED in above


def test_an_error_in_the_rewriting_fails_the_run(kit: Any, config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that silently ran uncompressed would go unnoticed."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("ops.graph_optimizer.session.rewrite_graph", broken)
    with tf.Graph().as_default():
        build(kit)
        with v1.Session(config=config) as session:
            session.run(v1.global_variables_initializer())
            with pytest.raises(tf.errors.InvalidArgumentError, match="a fault of ours"):
                session.run("scores:0", {**FEEDS, "item_size:0": [2, 0, 5]})


def test_other_graphs_run_as_they_are(config: Any) -> None:
    with tf.Graph().as_default(), v1.Session(config=config) as session:
        assert session.run(tf.constant(1) + 2) == 3


def test_the_rewriting_without_the_library(kit: Any) -> None:
    with tf.Graph().as_default() as graph:
        build(kit)
    once = rewrite_for_session(graph.as_graph_def(), ["scores:0"])
    assert once is not None
    assert rewrite_for_session(once, ["scores:0"]) is None
    with tf.Graph().as_default() as undeclared:
        tf.identity(v1.placeholder(tf.float32, name="x"), name="scores")
    assert rewrite_for_session(undeclared.as_graph_def(), ["scores:0"]) is None
