"""Turns the ops of a graph that depend on items into steps of a program, one op after the other.

What does not depend on items - the user's part and the constants - becomes parameters, computed by the graph's own ops once per call.
Nothing is matched by name: any graph will do whose item side is made of the operations below, with a row per item that no operation mixes
with another item's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from ops.tile_programs.program import Instruction, Parameter

UNARY = {
    "Relu": "relu",
    "Exp": "exp",
    "Log": "log",
    "Log1p": "log1p",
    "Softplus": "softplus",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Sqrt": "sqrt",
    "Rsqrt": "rsqrt",
    "Neg": "neg",
    "Square": "square",
    "IsFinite": "isfinite",
}
BINARY = {
    "Add": "add",
    "AddV2": "add",
    "BiasAdd": "add",
    "Sub": "sub",
    "Mul": "mul",
    "RealDiv": "div",
    "Maximum": "max",
    "Minimum": "min",
}
REDUCTIONS = {"Max": "reduce_max", "Sum": "reduce_sum"}
ALIASES = {"Identity", "StopGradient", "PreventGradient", "Snapshot"}


class LoweringError(ValueError):
    """The scorer has an operation the program has no form of; the message names it."""


@dataclass
class Row:
    """A tensor [B, n, width] (rank 3) or [B, n] (rank 2, width 1) and the step that makes it."""

    step: Instruction
    rank: int
    width: int | None


@dataclass
class Lowering:
    """The state of lowering one graph.

    Attributes:
        of_users: names of the ops that depend on the user's part.
        rows: what depends on items, by tensor name: to begin with the items themselves.
        shapes: names of tensors that hold the shape of such rows.
        parameters: what the steps read beside rows, by kind and tensor name.
    """

    of_users: set[str]
    rows: dict[str, Row] = field(default_factory=dict)
    shapes: set[str] = field(default_factory=set)
    parameters: dict[tuple[str, str], Parameter] = field(default_factory=dict)

    def lower(self, op: tf.Operation) -> None:
        """Adds the rows that an op makes of rows; ops that depend on items come in the order of their dependence.

        Raises:
            LoweringError: it has no form in a program.
        """
        name, inputs = op.type, list(op.inputs)
        found = [self.rows.get(tensor.name) for tensor in inputs]
        if name == "Shape" and found[0] is not None:
            self.shapes.add(op.outputs[0].name)
            return
        row = self._alias(op, found) or self._compute(op, found)
        if row is None:
            raise LoweringError(f"the scorer's {name} {op.name} of items has no form in a program; export without it")
        self.rows[op.outputs[0].name] = row

    def _alias(self, op: tf.Operation, found: Sequence[Row | None]) -> Row | None:
        row = found[0] if found else None
        if row is None:
            return None
        if op.type in ALIASES:
            return row
        if op.type == "Squeeze" and row.rank == 3 and row.width == 1 and list(op.get_attr("squeeze_dims")) in ([-1], [2]):
            return Row(row.step, 2, 1)
        if op.type == "ExpandDims" and row.rank == 2 and tf.get_static_value(op.inputs[1]) in (-1, 2):
            return Row(row.step, 3, 1)
        if op.type == "Reshape" and row.width == 1 and op.inputs[1].name in self.shapes:
            return Row(row.step, op.outputs[0].shape.rank or 2, 1)
        return None

    def _compute(self, op: tf.Operation, found: Sequence[Row | None]) -> Row | None:
        row, name = found[0], op.type
        if name in {"BatchMatMulV2", "BatchMatMul", "BatchMatMulV3"}:
            return self._matmul(op, found)
        if name in BINARY:
            return self._elementwise(BINARY[name], op, found)
        if name in {"SelectV2", "Select"}:
            return self._elementwise("select", op, found)
        if name == "ConcatV2":
            return self._concat(op, found)
        if row is None:
            return None
        if name in UNARY:
            return Row(self._step(UNARY[name], row.step), row.rank, row.width)
        if name == "LeakyRelu":
            slope = tf.constant([[op.get_attr("alpha")]], tf.float32)
            return Row(self._step("prelu", row.step, self._parameter("vector", slope, per_user=False)), row.rank, row.width)
        if name == "Softmax" and row.rank == 3:
            return Row(self._step("softmax", row.step), 3, row.width)
        if name in REDUCTIONS and row.rank == 3:
            return self._reduce(op, row)
        if name == "StridedSlice":
            return self._slice(op, row)
        return None

    def _step(self, name: str, *operands: Any, numbers: tuple[int, ...] = ()) -> Instruction:
        return Instruction(name, list(operands), numbers, any(operand.per_user for operand in operands))

    def _depends_on_user(self, tensor: tf.Tensor) -> bool:
        return tensor.op.name in self.of_users

    def _parameter(self, kind: str, tensor: tf.Tensor, *, per_user: bool) -> Parameter:
        return self.parameters.setdefault((kind, tensor.name), Parameter(kind, tensor, per_user))

    def _vector(self, tensor: tf.Tensor, rank: int) -> Parameter | None:
        """A tensor that does not depend on items as [R, w], beside rows of a rank."""
        key = ("vector", f"{tensor.name} as rank {rank}")
        if key in self.parameters:
            return self.parameters[key]
        shape = tensor.shape
        if shape.rank is None or tensor.dtype != tf.float32:
            return None
        if shape.rank == 0 or all(size == 1 for size in shape):
            flat = tf.reshape(tensor, [1, 1])
        elif shape.rank == 1 and rank == 3:
            flat = tensor[tf.newaxis]
        elif shape.rank == rank and (rank == 2 and shape[1] == 1):
            flat = tensor
        elif shape.rank == rank == 3 and shape[1] == 1:
            flat = tf.squeeze(tensor, axis=1)
        else:
            return None
        self.parameters[key] = Parameter("vector", flat, self._depends_on_user(tensor), source=tensor)
        return self.parameters[key]

    def _elementwise(self, name: str, op: tf.Operation, found: Sequence[Row | None]) -> Row | None:
        rank = next(row.rank for row in found if row is not None)
        if any(row is not None and row.rank != rank for row in found):
            return None
        operands = [row.step if row is not None else self._vector(tensor, rank) for row, tensor in zip(found, op.inputs, strict=True)]
        if any(operand is None for operand in operands):
            return None
        widths = [row.width for row in found if row is not None]
        width = op.outputs[0].shape[-1] if rank == 3 else 1
        return Row(self._step(name, *operands), rank, width if width is not None else max(widths, key=lambda w: w != 1))

    def _matmul(self, op: tf.Operation, found: Sequence[Row | None]) -> Row | None:
        row, matrix = found[0], op.inputs[1]
        if row is None or row.rank != 3 or found[1] is not None or op.get_attr("adj_x") or matrix.shape.rank not in (2, 3):
            return None
        kind = "matrix_t" if op.get_attr("adj_y") else "matrix"
        per_user = self._depends_on_user(matrix)
        stacked = matrix if matrix.shape.rank == 3 else self._stacked(matrix)
        return Row(self._step("matmul", row.step, self._parameter(kind, stacked, per_user=per_user)), 3, op.outputs[0].shape[-1])

    def _stacked(self, matrix: tf.Tensor) -> tf.Tensor:
        key = ("stacked", matrix.name)
        if key not in self.parameters:
            self.parameters[key] = Parameter("stacked", matrix[tf.newaxis], False)
        return self.parameters[key].tensor

    def _reduce(self, op: tf.Operation, row: Row) -> Row | None:
        if np.ravel(tf.get_static_value(op.inputs[1])).tolist() not in ([-1], [2]):
            return None
        return Row(self._step(REDUCTIONS[op.type], row.step), 3 if op.get_attr("keep_dims") else 2, 1)

    def _slice(self, op: tf.Operation, row: Row) -> Row | None:
        bounds = [tf.get_static_value(tensor) for tensor in op.inputs[1:]]
        if row.width is None or row.rank != 3 or any(bound is None for bound in bounds):
            return None
        masks = {name: op.get_attr(name) for name in ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")}
        columns = np.arange(2 * 3 * row.width).reshape(2, 3, row.width)
        with tf.init_scope():
            taken = tf.raw_ops.StridedSlice(input=columns, begin=bounds[0], end=bounds[1], strides=bounds[2], **masks).numpy()
        if taken.ndim != 3 or not taken.size:
            return None
        first, width = int(taken[0, 0, 0]), taken.shape[2]
        if first + width > row.width or not np.array_equal(taken, columns[:, :, first : first + width]):
            return None
        return Row(self._step("slice", row.step, numbers=(first, width)), 3, width)

    def _concat(self, op: tf.Operation, found: Sequence[Row | None]) -> Row | None:
        parts = found[:-1]
        if any(part is None or part.rank != 3 for part in parts) or tf.get_static_value(op.inputs[-1]) not in (-1, 2):
            return None
        rows = [part for part in parts if part is not None]
        step = rows[0].step
        for row in rows[1:]:
            step = self._step("concat", step, row.step)
        return Row(step, 3, op.outputs[0].shape[-1])
