"""Products read as einsums: operands, a label per axis, and the axes of size 1 that an einsum does without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

LETTERS = "abcdefghijklmopqrstuvwxy"  # without n, the items of a user, and z, the other side of a linear layer


@dataclass(frozen=True)
class Product:
    """A product of two tensors.

    Attributes:
        operands: the two.
        labels: of each operand's axes, without those that are dropped; the batch first.
        result: of the result's axes, without those that are added.
        dropped: axes of size 1 to drop per operand.
        added: axes of size 1 to add to the result.
    """

    operands: tuple[tf.Tensor, tf.Tensor]
    labels: tuple[str, str]
    result: str
    dropped: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    added: tuple[int, ...] = ()


def product_of(op: Any) -> Product | None:
    """An op as a product of two tensors with a batch axis, or None."""
    if op.type == "Einsum":
        equation = op.get_attr("equation").decode().replace(" ", "")
        if any(letter in equation for letter in ".nz") or equation.count(",") != 1:
            return None
        sources, result = equation.split("->")
        left, right = sources.split(",")
        return Product(tuple(op.inputs), (left, right), result)
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
    return Product((x, y), (lead + left, lead + right), lead + rows + columns)


def _sum_of_products(op: Any) -> Product | None:
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
    dropped: list[list[int]] = [[], []]
    for axis in range(1, rank):
        sizes = (x.shape[axis], y.shape[axis])
        for side in (0, 1):
            if sizes[side] == 1 and sizes[1 - side] != 1:
                dropped[side].append(axis)
            else:
                texts[side] += LETTERS[axis]
        if sizes[0] != sizes[1] and 1 not in sizes:
            return None  # one of them may turn out to be 1
        if sizes[0] is None:
            return None
    result = "".join(LETTERS[axis] for axis in range(rank) if axis not in reduced)
    added = tuple(sorted(reduced)) if op.get_attr("keep_dims") else ()
    return Product((x, y), (texts[0], texts[1]), result, (tuple(dropped[0]), tuple(dropped[1])), added)
