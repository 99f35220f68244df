"""Passes that write activations with fewer element-wise ops: each of them reads and writes every activation once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from ops.graph_passes.tidying import remove_dead_nodes
from ops.graphdef.editing import copy_of, nodes_by_name, value_of
from ops.graphdef.names import node_of

NodeDef: TypeAlias = Any  # tf.compat.v1.NodeDef; TensorFlow has no types for it


def shorten_prelu(graph_def: tf.compat.v1.GraphDef, *, outputs: Collection[str]) -> tf.compat.v1.GraphDef:
    """Writes PReLU (arXiv 1502.01852, equation 1) as ``max(x, a x)``, which it equals where no a is above 1.

    Found are ``relu(x) + a min(x, 0)`` and ``relu(x) + (-a) relu(-x)`` with constant slopes a; four or five ops become two.
    """
    result = copy_of(graph_def)
    by_name = nodes_by_name(result)
    added = []
    for node in list(result.node):
        found = _prelu(node, by_name)
        if found is None:
            continue
        x, slopes = found
        product = tf.compat.v1.NodeDef(name=f"{node.name}/below_zero", op="Mul", input=[x, slopes.name])
        product.attr["T"].CopyFrom(node.attr["T"])
        added += [slopes, product]
        node.op = "Maximum"
        node.input[:] = [x, product.name]
    result.node.extend(added)
    return remove_dead_nodes(result, outputs=outputs)


def _prelu(node: NodeDef, by_name: dict[str, NodeDef]) -> tuple[str, NodeDef] | None:
    """The input of a PReLU and its slopes as a new constant, or None."""
    if node.op not in {"Add", "AddV2"} or len(node.input) != 2:
        return None
    for positive, negative in (node.input, list(node.input)[::-1]):
        relu, product = by_name[node_of(positive)], by_name[node_of(negative)]
        if relu.op != "Relu" or product.op != "Mul" or len(relu.input) != 1 or len(product.input) != 2:
            continue
        x = relu.input[0]
        for constant, below in (product.input, list(product.input)[::-1]):
            slopes = _constant(constant, by_name)
            sign = _below_zero(by_name[node_of(below)], x, by_name)
            if slopes is None or sign is None or not np.all(sign * slopes <= 1):
                continue
            new = tf.compat.v1.NodeDef()
            new.CopyFrom(by_name[node_of(constant)])
            new.name = f"{node.name}/slopes"
            new.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(sign * slopes))
            return x, new
    return None


def _below_zero(node: NodeDef, x: str, by_name: dict[str, NodeDef]) -> int | None:
    """1 if a node is min(x, 0), -1 if it is relu(-x), else None."""
    if node.op == "Minimum" and len(node.input) == 2:
        for this, other in (node.input, list(node.input)[::-1]):
            zero = _constant(other, by_name)
            if this == x and zero is not None and not np.any(zero):
                return 1
    if node.op == "Relu" and len(node.input) == 1:
        negated = by_name[node_of(node.input[0])]
        if negated.op == "Neg" and list(negated.input) == [x]:
            return -1
    return None


def _constant(name: str, by_name: dict[str, NodeDef]) -> np.ndarray | None:
    node = by_name[node_of(name)]
    if node.op != "Const":
        return None
    value = value_of(node)
    return value if value.dtype.kind == "f" and value.ndim <= 1 else None
