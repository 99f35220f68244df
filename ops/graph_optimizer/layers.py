"""Finding the linear layer that made an operand, so that its weights can go to the other side of a product."""

from __future__ import annotations

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
