"""GraphDefs as graphs: with static shapes inside loops of version 1 too, which importing alone loses; types and values of their tensors.

Shape inference does not follow the back edge of a loop: a `Merge` of a loop variable, and everything behind it, comes out with unknown
shapes. Here the graph is imported a second time with each loop cut open (the `Merge` gets the variable's first value), and where what the
body returns has the same shape as what went in, the shapes found that way hold for the graph itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import tensorflow as tf

from ops.graphdef.editing import with_nodes
from ops.graphdef.names import node_of, tensor_name


def import_graph(graph_def: tf.compat.v1.GraphDef) -> tf.Graph:
    """Imports a graph under its own names, shapes inside loops included."""
    graph = _imported(graph_def)
    back_edges = {node.name for node in graph_def.node if node.op == "NextIteration"}
    if back_edges:
        _set_shapes(graph, graph_def, back_edges)
    return graph


def output_types(graph_def: tf.compat.v1.GraphDef, names: Iterable[str]) -> list[tuple[tf.TensorShape, tf.DType]]:
    """Static shape and type of tensors; a node's name stands for its first output."""
    graph = import_graph(graph_def)
    tensors = [graph.get_tensor_by_name(tensor_name(name)) for name in names]
    return [(tensor.shape, tensor.dtype) for tensor in tensors]


def evaluate(graph_def: tf.compat.v1.GraphDef, tensors: Collection[str], feeds: Mapping[str, np.ndarray] | None = None) -> list[np.ndarray]:
    """Values of tensors, without any optimization by the runtime.

    Args:
        graph_def: the graph.
        tensors: tensor names.
        feeds: values by node name.
    """
    options = tf.compat.v1.ConfigProto()
    options.graph_options.rewrite_options.disable_meta_optimizer = True
    options.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0
    with tf.compat.v1.Session(graph=_imported(graph_def), config=options) as session:
        return list(session.run(list(tensors), {tensor_name(name): value for name, value in (feeds or {}).items()}))


def _imported(graph_def: tf.compat.v1.GraphDef) -> tf.Graph:
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    return graph


def _set_shapes(graph: tf.Graph, graph_def: tf.compat.v1.GraphDef, back_edges: set[str]) -> None:
    loose: set[str] = set()
    while True:
        opened = _cut_open(graph_def, back_edges, loose)
        changing = set()
        for node in graph_def.node:
            if node.op == "Merge" and node_of(node.input[1]) in back_edges and node.name not in loose:
                [returned] = opened.get_operation_by_name(node_of(node.input[1])).inputs
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
    opened = with_nodes(graph_def, ())
    for node in graph_def.node:
        new = opened.node.add()
        new.CopyFrom(node)
        if node.op in {"Enter", "Exit", "NextIteration"}:  # they forget shapes, too
            new.op = "Identity"
            for name in [name for name in new.attr if name != "T"]:
                new.attr.pop(name)
            continue
        if node.op != "Merge" or node_of(node.input[1]) not in back_edges:
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
    return _imported(opened)
