"""Cheaper forms where user and item tensors meet in a product.

Rewrites, all exact up to the order of summation:

- a matrix product with a concatenation, ``[u, i] W``, is split into ``u W_u + i W_i``: the first product runs on U rows;
- a product of item rows with a matrix of the user (attention: a query [R, 1, D] with keys [U, L, D]) is taken with the items of a user
  side by side, [U, n, D] x [U, L, D], n being the largest item_size: the user's matrix is read where it lies, not copied to [R, L, D];
  linear layers before and behind it are applied to the user's matrix, once per user, where that saves FLOPs (`folds`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from ops.graph_optimizer.analysis import Analysis
from ops.graph_optimizer.einsums import product_of
from ops.graph_optimizer.expansion import Expander
from ops.graph_optimizer.folds import UserProduct, size_per_row
from ops.graph_optimizer.layers import layer_behind, linear_layer
from ops.graph_optimizer.provenance import Exact, UserRows
from ops.graph_optimizer.rules import NotProven, axis_of


@dataclass(frozen=True)
class Push:
    """One product taken apart.

    Attributes:
        kind: "split" or "batched".
        node: the op that was replaced.
        result: what replaces its result.
    """

    kind: str
    node: str
    result: tf.Tensor


def push_products(analysis: Analysis, expander: Expander, item_ops: set[str], done: set[str], items_per_user: float) -> list[Push]:
    """Rewrites every product that can be, in place.

    Args:
        analysis: of the graph as it is.
        expander: for that graph.
        item_ops: names of the ops that depend on item inputs.
        done: names of the ops rewritten before; added to.
        items_per_user: the fewest that are expected, on average.

    Returns:
        What was rewritten; the graph must be analysed again if there is anything.
    """
    pushes = []
    for op in analysis.ops:
        if op.name in done or analysis.accepted(op) or op.type not in {"MatMul", "BatchMatMulV2", "BatchMatMul", "Einsum", "Sum"}:
            continue
        with op.graph.as_default(), tf.control_dependencies(None), expander.scope():
            result, kind = _split(op, analysis, expander), "split"
            replaced = op
            if result is None:
                found, kind = _batched(op, analysis, expander, item_ops, items_per_user), "batched"
                replaced, result = found if found is not None else (op, None)
        if result is not None:
            replace(replaced.outputs[0], result)
            done |= {op.name, replaced.name}
            pushes.append(Push(kind, replaced.name, result))
    return pushes


def replace(old: tf.Tensor, new: tf.Tensor) -> None:
    """Makes every consumer of a tensor read another one."""
    for consumer in list(old.consumers()):
        if consumer is new.op:
            continue
        for index, tensor in enumerate(list(consumer.inputs)):
            if tensor is old:
                consumer._update_input(index, new)


def _split(op: Any, analysis: Analysis, expander: Expander) -> tf.Tensor | None:
    if (op.type == "MatMul" and op.get_attr("transpose_a")) or (op.type.startswith("Batch") and op.get_attr("adj_x")):
        return None
    if op.type not in {"MatMul", "BatchMatMulV2", "BatchMatMul"} or op.inputs[1].shape.rank != 2:
        return None
    concat = op.inputs[0].op
    while concat.type == "Identity":
        concat = concat.inputs[0].op
    weights = op.inputs[1]
    if concat.type != "ConcatV2" or not isinstance(analysis.of(weights), Exact):
        return None
    rank = concat.outputs[0].shape.rank
    parts = list(concat.inputs)[:-1]
    try:
        along_last = rank is not None and axis_of(concat.inputs[-1], rank) == rank - 1
    except NotProven:
        return None
    transposed = op.get_attr("transpose_b" if op.type == "MatMul" else "adj_y")
    widths = _widths(parts, weights.shape[1 if transposed else 0])
    provenances = [analysis.of(part) for part in parts]
    users = [isinstance(provenance, UserRows) for provenance in provenances]
    if not along_last or widths is None or not any(users) or all(users) or len({p for p in provenances if isinstance(p, UserRows)}) != 1:
        return None
    if not all(isinstance(provenance, (UserRows, Exact)) for provenance in provenances):
        return None
    first = [sum(widths[:i]) for i in range(len(widths))]

    def product(chosen: list[int], name: str) -> tf.Tensor:
        rows = [weights[:, first[i] : first[i] + widths[i]] if transposed else weights[first[i] : first[i] + widths[i]] for i in chosen]
        joined = tf.concat(rows, axis=1 if transposed else 0) if len(rows) > 1 else rows[0]
        left = tf.concat([parts[i] for i in chosen], axis=-1) if len(chosen) > 1 else parts[chosen[0]]
        return tf.matmul(left, joined, transpose_b=transposed, name=name)

    by_user = product([i for i, user in enumerate(users) if user], f"{op.name}/user_part")
    by_item = product([i for i, user in enumerate(users) if not user], f"{op.name}/item_part")
    rows = next(provenance for provenance in provenances if isinstance(provenance, UserRows))
    return tf.add(by_item, expander.expand(by_user, rows), name=f"{op.name}/sum")


def _widths(parts: list[tf.Tensor], total: int | None) -> list[int] | None:
    """Sizes of concatenated parts on the last axis; one that is not known is what the others leave of the total."""
    known = [int(part.shape[-1]) if part.shape.rank and part.shape[-1] is not None else -1 for part in parts]
    if known.count(-1) > 1 or (-1 in known and total is None):
        return None
    return [int(total or 0) - sum(size for size in known if size != -1) if size == -1 else size for size in known]


def _batched(op: Any, analysis: Analysis, expander: Expander, item_ops: set[str], items_per_user: float) -> tuple[Any, tf.Tensor] | None:
    """The op whose result is replaced - the product, or a linear layer behind it - and what replaces it; None where nothing is gained."""
    found = product_of(op)
    if found is None:
        return None
    users = [i for i, tensor in enumerate(found.operands) if analysis.of(tensor) == UserRows(0)]
    if len(users) != 1:
        return None
    user, item = users[0], 1 - users[0]
    of_item = found.operands[item]
    if not isinstance(analysis.of(of_item), Exact) or of_item.op.name not in item_ops:
        return None
    batch = found.labels[user][0]
    if (
        found.labels[item][:1] != batch
        or found.result[:1] != batch
        or any(text.count(batch) != 1 for text in (*found.labels, found.result))
    ):
        return None
    if size_per_row(found.operands[user]) <= size_per_row(of_item):
        return None
    product = UserProduct.of(found, user)
    before = linear_layer(of_item)
    if before is not None and product.gains_before(before, items_per_user):
        product = product.fold_before(before)
    behind = layer_behind(op.outputs[0])
    if behind is None or not isinstance(analysis.of(behind.weights), Exact) or not product.gains_behind(behind, items_per_user):
        rows = product.rows(expander, f"{op.name}/batched")
        for axis in found.added:
            rows = tf.expand_dims(rows, axis)
        return op, tf.identity(tf.ensure_shape(rows, op.outputs[0].shape), name=f"{op.name}/rows")
    rows = tf.reshape(product.fold_behind(behind.part()).rows(expander, f"{op.name}/batched"), [-1, behind.width])
    return behind.op, rows if behind.others is None else tf.add(behind.others(), rows, name=f"{behind.op.name}/sum")
