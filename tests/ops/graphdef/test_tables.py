"""Tables are put aside while a graph is changed, and are back in it afterwards; nothing else is touched."""

import numpy as np
import tensorflow as tf

from ops.graphdef.importing import evaluate, output_types
from ops.graphdef.tables import put_aside, put_back


def graph_with_tables() -> tf.compat.v1.GraphDef:
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        rows = tf.compat.v1.placeholder(tf.int64, [None], name="rows")
        table = tf.constant(rng.normal(size=(50, 4)).astype(np.float32), name="table")
        weights = tf.constant(rng.normal(size=(4, 4)).astype(np.float32), name="weights")
        both = tf.constant(rng.normal(size=(4, 4)).astype(np.float32), name="read_in_two_ways")
        found = tf.matmul(tf.raw_ops.GatherV2(params=table, indices=rows, axis=0), weights) @ both
        tf.add(found, tf.raw_ops.GatherV2(params=both, indices=rows % 4, axis=0), name="found")
    return graph.as_graph_def()


def test_what_is_gathered_from_alone_is_put_aside_and_back() -> None:
    graph = graph_with_tables()
    slim, tables = put_aside(graph, least_bytes=1)
    assert list(tables) == ["table"]
    assert slim.ByteSize() < graph.ByteSize() - 50 * 4 * 4
    assert output_types(slim, ["found"]) == output_types(graph, ["found"])
    feeds = {"rows": np.array([3, 49, 0])}
    values = {"table": tf.make_ndarray(tables["table"].attr["value"].tensor)}
    np.testing.assert_array_equal(evaluate(slim, ["found:0"], feeds | values), evaluate(graph, ["found:0"], feeds))
    whole = put_back(slim, tables)
    assert whole.SerializeToString(deterministic=True) == graph.SerializeToString(deterministic=True)


def test_small_tables_stay() -> None:
    graph = graph_with_tables()
    slim, tables = put_aside(graph)
    assert not tables
    assert slim == graph
