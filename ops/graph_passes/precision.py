"""Half precision for a frozen graph: tables and weights take half the memory, products run in it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import tensorflow as tf

from ops.graph_passes.editing import constant, copy_of, node_of, nodes_by_name, value_of
from ops.graph_passes.tidying import remove_dead_nodes

LOOKUPS = {"Gather", "GatherV2"}
PRODUCTS = {"MatMul", "BatchMatMulV2"}


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
    result = copy_of(graph_def)
    by_name = nodes_by_name(result)
    halves: dict[str, str] = {}

    def half(name: str) -> str:
        if name not in halves:
            halves[name] = f"{name}/half"
            value = value_of(by_name[name])
            result.node.append(constant(halves[name], np.asarray(value).astype(dtype.as_numpy_dtype)))
        return halves[name]

    for node in list(result.node):
        position = 0 if node.op in LOOKUPS else 1
        wanted = (node.op in LOOKUPS and tables) or (node.op in PRODUCTS and products)
        if not wanted:
            continue
        source = by_name[node_of(node.input[position])]
        attribute = "Tparams" if node.op == "GatherV2" or node.op == "Gather" else "T"
        if source.op != "Const" or source.attr["dtype"].type != tf.float32.as_datatype_enum:
            continue
        inner = result.node.add()
        inner.CopyFrom(node)
        inner.name = f"{node.name}/half"
        inner.attr[attribute].type = dtype.as_datatype_enum
        inner.input[position] = half(source.name)
        if node.op in PRODUCTS:
            cast = result.node.add(name=f"{node.name}/operand", op="Cast", input=[node.input[0]])
            cast.attr["SrcT"].type, cast.attr["DstT"].type = tf.float32.as_datatype_enum, dtype.as_datatype_enum
            inner.input[0] = cast.name
        node.Clear()
        node.name, node.op = inner.name.removesuffix("/half"), "Cast"
        node.input.append(inner.name)
        node.attr["SrcT"].type, node.attr["DstT"].type = dtype.as_datatype_enum, tf.float32.as_datatype_enum
    return remove_dead_nodes(result, outputs=outputs)
