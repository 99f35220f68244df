"""Fewer bytes for a frozen graph: constant tables and weights in half precision or int8, everything in between float32."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import tensorflow as tf

from ops.graph_passes.tidying import remove_dead_nodes
from ops.graphdef.editing import constant, copy_of, nodes_by_name, value_of
from ops.graphdef.names import node_of
from ops.packed_table import pack

LOOKUPS = {"Gather", "GatherV2"}
PRODUCTS = {"MatMul", "BatchMatMulV2"}
FLOAT = tf.float32.as_datatype_enum


def half_precision(
    graph_def: tf.compat.v1.GraphDef, *, outputs: Collection[str], dtype: tf.DType = tf.bfloat16, tables: bool = True, products: bool = True
) -> tf.compat.v1.GraphDef:
    """Stores constants in half precision and computes with them; everything in between stays float32.

    Args:
        graph_def: a frozen graph.
        outputs: nodes to keep.
        dtype: `tf.bfloat16` (8 bits of mantissa, the range of float32) or `tf.float16` (11 bits, at most 65504).
        tables: convert constant tables that rows are gathered from.
        products: convert constant weights of matrix products, and take these products in half precision.
    """

    def half(result: tf.compat.v1.GraphDef, name: str, value: np.ndarray) -> str:
        result.node.append(constant(f"{name}/half", value.astype(dtype.as_numpy_dtype)))
        return f"{name}/half"

    def lookup(result: tf.compat.v1.GraphDef, node: Any, stored: str) -> None:
        inner = _moved(result, node, "half", stored, dtype)
        _become_cast(node, inner.name, dtype)

    def product(result: tf.compat.v1.GraphDef, node: Any, stored: str) -> None:
        inner = _moved(result, node, "half", stored, dtype)
        cast = result.node.add(name=f"{node.name}/operand", op="Cast", input=[node.input[0]])
        cast.attr["SrcT"].type, cast.attr["DstT"].type = FLOAT, dtype.as_datatype_enum
        inner.input[0] = cast.name
        _become_cast(node, inner.name, dtype)

    return _convert(graph_def, outputs, half, lookup=lookup if tables else None, product=product if products else None)


def int8_precision(
    graph_def: tf.compat.v1.GraphDef, *, outputs: Collection[str], tables: bool = True, products: bool = True
) -> tf.compat.v1.GraphDef:
    """Stores constants as int8 with float32 scales, per row of a table and per output of a weight matrix; computes in float32.

    A weight matrix is turned back where it is used, from constants alone, so that a runtime that folds constants computes as before.

    Args:
        graph_def: a frozen graph.
        outputs: nodes to keep.
        tables: convert constant tables that rows are gathered from.
        products: convert constant weights of matrix products.
    """

    def rows(result: tf.compat.v1.GraphDef, name: str, value: np.ndarray) -> str:
        packed = pack(value, "int8")
        result.node.extend([constant(f"{name}/int8", packed.values), constant(f"{name}/scales", packed.scales[:, np.newaxis])])
        return f"{name}/int8"

    def lookup(result: tf.compat.v1.GraphDef, node: Any, stored: str) -> None:
        inner = _moved(result, node, "int8", stored, tf.int8)
        scales = result.node.add()
        scales.CopyFrom(node)
        scales.name, scales.input[0] = f"{node.name}/scales", stored.removesuffix("/int8") + "/scales"
        cast = result.node.add(name=f"{node.name}/float")
        _become_cast(cast, inner.name, tf.int8)
        name = node.name
        node.Clear()
        node.name, node.op = name, "Mul"
        node.input.extend([cast.name, scales.name])
        node.attr["T"].type = FLOAT

    def weights(result: tf.compat.v1.GraphDef, name: str, value: np.ndarray) -> str:
        columns = value.reshape(-1, value.shape[-1])
        packed = pack(np.ascontiguousarray(columns.T), "int8")
        result.node.append(constant(f"{name}/int8", np.ascontiguousarray(packed.values.T).reshape(value.shape)))
        result.node.append(constant(f"{name}/scales", packed.scales))
        cast = result.node.add(name=f"{name}/float")
        _become_cast(cast, f"{name}/int8", tf.int8)
        scaled = result.node.add(name=f"{name}/scaled", op="Mul", input=[cast.name, f"{name}/scales"])
        scaled.attr["T"].type = FLOAT
        return f"{name}/scaled"

    def product(result: tf.compat.v1.GraphDef, node: Any, stored: str) -> None:
        node.input[1] = stored

    # a table's values are packed by row, a weight matrix's by column; a row of one number would take more bytes, not fewer
    changed = _convert(graph_def, outputs, rows, lookup=lookup if tables else None, product=None, narrowest=2)
    return _convert(changed, outputs, weights, lookup=None, product=product if products else None)


def _convert(
    graph_def: tf.compat.v1.GraphDef,
    outputs: Collection[str],
    store: Callable[[tf.compat.v1.GraphDef, str, np.ndarray], str],
    *,
    lookup: Callable[[tf.compat.v1.GraphDef, Any, str], None] | None,
    product: Callable[[tf.compat.v1.GraphDef, Any, str], None] | None,
    narrowest: int = 1,
) -> tf.compat.v1.GraphDef:
    """Stores the float constants that lookups and products read in another form, once each, and changes those nodes.

    Vectors, and matrices of fewer columns than ``narrowest``, stay as they are.
    """
    result = copy_of(graph_def)
    by_name = nodes_by_name(result)
    stored: dict[str, str] = {}
    for node in list(result.node):
        change, position = (lookup, 0) if node.op in LOOKUPS else (product, 1) if node.op in PRODUCTS else (None, 0)
        if change is None:
            continue
        source = by_name[node_of(node.input[position])]
        if source.op != "Const" or source.attr["dtype"].type != FLOAT or not _is_matrix(source, narrowest):
            continue
        if source.name not in stored:
            stored[source.name] = store(result, source.name, np.asarray(value_of(source)))
        change(result, node, stored[source.name])
    return remove_dead_nodes(result, outputs=outputs)


def _is_matrix(node: Any, narrowest: int) -> bool:
    dims = node.attr["value"].tensor.tensor_shape.dim
    return len(dims) > 1 and int(dims[-1].size) >= narrowest


def _moved(result: tf.compat.v1.GraphDef, node: Any, suffix: str, stored: str, dtype: tf.DType) -> Any:
    """A copy of a lookup or product that reads the stored constant."""
    inner = result.node.add()
    inner.CopyFrom(node)
    inner.name = f"{node.name}/{suffix}"
    inner.attr["Tparams" if node.op in LOOKUPS else "T"].type = dtype.as_datatype_enum
    inner.input[0 if node.op in LOOKUPS else 1] = stored
    return inner


def _become_cast(node: Any, source: str, dtype: tf.DType) -> None:
    """Makes a node, whatever it was, the float32 value of another."""
    name = node.name
    node.Clear()
    node.name, node.op = name, "Cast"
    node.input.append(source)
    node.attr["SrcT"].type, node.attr["DstT"].type = dtype.as_datatype_enum, FLOAT
