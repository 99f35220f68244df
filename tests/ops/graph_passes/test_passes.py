"""Each pass on graphs that have what it looks for: fewer nodes, same values."""

from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ops import graph_passes
from ops.graphdef.importing import evaluate

v1 = tf.compat.v1
OUTPUTS = ["scores"]
FEEDS = {"x": np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32), "ids": np.arange(9)}


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def graph_def() -> Any:
    with tf.Graph().as_default() as graph:
        x, ids = v1.placeholder(tf.float32, [None, 6], name="x"), v1.placeholder(tf.int64, [None], name="ids")
        hidden = tf.matmul(x, weights(6, 8)) + weights(8)
        scale = weights(8) / np.sqrt(np.float32(1.5)) * tf.math.rsqrt(tf.constant(weights(8) ** 2 + 1))
        hidden = tf.nn.relu(tf.identity(hidden) * scale + (weights(8) - weights(8) * scale))
        table = tf.identity(tf.constant(weights(50, 8)))
        twice = tf.tanh(tf.gather(table, ids)) + tf.tanh(tf.gather(table, ids))
        tf.square(hidden, name="unused")
        image = tf.reshape(hidden, [-1, 1, 1, 8])
        kernel = tf.matmul(image[:, 0, 0] + twice, weights(8, 4), transpose_b=False)
        tf.reduce_sum(kernel, axis=1, name="scores")
    return graph.as_graph_def()


def ops_of(graph_def: Any) -> Counter:
    return Counter(node.op for node in graph_def.node)


@pytest.mark.parametrize(
    "name", ["remove_dead_nodes", "remove_identities", "fold_constants", "fold_batch_norms", "merge_common_subexpressions"]
)
def test_same_values_and_a_second_run_changes_nothing(graph_def: Any, name: str) -> None:
    function = getattr(graph_passes, name)
    before = graph_def.SerializeToString(deterministic=True)
    once, [report] = graph_passes.run_passes(graph_def, [(function, 1e-5)], outputs=OUTPUTS, feeds=FEEDS)
    assert graph_def.SerializeToString(deterministic=True) == before
    assert report.nodes[1] < report.nodes[0]
    assert report.max_difference < 1e-4
    twice = function(once, outputs=OUTPUTS)
    assert twice == once


def test_what_each_pass_takes_away(graph_def: Any) -> None:
    ops = ops_of(graph_def)
    tidy = graph_passes.remove_identities(graph_def, outputs=OUTPUTS)
    assert ops["Identity"] and not ops_of(tidy)["Identity"]  # noqa: PT018
    assert "unused" not in {node.name for node in tidy.node}
    folded = graph_passes.fold_constants(tidy, outputs=OUTPUTS)
    assert not ops_of(folded)["Rsqrt"]
    normed = graph_passes.fold_batch_norms(folded, outputs=OUTPUTS)
    assert ops_of(folded)["Mul"] == 1
    assert ops_of(normed)["Mul"] == 0
    assert ops_of(normed)["AddV2"] == ops_of(folded)["AddV2"] - 1
    merged = graph_passes.merge_common_subexpressions(normed, outputs=OUTPUTS)
    assert (ops_of(normed)["Tanh"], ops_of(merged)["Tanh"]) == (2, 1)
    [found], [expected] = (evaluate(graph, ["scores:0"], FEEDS) for graph in (merged, graph_def))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_half_precision(graph_def: Any, dtype: tf.DType) -> None:
    tidy = graph_passes.remove_identities(graph_def, outputs=OUTPUTS)
    function = partial(graph_passes.half_precision, dtype=dtype)
    half, [report] = graph_passes.run_passes(tidy, [(function, 0.05)], outputs=OUTPUTS, feeds=FEEDS)
    assert report.name == "half_precision"
    assert 0 < report.max_difference < 0.3
    tables = [
        node
        for node in half.node
        if node.op == "Const" and node.attr["value"].tensor.tensor_shape.dim and node.attr["dtype"].type == dtype.as_datatype_enum
    ]
    assert len(tables) == 3


def test_int8_precision(graph_def: Any) -> None:
    tidy = graph_passes.remove_identities(graph_def, outputs=OUTPUTS)
    packed, [report] = graph_passes.run_passes(tidy, [(graph_passes.int8_precision, 0.05)], outputs=OUTPUTS, feeds=FEEDS)
    assert report.name == "int8_precision"
    assert 0 < report.max_difference < 0.3
    stored = [node for node in packed.node if node.op == "Const" and node.attr["dtype"].type == tf.int8.as_datatype_enum]
    assert len(stored) == 3  # a table and two weight matrices
    assert sum(tf.make_ndarray(node.attr["value"].tensor).nbytes for node in stored) == 6 * 8 + 8 * 4 + 50 * 8
    twice = graph_passes.int8_precision(packed, outputs=OUTPUTS)
    assert twice == packed

    # the same numbers in the same order, by hand: rows of the table, columns of the weights
    def near(value: np.ndarray, axis: int) -> np.ndarray:
        scale = np.abs(value).max(axis=axis, keepdims=True) / 127
        return np.rint(value / scale) * scale

    x, hidden_scale = FEEDS["x"], weights(8) / np.sqrt(np.float32(1.5)) / np.sqrt(weights(8) ** 2 + 1)
    hidden = (x @ near(weights(6, 8), 0) + weights(8)) * hidden_scale + (weights(8) - weights(8) * hidden_scale)
    twice_looked_up = 2 * np.tanh(near(weights(50, 8), 1)[FEEDS["ids"]])
    expected = ((np.maximum(hidden, 0) + twice_looked_up) @ near(weights(8, 4), 0)).sum(axis=1)
    np.testing.assert_allclose(evaluate(packed, ["scores:0"], FEEDS)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["int8_precision", "half_precision"])
def test_tables_and_products_apart(graph_def: Any, name: str) -> None:
    tidy = graph_passes.remove_identities(graph_def, outputs=OUTPUTS)
    function = getattr(graph_passes, name)
    tables = ops_of(function(tidy, outputs=OUTPUTS, products=False))["Cast"]
    products = ops_of(function(tidy, outputs=OUTPUTS, tables=False))["Cast"]
    assert ops_of(function(tidy, outputs=OUTPUTS))["Cast"] == tables + products
    assert tables
    assert products


def test_a_pass_that_changes_the_result_is_refused(graph_def: Any) -> None:
    def wrong(graph_def: Any, *, outputs: Any) -> Any:
        changed = tf.compat.v1.GraphDef.FromString(graph_def.SerializeToString())
        next(node for node in changed.node if node.op == "Relu").op = "Elu"
        return changed

    with pytest.raises(graph_passes.PassError, match="pass wrong changes scores by"):
        graph_passes.run_passes(graph_def, [(wrong, 1e-5)], outputs=OUTPUTS, feeds=FEEDS)


def test_scales_that_others_read_stay() -> None:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6], name="x")
        product = tf.matmul(x, weights(6, 8), name="product")
        tf.reduce_sum(product * weights(8), axis=1, name="scores")
    for outputs in (["scores", "product"], ["scores"]):
        folded = graph_passes.fold_batch_norms(graph.as_graph_def(), outputs=outputs)
        assert ops_of(folded)["Mul"] == (len(outputs) == 2)
        [found], [expected] = (evaluate(g, ["scores:0"], {"x": FEEDS["x"]}) for g in (folded, graph.as_graph_def()))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_random_numbers_are_not_merged_or_folded() -> None:
    with tf.Graph().as_default() as graph:
        tf.add(tf.random.uniform([3]), tf.random.uniform([3]), name="scores")
    merged = graph_passes.merge_common_subexpressions(graph_passes.fold_constants(graph.as_graph_def(), outputs=OUTPUTS), outputs=OUTPUTS)
    assert ops_of(merged)["RandomUniform"] == 2


def prelu_graph(form: str, slopes: np.ndarray) -> Any:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6], name="x")
        below = tf.minimum(x, 0.0) * slopes if form == "minimum" else tf.constant(-slopes) * tf.nn.relu(-x)
        tf.add(below, tf.nn.relu(x), name="scores")
    return graph.as_graph_def()


@pytest.mark.parametrize("form", ["minimum", "negated"])
def test_prelu_becomes_a_maximum(form: str) -> None:
    slopes = np.array([0.25, -0.5, 0.0, 1.0, 0.9, 0.1], np.float32)
    graph_def = prelu_graph(form, slopes)
    short = graph_passes.shorten_prelu(graph_def, outputs=OUTPUTS)
    assert ops_of(short) == Counter({"Placeholder": 1, "Const": 1, "Mul": 1, "Maximum": 1})
    [found] = evaluate(short, ["scores:0"], {"x": FEEDS["x"]})
    x = FEEDS["x"]
    np.testing.assert_array_equal(found, np.where(x > 0, x, slopes * x))
    assert graph_passes.shorten_prelu(short, outputs=OUTPUTS) == short


@pytest.mark.parametrize("form", ["minimum", "negated"])
def test_prelu_with_a_slope_above_one_stays(form: str) -> None:
    slopes = np.array([0.25, 0.5, 0.0, 1.5, 0.9, 0.1], np.float32)
    graph_def = prelu_graph(form, slopes)
    short = graph_passes.shorten_prelu(graph_def, outputs=OUTPUTS)
    assert ops_of(short) == ops_of(graph_def)
