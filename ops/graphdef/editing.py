"""Copies of GraphDefs with other nodes, constants, and inputs that are read from elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from ops.graphdef.names import is_control, node_of, renamed

STATEFUL = {"Placeholder", "PlaceholderWithDefault", "NoOp", "Assert", "Enter", "Exit", "Merge", "Switch", "NextIteration", "LoopCond"}


def copy_of(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """A deep copy."""
    result = tf.compat.v1.GraphDef()
    result.CopyFrom(graph_def)
    return result


def with_nodes(graph_def: tf.compat.v1.GraphDef, nodes: Iterable[tf.compat.v1.NodeDef]) -> tf.compat.v1.GraphDef:
    """A graph of copies of these nodes, with the versions and the library of another."""
    return tf.compat.v1.GraphDef(versions=graph_def.versions, library=graph_def.library, node=nodes)


def in_order_of_names(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """The graph with its nodes sorted by name: conversions list them in an order that varies, and equal graphs shall give equal bytes."""
    result = copy_of(graph_def)
    result.node.sort(key=lambda node: node.name)
    return result


def with_names_of_captures(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """A copy whose captured values are ``captured_0``, ``captured_1``, ... in order: TensorFlow names them by a counter of the process."""
    numbers = sorted(int(node.name) for node in graph_def.node if node.name.isdecimal())
    return rename_nodes(graph_def, {str(number): f"captured_{place}" for place, number in enumerate(numbers)})


def nodes_by_name(graph_def: tf.compat.v1.GraphDef) -> dict[str, tf.compat.v1.NodeDef]:
    """Nodes by name."""
    return {node.name: node for node in graph_def.node}


def consumers(graph_def: tf.compat.v1.GraphDef) -> Counter[str]:
    """How often each node is read, or waited for."""
    return Counter(node_of(name) for node in graph_def.node for name in node.input)


def redirect(graph_def: tf.compat.v1.GraphDef, replaced: Mapping[str, str]) -> None:
    """Makes consumers of nodes' first outputs read other nodes, in place: replaced node -> tensor name; chains are followed."""

    def final(name: str) -> str:
        seen = set()
        while name in replaced and name not in seen:
            seen.add(name)
            name = replaced[name].removesuffix(":0")
        return name

    for node in graph_def.node:
        for i, name in enumerate(node.input):
            base = node_of(name)
            if base in replaced and name.partition(":")[2] in ("", "0"):
                target = final(base)
                node.input[i] = f"^{node_of(target)}" if is_control(name) else target


def rename_inputs(graph_def: tf.compat.v1.GraphDef, names: Mapping[str, str]) -> None:
    """Renames what nodes take as inputs, in place; an output's number 0 may be written or left out."""
    for node in graph_def.node:
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name.removesuffix(":0"), name)


def rename_nodes(graph_def: tf.compat.v1.GraphDef, names: Mapping[str, str]) -> tf.compat.v1.GraphDef:
    """A copy with new names for some nodes, old name -> new name; what reads them, or lies on their device, is told."""
    result = copy_of(graph_def)
    for node in result.node:
        node.name = names.get(node.name, node.name)
        for i, name in enumerate(node.input):
            node.input[i] = renamed(name, names)
        places = node.attr["_class"].list.s if "_class" in node.attr else []
        for i, place in enumerate(places):
            mark, _, name = place.decode().partition("@")
            places[i] = f"{mark}@{names.get(name, name)}".encode()
    return result


def is_stateless(node: tf.compat.v1.NodeDef) -> bool:
    """The node gives the same for the same inputs and does nothing else."""
    if node.op in STATEFUL or any(map(is_control, node.input)) or node.op not in tf.raw_ops.__dict__:
        return False
    definition = op_def_registry.get(node.op)
    return definition is not None and not definition.is_stateful


def constant(name: str, value: np.ndarray) -> tf.compat.v1.NodeDef:
    """A Const node."""
    node = tf.compat.v1.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return node


def value_of(node: tf.compat.v1.NodeDef) -> np.ndarray:
    """The value of a Const node."""
    return np.asarray(tf.make_ndarray(node.attr["value"].tensor))
