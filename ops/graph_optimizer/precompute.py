"""Partial evaluation: what depends on items alone is computed once for the whole corpus, at rewrite time.

The analysis of `compress` is run with the item input in the users' place: what it can defer is a function of each item's row by itself, and
where that meets a user, the value is wanted. These values replace the item input: the caller looks them up instead of the raw rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from ops.graph_optimizer.analysis import Analysis
from ops.graph_optimizer.cost import elements, graph_cost, op_cost
from ops.graph_optimizer.errors import GraphCompressionError
from ops.graph_optimizer.inputs import seeds_of
from ops.graph_optimizer.provenance import UserRows
from ops.graphdef.editing import copy_of, rename_nodes
from ops.graphdef.importing import import_graph
from ops.graphdef.reach import downstream, part_of, upstream

FLOPS_PER_LOOKED_UP_BYTE = 10.0
"""FLOPs that take as long as fetching one more byte of a table's row: 220 GFLOP/s against a cache-missing read, a write and a read."""
BLOCK = 8192


@dataclass(frozen=True)
class PrecomputeReport:
    """What partial evaluation does.

    Attributes:
        applied: whether the graph was changed.
        reason: why not, or "".
        tensors: what is looked up now, with the width of each.
        flops_per_item: of one scored item, before and after.
        bytes_per_item: of one row of the item table, before and after.
        table_bytes: of the whole table, before and after.
    """

    applied: bool
    reason: str
    tensors: dict[str, int]
    flops_per_item: tuple[float, float]
    bytes_per_item: tuple[int, int]
    table_bytes: tuple[int, int]

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)


def precompute_items(
    graph_def: tf.compat.v1.GraphDef,
    *,
    item_input: str,
    item_values: np.ndarray,
    outputs: Sequence[str],
    axis: int = 0,
    max_table_bytes: int = 2**30,
    always: bool = False,
) -> tuple[tf.compat.v1.GraphDef, np.ndarray, PrecomputeReport]:
    """Evaluates the items' part of a graph for a corpus.

    Args:
        graph_def: a frozen graph; not modified.
        item_input: placeholder of item rows, float, with the rows on one axis and D features on the last.
        item_values: [N, D], its rows for the corpus.
        outputs: nodes whose first output is wanted.
        axis: where the rows are; axes before it are batches.
        max_table_bytes: leave the graph alone if the new table would be larger.
        always: change the graph even where the cost model sees no gain.

    Returns:
        The graph, whose placeholder ``item_input`` now takes rows of the new table; that table [N, D']; and a report.

    Raises:
        GraphCompressionError: the input does not exist, or has no static width.
    """
    graph = import_graph(graph_def)
    seeds = seeds_of(graph, [item_input], axis)
    [source] = [graph.get_tensor_by_name(name) for name in seeds.provenance]
    if source.shape.rank is None or source.shape[-1] is None or source.shape.rank != axis + 2:
        raise GraphCompressionError(
            f"item input {item_input} has shape {source.shape}; it needs {axis + 2} axes and a static width", node=item_input
        )
    output_ops = [graph.get_operation_by_name(name) for name in outputs]
    ops = upstream(output_ops)
    others = {op.name for op in ops if not op.inputs and op.type not in {"Const", "NoOp"} and op.name != item_input}
    forced = downstream(ops, others) | set(outputs)
    analysis = Analysis(graph, seeds.provenance, output_ops, forced=frozenset(forced))
    found = {
        boundary.tensor.name: boundary.tensor
        for boundary in analysis.boundaries
        if boundary.provenance == UserRows(axis) and boundary.tensor.shape.rank == axis + 2 and boundary.tensor.shape[-1] is not None
    }
    tensors = [source, *(tensor for tensor in found.values() if tensor is not source and tensor.dtype == source.dtype)]
    rows = downstream(ops, {item_input})
    before = graph_cost(ops, on_users=lambda op: False, on_rows=lambda op: op.name in rows).per_item.flops
    saved_ops = [op for op in upstream([tensor.op for tensor in tensors]) if op.name in rows]
    saved = sum(op_cost(op)[0] for op in saved_ops if analysis.accepted(op))
    result, used = _with_lookup(graph_def, item_input, tensors, outputs)
    widths = {tensor.name: int(tensor.shape[-1]) for tensor in used}
    size = source.dtype.size
    old_bytes, new_bytes = int(source.shape[-1]) * size, sum(widths.values()) * size
    count = len(item_values)
    table_bytes = (old_bytes * count, new_bytes * count)
    reason = ""
    if not saved or used == [source]:
        reason = "nothing is computed from items alone"
    elif new_bytes * count > max_table_bytes:
        reason = f"the table would take {new_bytes * count:,} bytes, more than {max_table_bytes:,}"
    elif not always and saved < FLOPS_PER_LOOKED_UP_BYTE * (new_bytes - old_bytes):
        reason = f"{saved:,.0f} FLOPs per item are not worth looking up {new_bytes - old_bytes:,} more bytes"
    if reason:
        kept = PrecomputeReport(False, reason, {}, (before, before), (old_bytes, old_bytes), (table_bytes[0],) * 2)
        return copy_of(graph_def), item_values, kept
    table = _evaluate(graph, source, used, item_values, axis)
    return result, table, PrecomputeReport(True, "", widths, (before, before - saved), (old_bytes, new_bytes), table_bytes)


def _with_lookup(
    graph_def: tf.compat.v1.GraphDef, item_input: str, tensors: Sequence[tf.Tensor], outputs: Sequence[str]
) -> tuple[tf.compat.v1.GraphDef, list[tf.Tensor]]:
    """The graph with one wide item input in place of some tensors, and those of them that it still needs."""
    used = list(tensors)
    renamed = rename_nodes(graph_def, {item_input: f"{item_input}/given"})
    for node in renamed.node:
        node.attr.pop("_output_shapes", None)
    while True:
        with tf.Graph().as_default() as graph:
            shape = [*tensors[0].shape[:-1], sum(int(tensor.shape[-1]) for tensor in used)]
            wide = tf.compat.v1.placeholder(tensors[0].dtype, shape, name=item_input)
            replaced, first = {}, 0
            for tensor in used:
                width = int(tensor.shape[-1])
                name = tensor.name if tensor is not tensors[0] else f"{item_input}/given:0"
                replaced[name] = tf.identity(wide[..., first : first + width], name=f"looked_up/{tensor.op.name}")
                first += width
            tf.import_graph_def(renamed, input_map=replaced, name="")
        result = graph.as_graph_def()
        kept = part_of(
            result, {*outputs, item_input, *(node.name for node in result.node if node.op == "Placeholder" and "/given" not in node.name)}
        )
        names = {node.name for node in kept.node}
        needed = [
            tensor for tensor in used if replaced[tensor.name if tensor is not tensors[0] else f"{item_input}/given:0"].op.name in names
        ]
        if needed == used:
            return kept, used
        used = needed


def _evaluate(graph: tf.Graph, source: tf.Tensor, tensors: Sequence[tf.Tensor], values: np.ndarray, axis: int) -> np.ndarray:
    parts = []
    with tf.compat.v1.Session(graph=graph) as session:
        for first in range(0, len(values), BLOCK):
            rows = values[first : first + BLOCK].astype(source.dtype.as_numpy_dtype)
            found = session.run(list(tensors), {source: rows.reshape((1,) * axis + rows.shape)})
            parts.append(np.concatenate([part.reshape(len(rows), -1) for part in found], axis=1))
    if not parts:
        width = int(sum(elements(tensor, 1) for tensor in tensors))
        return np.zeros((0, width), source.dtype.as_numpy_dtype)
    return np.concatenate(parts)
