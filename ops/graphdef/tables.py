"""Large tables of a frozen graph, put aside while it is changed: every copy of a graph costs what it holds."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from ops.graphdef.names import node_of

LOOKUPS = {"Gather", "GatherV2"}
LEAST_BYTES = 2**20


def put_aside(
    graph_def: tf.compat.v1.GraphDef, *, least_bytes: int = LEAST_BYTES
) -> tuple[tf.compat.v1.GraphDef, dict[str, tf.compat.v1.NodeDef]]:
    """A copy in which large constants that are only gathered from are placeholders of their type and shape.

    Args:
        graph_def: the graph; unchanged.
        least_bytes: size from which on a constant is large.

    Returns:
        The copy, and the constants by name, for `put_back`.
    """
    readers: dict[str, set[str]] = {}
    for node in graph_def.node:
        for place, name in enumerate(node.input):
            readers.setdefault(node_of(name), set()).add(node.op if place == 0 else "another input")
    tables = {
        node.name: node
        for node in graph_def.node
        if node.op == "Const" and readers.get(node.name, set()) and readers[node.name] <= LOOKUPS and node.ByteSize() >= least_bytes
    }
    slim = tf.compat.v1.GraphDef(versions=graph_def.versions)
    if graph_def.HasField("library"):
        slim.library.CopyFrom(graph_def.library)
    for node in graph_def.node:
        copy = slim.node.add()
        if node.name not in tables:
            copy.CopyFrom(node)
            continue
        copy.name, copy.op = node.name, "Placeholder"
        copy.attr["dtype"].CopyFrom(node.attr["dtype"])
        copy.attr["shape"].shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
    return slim, tables


def put_back(graph_def: tf.compat.v1.GraphDef, tables: Mapping[str, tf.compat.v1.NodeDef]) -> tf.compat.v1.GraphDef:
    """The graph with the constants of `put_aside` in their places again, as far as it still has them; changed in place."""
    for node in graph_def.node:
        if node.name in tables:
            node.CopyFrom(tables[node.name])
    return graph_def
