"""Passes that compute ahead what does not depend on the inputs."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import tensorflow as tf

from ops.graph_passes.tidying import remove_dead_nodes
from ops.graphdef.editing import constant, consumers, copy_of, is_stateless, nodes_by_name, value_of, with_nodes
from ops.graphdef.importing import evaluate
from ops.graphdef.names import is_control, node_of

MAX_GROWTH_BYTES = 65536


def fold_constants(graph_def: tf.compat.v1.GraphDef, *, outputs: Collection[str]) -> tf.compat.v1.GraphDef:
    """Replaces what depends on constants alone by its value, unless that is much larger than what it is made from."""
    constant_names = {node.name for node in graph_def.node if node.op == "Const"}
    foldable = set(constant_names)
    by_name = nodes_by_name(graph_def)
    changed = True
    while changed:
        changed = False
        for node in graph_def.node:
            if node.name not in foldable and node.input and is_stateless(node) and all(node_of(name) in foldable for name in node.input):
                foldable.add(node.name)
                changed = True
    # only what something else reads, and what has one output
    readers = {node_of(name) for node in graph_def.node if node.name not in foldable for name in node.input}
    named = sorted(name for name in foldable - constant_names if name in readers or name in set(outputs))
    wanted = [name for name in named if not any(f"{name}:1" in node.input for node in graph_def.node)]
    if not wanted:
        return copy_of(graph_def)
    sizes = {name: by_name[name].ByteSize() for name in constant_names}
    values = dict(zip(wanted, evaluate(graph_def, [f"{name}:0" for name in wanted]), strict=True))
    result = with_nodes(graph_def, ())
    for node in graph_def.node:
        value = values.get(node.name)
        if value is not None and np.asarray(value).nbytes <= MAX_GROWTH_BYTES + sum(sizes.get(node_of(name), 0) for name in node.input):
            result.node.append(constant(node.name, np.asarray(value)))
        else:
            result.node.append(node)
    return remove_dead_nodes(result, outputs=outputs)


def fold_batch_norms(graph_def: tf.compat.v1.GraphDef, *, outputs: Collection[str]) -> tf.compat.v1.GraphDef:
    """Takes constant scales and shifts per channel into the matrix product before them.

    ``(x W + b) s + t`` becomes ``x (W s) + (b s + t)``: what batch normalisation by moving averages is (arXiv 1502.03167, section 3.1).
    Sums of constants are joined, and a scale moves over a shift, until the scale meets the product; only where nothing else reads the
    values in between.
    """
    result = copy_of(graph_def)
    keep = set(outputs)
    while _fold_once(result, keep):
        result = remove_dead_nodes(result, outputs=outputs)  # what was replaced must not count as a reader
    return remove_dead_nodes(result, outputs=outputs)


def _fold_once(graph_def: tf.compat.v1.GraphDef, keep: set[str]) -> bool:
    by_name, read = nodes_by_name(graph_def), consumers(graph_def)
    for outer in graph_def.node:
        if outer.op not in {"Mul", "Add", "AddV2", "BiasAdd"} or len(outer.input) != 2:
            continue
        found = _operand_and_channels(outer, by_name)
        if found is None:
            continue
        operand, channels = found
        inner = by_name[operand]
        if operand in keep or read[operand] != 1:
            continue
        if outer.op == "Mul" and inner.op in {"MatMul", "BatchMatMulV2"}:
            if _scale_product(graph_def, outer, inner, channels, by_name):
                return True
        elif inner.op in {"Add", "AddV2", "BiasAdd"}:
            shifted = _operand_and_channels(inner, by_name)
            if shifted is None:
                continue
            if outer.op == "Mul":  # (y + b) s = y s + b s
                _rename(outer, inner, shifted[0], channels, shifted[1] * channels, graph_def)
            else:  # (y + b) + t = y + (b + t)
                name = f"{outer.name}/shift"
                graph_def.node.append(constant(name, _as(outer, shifted[1] + channels)))
                outer.op = "AddV2"
                outer.attr.pop("data_format", None)
                outer.input[:] = [shifted[0], name]
            return True
    return False


def _operand_and_channels(node: tf.compat.v1.NodeDef, by_name: dict[str, tf.compat.v1.NodeDef]) -> tuple[str, np.ndarray] | None:
    """The variable operand of a sum or product, and the constant one if it is a vector over the last axis."""
    if node.op == "BiasAdd" and node.attr["data_format"].s not in (b"", b"NHWC"):
        return None
    for i in (1, 0):
        other = by_name[node_of(node.input[i])]
        source = node.input[1 - i]
        if other.op == "Const" and ":" not in source and not is_control(source) and by_name[source].op != "Const":
            value = value_of(other)
            if value.ndim == 1 and value.dtype.kind == "f":
                return source, value
    return None


def _as(node: tf.compat.v1.NodeDef, value: np.ndarray) -> np.ndarray:
    return value.astype(tf.as_dtype(node.attr["T"].type).as_numpy_dtype)


def _scale_product(
    graph_def: tf.compat.v1.GraphDef,
    outer: tf.compat.v1.NodeDef,
    product: tf.compat.v1.NodeDef,
    scale: np.ndarray,
    by_name: dict[str, tf.compat.v1.NodeDef],
) -> bool:
    weights = by_name[node_of(product.input[1])]
    if weights.op != "Const":
        return False
    transposed = product.attr["transpose_b" if product.op == "MatMul" else "adj_y"].b
    matrix = value_of(weights)
    if matrix.ndim != 2 or matrix.shape[0 if transposed else 1] != len(scale):
        return False
    name = f"{outer.name}/weights"
    graph_def.node.append(constant(name, _as(outer, matrix * (scale[:, np.newaxis] if transposed else scale))))
    new = tf.compat.v1.NodeDef()
    new.CopyFrom(product)
    new.name = outer.name
    new.input[1] = name
    outer.CopyFrom(new)
    return True


def _rename(
    outer: tf.compat.v1.NodeDef,
    inner: tf.compat.v1.NodeDef,
    source: str,
    scale: np.ndarray,
    shift: np.ndarray,
    graph_def: tf.compat.v1.GraphDef,
) -> None:
    """Makes ``outer = (source + b) * scale`` into ``outer = outer/scaled + shift`` with ``outer/scaled = source * scale``."""
    graph_def.node.append(constant(f"{outer.name}/scale", _as(outer, scale)))
    graph_def.node.append(constant(f"{outer.name}/shift", _as(outer, shift)))
    scaled = graph_def.node.add(name=f"{outer.name}/scaled", op="Mul", input=[source, f"{outer.name}/scale"])
    scaled.attr["T"].CopyFrom(outer.attr["T"])
    outer.op = "AddV2"
    outer.input[:] = [scaled.name, f"{outer.name}/shift"]
