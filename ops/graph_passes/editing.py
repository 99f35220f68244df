"""Reading and editing GraphDefs by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np
import tensorflow as tf

STATEFUL = {"Placeholder", "PlaceholderWithDefault", "NoOp", "Assert", "Enter", "Exit", "Merge", "Switch", "NextIteration", "LoopCond"}


def copy_of(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """A deep copy."""
    return tf.compat.v1.GraphDef.FromString(graph_def.SerializeToString())


def nodes_by_name(graph_def: tf.compat.v1.GraphDef) -> dict[str, tf.compat.v1.NodeDef]:
    """Nodes by name."""
    return {node.name: node for node in graph_def.node}


def node_of(tensor: str) -> str:
    """Node name of a tensor name as it stands in `NodeDef.input`."""
    return tensor.removeprefix("^").partition(":")[0]


def consumers(graph_def: tf.compat.v1.GraphDef) -> Counter[str]:
    """How often each node is read."""
    return Counter(node_of(name) for node in graph_def.node for name in node.input)


def redirect(graph_def: tf.compat.v1.GraphDef, replaced: dict[str, str]) -> None:
    """Makes consumers read other nodes, in place: replaced node name -> tensor name; chains are followed."""

    def final(name: str) -> str:
        seen = set()
        while name in replaced and name not in seen:
            seen.add(name)
            name = replaced[name].removesuffix(":0")
        return name

    for node in graph_def.node:
        for i, name in enumerate(node.input):
            control, plain = name.startswith("^"), name.removeprefix("^")
            base, _, index = plain.partition(":")
            if base in replaced and index in ("", "0"):
                target = final(base)
                node.input[i] = f"^{node_of(target)}" if control else target


def is_stateless(node: tf.compat.v1.NodeDef) -> bool:
    """The node gives the same for the same inputs and does nothing else."""
    if node.op in STATEFUL or any(name.startswith("^") for name in node.input):
        return False
    definition = tf.raw_ops.__dict__.get(node.op)
    return definition is not None and not _registered_stateful(node.op)


def _registered_stateful(op: str) -> bool:
    from tensorflow.python.framework import op_def_registry

    found = op_def_registry.get(op)
    return found is None or bool(found.is_stateful)


def constant(name: str, value: np.ndarray) -> tf.compat.v1.NodeDef:
    """A Const node."""
    node = tf.compat.v1.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return node


def value_of(node: tf.compat.v1.NodeDef) -> np.ndarray:
    """The value of a Const node."""
    return np.asarray(tf.make_ndarray(node.attr["value"].tensor))


def needed(graph_def: tf.compat.v1.GraphDef, names: Iterable[str]) -> set[str]:
    """Some nodes and all they depend on."""
    by_name = nodes_by_name(graph_def)
    found, waiting = set(names), list(names)
    while waiting:
        for name in by_name[waiting.pop()].input:
            if node_of(name) not in found:
                found.add(node_of(name))
                waiting.append(node_of(name))
    return found


def evaluate(graph_def: tf.compat.v1.GraphDef, tensors: Collection[str], feeds: dict[str, np.ndarray] | None = None) -> list[np.ndarray]:
    """Values of tensors, without any optimisation by the runtime.

    Args:
        graph_def: the graph.
        tensors: tensor names.
        feeds: values by node name.
    """
    options = tf.compat.v1.ConfigProto()
    options.graph_options.rewrite_options.disable_meta_optimizer = True
    options.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph, config=options) as session:
        tf.import_graph_def(graph_def, name="")
        return list(session.run(list(tensors), {f"{name}:0": value for name, value in (feeds or {}).items()}))
