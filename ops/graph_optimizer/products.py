"""Cheaper forms where user and item tensors meet in a product.

Rewrites, all exact up to the order of summation:

- a matrix product with a concatenation, ``[u, i] W``, is split into ``u W_u + i W_i``: the first product runs on U rows;
- a product of item rows with a matrix of the user (attention: a query [R, 1, D] with keys [U, L, D]) is taken with the items of a user
  side by side, [U, n, D] x [U, L, D], n being the largest item_size: the user's matrix is read where it lies, not copied to [R, L, D];
  and if the item rows come out of a linear layer, ``(h W + b) K = h (W K) + b K``: the layer is applied to the user's matrix, once per
  user, where that saves FLOPs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from ops.graph_optimizer.analysis import Analysis
from ops.graph_optimizer.expansion import Expander
from ops.graph_optimizer.layers import LinearLayer, linear_layer
from ops.graph_optimizer.provenance import Exact, UserRows
from ops.graph_optimizer.rules import NotProven, axis_of

LETTERS = "abcdefghijklmopqrstuvwxyz"  # without n, the items of a user
UNKNOWN_SIZE = 32  # assumed for comparing two operands only


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


def push_products(analysis: Analysis, expander: Expander, item_ops: set[str], done: set[str]) -> list[Push]:
    """Rewrites every product that can be, in place.

    Args:
        analysis: of the graph as it is.
        expander: for that graph.
        item_ops: names of the ops that depend on item inputs.
        done: names of the ops rewritten before; added to.

    Returns:
        What was rewritten; the graph must be analysed again if there is anything.
    """
    pushes = []
    for op in analysis.ops:
        if op.name in done or analysis.accepted(op) or op.type not in {"MatMul", "BatchMatMulV2", "BatchMatMul", "Einsum", "Sum"}:
            continue
        with op.graph.as_default(), tf.control_dependencies(None), expander.scope():
            result, kind = _split(op, analysis, expander), "split"
            if result is None:
                result, kind = _batched(op, analysis, expander, item_ops), "batched"
        if result is not None:
            replace(op.outputs[0], result)
            done.add(op.name)
            pushes.append(Push(kind, op.name, result))
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


def _batched(op: Any, analysis: Analysis, expander: Expander, item_ops: set[str]) -> tf.Tensor | None:
    found = _as_einsum(op)
    if found is None:
        return None
    operands, labels, result, squeezed, expand_axes = found
    provenances = [analysis.of(tensor) for tensor in operands]
    users = [i for i, provenance in enumerate(provenances) if provenance == UserRows(0)]
    if len(users) != 1 or not isinstance(provenances[1 - users[0]], Exact) or operands[1 - users[0]].op.name not in item_ops:
        return None
    user, item = users[0], 1 - users[0]
    batch = labels[user][0]
    if labels[item][:1] != batch or result[:1] != batch or any(text.count(batch) != 1 for text in (*labels, result)):
        return None
    if _size(operands[user]) <= _size(operands[item]):
        return None
    tensors = [tf.squeeze(tensor, axis=axes) if axes else tensor for tensor, axes in zip(operands, squeezed, strict=True)]
    shift = None
    layer = linear_layer(operands[item]) if isinstance(analysis.of(operands[item]), Exact) else None
    if layer is not None and _gains(layer, labels[user], labels[item], result, operands[user]):
        tensors, labels, shift = _fold(layer, tensors, labels, result, user, item)
    tensors[item] = expander.pad(tensors[item])
    with_items = [f"{batch}n{text[1:]}" if side == item else text for side, text in enumerate(labels)]
    product = tf.einsum(f"{with_items[0]},{with_items[1]}->{batch}n{result[1:]}", *tensors, name=f"{op.name}/batched")
    if shift is not None:
        product += shift
    rows = expander.unpad(product)
    for axis in expand_axes:
        rows = tf.expand_dims(rows, axis)
    rows = tf.ensure_shape(rows, op.outputs[0].shape)
    return tf.identity(rows, name=f"{op.name}/rows")


def _gains(layer: LinearLayer, user: str, item: str, result: str, operand: tf.Tensor) -> bool:
    """Whether ``(h W + b) K = h (W K) + b K`` is possible and takes fewer FLOPs per item: W is then applied to the user's matrix once."""
    inner = item[-1]
    if inner not in user or inner in result or not set(user) - {inner} <= set(result) or "z" in user + item + result:
        return False
    narrow, wide = (int(size) for size in layer.weights.shape)
    places = math.prod(UNKNOWN_SIZE if size is None else size for size in operand.shape[1:]) // max(wide, 1)
    return narrow * wide + places * (wide - narrow) > 0


def _fold(
    layer: LinearLayer, tensors: list[tf.Tensor], labels: list[str], result: str, user: int, item: int
) -> tuple[list[tf.Tensor], list[str], tf.Tensor | None]:
    """The operands and labels with the layer on the user's side, and what its bias adds to the padded product."""
    inner, of_user = labels[item][-1], labels[user]
    folded, labels = list(tensors), list(labels)
    folded[user] = tf.einsum(f"{of_user},z{inner}->{of_user.replace(inner, 'z')}", tensors[user], layer.weights)
    width = int(layer.weights.shape[0])
    folded[item] = tf.reshape(layer.inputs, [-1, *([1] * (len(labels[item]) - 2)), width])
    labels[user], labels[item] = of_user.replace(inner, "z"), labels[item][:-1] + "z"
    if layer.bias is None:
        return folded, labels, None
    kept = "".join(label for label in result if label in of_user)
    shift = tf.expand_dims(tf.einsum(f"{of_user},{inner}->{kept}", tensors[user], layer.bias), 1)  # the items of a user
    for place, label in enumerate(result[1:], start=2):
        if label not in of_user:
            shift = tf.expand_dims(shift, place)
    return folded, labels, shift


def _size(tensor: tf.Tensor) -> int:
    """Elements per row."""
    return math.prod(UNKNOWN_SIZE if size is None else size for size in tensor.shape[1:])


def _as_einsum(op: Any) -> tuple[list[tf.Tensor], list[str], str, list[list[int]], list[int]] | None:
    """A product as operands, their labels, the result's labels, axes of size 1 to drop per operand, and axes to add to the result."""
    if op.type == "Einsum":
        equation = op.get_attr("equation").decode().replace(" ", "")
        if "." in equation or "n" in equation or equation.count(",") != 1:
            return None
        sources, result = equation.split("->")
        return list(op.inputs), sources.split(","), result, [[], []], []
    if op.type == "Sum":
        return _sum_of_products(op)
    x, y = op.inputs
    if x.shape.rank is None or x.shape.rank != y.shape.rank or x.shape.rank < 3:
        return None
    rank = x.shape.rank
    if any(x.shape[i] is None or x.shape[i] != y.shape[i] for i in range(1, rank - 2)):
        return None
    lead = LETTERS[: rank - 2]
    rows, inner, columns = (LETTERS[rank - 2 + i] for i in range(3))
    left = inner + rows if op.get_attr("adj_x") else rows + inner
    right = columns + inner if op.get_attr("adj_y") else inner + columns
    return [x, y], [lead + left, lead + right], lead + rows + columns, [[], []], []


def _sum_of_products(op: Any) -> tuple[list[tf.Tensor], list[str], str, list[list[int]], list[int]] | None:
    """``reduce_sum(a * b, axes)`` with axes of size 1 in one of the operands: the usual way to write attention by hand."""
    product = op.inputs[0].op
    axes = tf.get_static_value(op.inputs[1])
    if product.type != "Mul" or axes is None:
        return None
    x, y = product.inputs
    if x.shape.rank is None or x.shape.rank != y.shape.rank or x.shape.rank < 3:
        return None
    rank = x.shape.rank
    reduced = {int(axis) % rank for axis in axes.reshape(-1)}
    if 0 in reduced:
        return None
    texts: list[str] = [LETTERS[0]] * 2
    squeezed: list[list[int]] = [[], []]
    for axis in range(1, rank):
        sizes = (x.shape[axis], y.shape[axis])
        for side in (0, 1):
            if sizes[side] == 1 and sizes[1 - side] != 1:
                squeezed[side].append(axis)
            else:
                texts[side] += LETTERS[axis]
        if sizes[0] != sizes[1] and 1 not in sizes:
            return None  # one of them may turn out to be 1
        if sizes[0] is None:
            return None
    result = "".join(LETTERS[axis] for axis in range(rank) if axis not in reduced)
    return [x, y], texts, result, squeezed, sorted(reduced) if op.get_attr("keep_dims") else []


def downstream(ops: Iterable[Any], names: set[str]) -> set[str]:
    """Names of the ops that depend on some ops, themselves included."""
    found = set(names)
    changed = True
    listed = list(ops)
    while changed:
        changed = False
        for op in listed:
            if op.name not in found and any(tensor.op.name in found for tensor in op.inputs):
                found.add(op.name)
                changed = True
    return found
