"""Finding the linear layers before and behind a product, so that their weights can go to its other side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class LinearLayer:
    """``inputs W + bias``.

    Attributes:
        inputs: [R, k_in].
        weights: [k_in, k_out].
        bias: [k_out] or None.
    """

    inputs: tf.Tensor
    weights: tf.Tensor
    bias: tf.Tensor | None


@dataclass(frozen=True)
class LayerBehind:
    """``tensor part() + others()``, the value of a matrix product that reads a tensor, alone or in a concatenation.

    Attributes:
        op: the matrix product.
        weights: all its weights.
        size: of the tensor's last axis.
        width: of the result's.
        part: makes the weights of the tensor, [size, width].
        others: makes the product of what else is in the concatenation with its weights; None if there is nothing else.
    """

    op: Any
    weights: tf.Tensor
    size: int
    width: int
    part: Callable[[], tf.Tensor]
    others: Callable[[], tf.Tensor] | None


def linear_layer(operand: tf.Tensor) -> LinearLayer | None:
    """The layer whose rows an operand [R, 1, ..., 1, k_out] holds, or None."""
    shape = operand.shape
    if shape.rank is None or shape.rank < 2 or shape[-1] is None or any(size != 1 for size in shape[1:-1]):
        return None
    tensor = operand
    while tensor.shape.rank != 2 or tensor.op.type == "Identity":
        if not _only_adds_axes(tensor.op) or tensor.op.inputs[0].shape[-1:] != shape[-1:]:
            return None
        tensor = tensor.op.inputs[0]
    bias = None
    if tensor.op.type in {"BiasAdd", "Add", "AddV2"}:
        left, right = tensor.op.inputs
        if right.shape.rank != 1 or right.shape[0] != shape[-1] or left.shape.rank != 2:
            return None
        tensor, bias = left, right
    product = tensor.op
    if product.type != "MatMul" or product.get_attr("transpose_a") or product.get_attr("transpose_b"):
        return None
    inputs, weights = product.inputs
    if weights.shape.rank != 2 or None in weights.shape.as_list():
        return None
    return LinearLayer(inputs, weights, bias)


def _only_adds_axes(op: Any) -> bool:
    if op.type in {"Identity", "ExpandDims"}:
        return True
    if op.type == "Reshape":
        wanted = tf.get_static_value(op.inputs[1])
        return wanted is not None and wanted[0] == -1
    if op.type != "StridedSlice":
        return False
    strides = tf.get_static_value(op.inputs[3])
    whole = op.get_attr("begin_mask") & op.get_attr("end_mask") | op.get_attr("new_axis_mask") | op.get_attr("ellipsis_mask")
    return strides is not None and bool(np.all(strides == 1)) and not op.get_attr("shrink_axis_mask") and whole == 2 ** len(strides) - 1


def layer_behind(tensor: tf.Tensor) -> LayerBehind | None:
    """The matrix product that is the only reader of a tensor [R, 1, ..., size], or None."""
    op = _only_reader(tensor)
    while op is not None and op.type in {"Identity", "Squeeze", "Reshape"}:
        if op.outputs[0].shape.rank is None or op.outputs[0].shape[-1] is None or op.outputs[0].shape[-1] != tensor.shape[-1]:
            return None
        tensor, op = op.outputs[0], _only_reader(op.outputs[0])
    if tensor.shape.rank != 2 or tensor.shape[1] is None or op is None:
        return None
    parts, place, size = [tensor], 0, int(tensor.shape[1])
    if op.type == "ConcatV2":
        parts = list(op.inputs)[:-1]
        place = next(i for i, part in enumerate(parts) if part is tensor)
        axis = tf.get_static_value(op.inputs[-1])
        if axis is None or int(axis) not in (1, -1) or any(part.shape.rank != 2 or part.shape[1] is None for part in parts):
            return None
        joined = op.outputs[0]
        op = _only_reader(joined)
        while op is not None and op.type == "Identity":
            joined, op = op.outputs[0], _only_reader(op.outputs[0])
    else:
        joined = tensor
    if op is None or op.type != "MatMul" or op.get_attr("transpose_a") or op.inputs[0] is not joined:
        return None
    weights, transposed = op.inputs[1], op.get_attr("transpose_b")
    widths = [int(part.shape[1]) for part in parts]
    if weights.shape.rank != 2 or None in weights.shape.as_list() or weights.shape[1 if transposed else 0] != sum(widths):
        return None
    first = sum(widths[:place])
    rest = parts[:place] + parts[place + 1 :]

    def others() -> tf.Tensor:
        along = 1 if transposed else 0
        with op.graph.name_scope(None), tf.name_scope(f"{op.name}/others/"):  # there may be user rows in it: to be analysed as any op
            pieces = tf.split(weights, widths, axis=along)
            left = pieces[:place] + pieces[place + 1 :]
            if len(rest) == 1:
                return tf.matmul(rest[0], left[0], transpose_b=transposed)
            return tf.matmul(tf.concat(rest, axis=1), tf.concat(left, axis=along), transpose_b=transposed)

    def part() -> tf.Tensor:
        return tf.transpose(weights[:, first : first + size]) if transposed else weights[first : first + size]

    return LayerBehind(op, weights, size, int(op.outputs[0].shape[1]), part, others if rest else None)


def _only_reader(tensor: tf.Tensor) -> Any:
    readers = tensor.consumers()
    return readers[0] if len(readers) == 1 else None
