"""What depends on items alone, computed once for a corpus."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ops import graph_optimizer

v1 = tf.compat.v1


def model(kit: Any) -> Any:
    with tf.Graph().as_default() as graph:
        user, item = v1.placeholder(tf.float32, [None, 6], name="user"), v1.placeholder(tf.float32, [None, 8], name="item")
        hidden = tf.nn.relu(item @ kit.weights(8, 64)) @ kit.weights(64, 16)
        crossed = tf.nn.tanh(hidden * (user @ kit.weights(6, 16)))
        tf.reduce_sum(crossed @ kit.weights(16, 4), axis=1, name="scores")
    return graph.as_graph_def()


def test_scores_are_equal_and_the_items_products_are_gone(kit: Any) -> None:
    graph_def = model(kit)
    before = graph_def.SerializeToString(deterministic=True)
    corpus = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    changed, table, report = graph_optimizer.precompute_items(graph_def, item_input="item", item_values=corpus, outputs=["scores"])
    assert graph_def.SerializeToString(deterministic=True) == before
    assert report.applied
    assert table.shape == (20, 16), "the raw rows are not needed any more"
    assert report.table_bytes == (20 * 32, 20 * 64)
    assert report.flops_per_item[0] - report.flops_per_item[1] > 2 * (8 * 64 + 64 * 16)
    assert sum(node.op == "MatMul" for node in changed.node) == 2
    user, rows = np.random.default_rng(1).normal(size=(5, 6)), [3, 3, 0, 19, 7]
    [found] = kit.run(changed, ["scores"], {"user": user, "item": table[rows]})
    [expected] = kit.run(graph_def, ["scores"], {"user": user, "item": corpus[rows]})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("options", "reason"), [({"max_table_bytes": 100}, "more than 100"), ({}, "not worth")])
def test_left_alone_where_it_does_not_pay(kit: Any, options: dict[str, int], reason: str) -> None:
    with tf.Graph().as_default() as graph:
        user, item = v1.placeholder(tf.float32, [None, 64], name="user"), v1.placeholder(tf.float32, [None, 2], name="item")
        tf.reduce_sum((item @ kit.weights(2, 64)) * user, axis=1, name="scores")
    corpus = np.zeros((10, 2), np.float32)
    kept, table, report = graph_optimizer.precompute_items(
        graph.as_graph_def(), item_input="item", item_values=corpus, outputs=["scores"], **options
    )
    assert not report.applied
    assert reason in report.reason
    assert kept == graph.as_graph_def()
    assert table is corpus


def test_an_input_without_a_width_is_refused() -> None:
    with tf.Graph().as_default() as graph:
        tf.identity(v1.placeholder(tf.float32, [None, None], name="item"), name="scores")
    with pytest.raises(graph_optimizer.GraphCompressionError, match="static width"):
        graph_optimizer.precompute_items(graph.as_graph_def(), item_input="item", item_values=np.zeros((1, 1)), outputs=["scores"])
