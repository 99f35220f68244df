"""Static shapes inside loops of version 1, which importing a GraphDef loses.

Shape inference does not follow the back edge of a loop: a `Merge` of a loop variable, and everything behind it, comes out with unknown
shapes. Here the graph is imported a second time with each loop cut open (the `Merge` gets the variable's first value), and where what the
body returns has the same shape as what went in, the shapes found that way hold for the graph itself.
"""

from __future__ import annotations

import tensorflow as tf


def import_graph(graph_def: tf.compat.v1.GraphDef) -> tf.Graph:
    """Imports a graph under its own names, shapes inside loops included."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    back_edges = {node.name: node for node in graph_def.node if node.op == "NextIteration"}
    if back_edges:
        _set_shapes(graph, graph_def, set(back_edges))
    return graph


def _set_shapes(graph: tf.Graph, graph_def: tf.compat.v1.GraphDef, back_edges: set[str]) -> None:
    loose: set[str] = set()
    while True:
        opened = _cut_open(graph_def, back_edges, loose)
        changing = set()
        for node in graph_def.node:
            if node.op == "Merge" and node.input[1].split(":")[0] in back_edges and node.name not in loose:
                [returned] = opened.get_operation_by_name(node.input[1].split(":")[0]).inputs
                shape = opened.get_tensor_by_name(f"{node.name}:0").shape
                if returned.dtype not in (tf.variant, tf.resource) and not _holds(shape, returned.shape):
                    changing.add(node.name)
        if not changing:
            break
        loose |= changing
    for op in graph.get_operations():
        for i, tensor in enumerate(op.outputs):
            twin = opened.get_operation_by_name(op.name).outputs
            if i < len(twin) and tensor.dtype not in (tf.variant, tf.resource) and op.type != "Const":
                tensor.set_shape(twin[i].shape)


def _holds(first: tf.TensorShape, returned: tf.TensorShape) -> bool:
    """What was known of a variable before the loop is still known of what the body returns."""
    if first.rank is None:
        return True
    return returned.rank == first.rank and all(a is None or a == b for a, b in zip(first, returned, strict=True))


def _cut_open(graph_def: tf.compat.v1.GraphDef, back_edges: set[str], loose: set[str]) -> tf.Graph:
    opened = tf.compat.v1.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        new = opened.node.add()
        new.CopyFrom(node)
        if node.op in {"Enter", "Exit", "NextIteration"}:  # they forget shapes, too
            new.op = "Identity"
            for name in [name for name in new.attr if name != "T"]:
                new.attr.pop(name)
            continue
        if node.op != "Merge" or node.input[1].split(":")[0] not in back_edges:
            continue
        new.Clear()
        new.name = node.name
        if node.name in loose:
            new.op = "Placeholder"
            new.attr["dtype"].type = node.attr["T"].type
        else:
            new.op = "Identity"
            new.input.append(node.input[0])
            new.attr["T"].type = node.attr["T"].type
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(opened, name="")
    return graph
