"""Turns the item side of a frozen scorer into a program for the native retrieval ops (`ops/cc/tile_program.h` has the language).

What depends on the items becomes instructions, what does not - the user's part and the constants - their parameters, computed by the
graph's own ops once per call. Nothing is matched by name: any graph will do whose item side is made of the operations below, with a row
per item that no operation mixes with another item's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

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


@dataclass(frozen=True)
class LoweredScorer:
    """A scorer as a program.

    Attributes:
        program: its text.
        parameters: function of the user's tensors, in the order given to `lower_scorer`, that returns the program's parameters: a
            `ConcreteFunction` without variables.
    """

    program: str
    parameters: Any


@dataclass(eq=False)
class _Step:
    """An instruction; operands are `_Step`s, `_Parameter`s, or None."""

    op: str
    operands: list[Any]
    numbers: tuple[int, ...] = ()
    per_user: bool = False


@dataclass(frozen=True, eq=False)
class _Parameter:
    kind: str
    tensor: tf.Tensor
    per_user: bool
    source: tf.Tensor | None = None


@dataclass
class _Row:
    """A tensor [B, n, width] (rank 3) or [B, n] (rank 2, width 1) and the step that makes it."""

    step: _Step
    rank: int
    width: int | None


@dataclass
class _Lowering:
    graph: tf.Graph
    users: frozenset[str]
    rows: dict[str, _Row] = field(default_factory=dict)
    shapes: set[str] = field(default_factory=set)
    parameters: dict[tuple[str, str], _Parameter] = field(default_factory=dict)

    def lower(self, op: tf.Operation) -> None:
        name, inputs = op.type, list(op.inputs)
        found = [self.rows.get(tensor.name) for tensor in inputs]
        if name == "Shape" and found[0] is not None:
            self.shapes.add(op.outputs[0].name)
            return
        row = self._alias(op, found) or self._compute(op, found)
        if row is None:
            raise LoweringError(f"the scorer's {name} {op.name} of items has no form in a program; export without it")
        self.rows[op.outputs[0].name] = row

    def _alias(self, op: tf.Operation, found: Sequence[_Row | None]) -> _Row | None:
        row = found[0] if found else None
        if row is None:
            return None
        if op.type in ALIASES:
            return row
        if op.type == "Squeeze" and row.rank == 3 and row.width == 1 and list(op.get_attr("squeeze_dims")) in ([-1], [2]):
            return _Row(row.step, 2, 1)
        if op.type == "ExpandDims" and row.rank == 2 and tf.get_static_value(op.inputs[1]) in (-1, 2):
            return _Row(row.step, 3, 1)
        if op.type == "Reshape" and row.width == 1 and op.inputs[1].name in self.shapes:
            return _Row(row.step, op.outputs[0].shape.rank or 2, 1)
        return None

    def _compute(self, op: tf.Operation, found: Sequence[_Row | None]) -> _Row | None:
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
            return _Row(self._step(UNARY[name], row.step), row.rank, row.width)
        if name == "LeakyRelu":
            slope = tf.constant([[op.get_attr("alpha")]], tf.float32)
            return _Row(self._step("prelu", row.step, self._parameter("vector", slope, per_user=False)), row.rank, row.width)
        if name == "Softmax" and row.rank == 3:
            return _Row(self._step("softmax", row.step), 3, row.width)
        if name in REDUCTIONS and row.rank == 3:
            return self._reduce(op, row)
        if name == "StridedSlice":
            return self._slice(op, row)
        return None

    def _step(self, name: str, *operands: Any, numbers: tuple[int, ...] = ()) -> _Step:
        return _Step(name, list(operands), numbers, any(operand.per_user for operand in operands))

    def _depends_on_user(self, tensor: tf.Tensor) -> bool:
        waiting, seen = [tensor.op], set()
        while waiting:
            op = waiting.pop()
            if op.name in self.users:
                return True
            if op.name not in seen:
                seen.add(op.name)
                waiting.extend(source.op for source in op.inputs)
        return False

    def _parameter(self, kind: str, tensor: tf.Tensor, *, per_user: bool) -> _Parameter:
        return self.parameters.setdefault((kind, tensor.name), _Parameter(kind, tensor, per_user))

    def _vector(self, tensor: tf.Tensor, rank: int) -> _Parameter | None:
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
        self.parameters[key] = _Parameter("vector", flat, self._depends_on_user(tensor), source=tensor)
        return self.parameters[key]

    def _elementwise(self, name: str, op: tf.Operation, found: Sequence[_Row | None]) -> _Row | None:
        rank = next(row.rank for row in found if row is not None)
        if any(row is not None and row.rank != rank for row in found):
            return None
        operands = [row.step if row is not None else self._vector(tensor, rank) for row, tensor in zip(found, op.inputs, strict=True)]
        if any(operand is None for operand in operands):
            return None
        widths = [row.width for row in found if row is not None]
        width = op.outputs[0].shape[-1] if rank == 3 else 1
        return _Row(self._step(name, *operands), rank, width if width is not None else max(widths, key=lambda w: w != 1))

    def _matmul(self, op: tf.Operation, found: Sequence[_Row | None]) -> _Row | None:
        row, matrix = found[0], op.inputs[1]
        if row is None or row.rank != 3 or found[1] is not None or op.get_attr("adj_x") or matrix.shape.rank not in (2, 3):
            return None
        kind = "matrix_t" if op.get_attr("adj_y") else "matrix"
        per_user = self._depends_on_user(matrix)
        stacked = matrix if matrix.shape.rank == 3 else self._stacked(matrix)
        return _Row(self._step("matmul", row.step, self._parameter(kind, stacked, per_user=per_user)), 3, op.outputs[0].shape[-1])

    def _stacked(self, matrix: tf.Tensor) -> tf.Tensor:
        key = ("stacked", matrix.name)
        if key not in self.parameters:
            self.parameters[key] = _Parameter("stacked", matrix[tf.newaxis], False)
        return self.parameters[key].tensor

    def _reduce(self, op: tf.Operation, row: _Row) -> _Row | None:
        if np.ravel(tf.get_static_value(op.inputs[1])).tolist() not in ([-1], [2]):
            return None
        return _Row(self._step(REDUCTIONS[op.type], row.step), 3 if op.get_attr("keep_dims") else 2, 1)

    def _slice(self, op: tf.Operation, row: _Row) -> _Row | None:
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
        return _Row(self._step("slice", row.step, numbers=(first, width)), 3, width)

    def _concat(self, op: tf.Operation, found: Sequence[_Row | None]) -> _Row | None:
        parts = found[:-1]
        if any(part is None or part.rank != 3 for part in parts) or tf.get_static_value(op.inputs[-1]) not in (-1, 2):
            return None
        rows = [part for part in parts if part is not None]
        step = rows[0].step
        for row in rows[1:]:
            step = self._step("concat", step, row.step)
        return _Row(step, 3, op.outputs[0].shape[-1])


def lower_scorer(graph_def: tf.compat.v1.GraphDef, *, users: Sequence[str], items: str, scores: str) -> LoweredScorer:
    """Lowers a scorer.

    Args:
        graph_def: the frozen graph, cut such that ``users`` and ``items`` are placeholders.
        users: names of the nodes of the user's part, each with leading axis B.
        items: name of the node of the items, [B or 1, n, D] float32 with a static D.
        scores: name of the node of the scores, [B, n].

    Raises:
        LoweringError: an operation has no form in a program.
    """
    made: dict[str, Any] = {}

    def build() -> None:
        with tf.name_scope(""):
            tf.import_graph_def(graph_def, name="")
        graph = tf.compat.v1.get_default_graph()
        source = graph.get_operation_by_name(items).outputs[0]
        if source.shape.rank != 3 or source.shape[-1] is None:
            raise LoweringError(f"{items} has shape {source.shape}; a program needs [B, n, D] with a static D")
        lowering = _Lowering(graph, frozenset(users))
        lowering.rows[source.name] = _Row(_Step("items", []), 3, int(source.shape[-1]))
        result = graph.get_operation_by_name(scores).outputs[0]
        for op in _between(source.op, result.op):
            lowering.lower(op)
        if result.name not in lowering.rows or lowering.rows[result.name].rank != 2:
            raise LoweringError(f"{scores} is no [B, n] made of {items}")
        made["program"], tensors = _write(_fused(lowering.rows[result.name].step))
        made["tensors"] = tensors
        made["feeds"] = [graph.get_operation_by_name(name).outputs[0] for name in users]

    imported = tf.compat.v1.wrap_function(build, [])
    return LoweredScorer(program=made["program"], parameters=imported.prune(made["feeds"], made["tensors"]))


def _between(source: tf.Operation, result: tf.Operation) -> list[tf.Operation]:
    """The operations that depend on one and lead to the other, each after its inputs."""
    depends: dict[str, bool] = {source.name: True}
    order: list[tf.Operation] = []

    def visit(op: tf.Operation) -> bool:
        if op.name not in depends:
            depends[op.name] = False
            inputs = [visit(tensor.op) for tensor in op.inputs]  # all of them, for the order
            depends[op.name] = any(inputs)
            if depends[op.name]:
                order.append(op)
        return depends[op.name]

    visit(result)
    return order


def _steps(result: _Step) -> list[_Step]:
    order: list[_Step] = []
    seen: set[int] = set()

    def visit(step: _Step) -> None:
        if id(step) in seen:
            return
        seen.add(id(step))
        for operand in step.operands:
            if isinstance(operand, _Step):
                visit(operand)
        order.append(step)

    visit(result)
    return order


def _fused(result: _Step) -> _Step:
    """Joins what one pass over the numbers can do: PReLU from its parts, and sums and activations with the product before them."""
    for rule in (_join_prelu, _join_sum, _join_activation):
        steps = _steps(result)
        uses = {id(step): 0 for step in steps}
        for step in steps:
            for operand in step.operands:
                if isinstance(operand, _Step):
                    uses[id(operand)] += 1
        replaced: dict[int, _Step] = {}
        for step in steps:
            step.operands = [replaced.get(id(operand), operand) for operand in step.operands]
            new = rule(step, uses)
            if new is not None:
                replaced[id(step)] = new
                uses[id(new)] = uses[id(step)]
        result = replaced.get(id(result), result)
    return result


def _either_way(step: _Step, first: Callable[[Any], bool]) -> tuple[Any, Any] | None:
    """The two operands of a commutative step, the one that fulfils a condition ahead."""
    a, b = step.operands
    return (a, b) if first(a) else (b, a) if first(b) else None


def _join_prelu(step: _Step, uses: dict[int, int]) -> _Step | None:
    """relu(x) + slope * min(x, 0)"""
    if step.op != "add":
        return None
    pair = _either_way(step, lambda s: isinstance(s, _Step) and s.op == "relu")
    if pair is None or not isinstance(pair[1], _Step) or pair[1].op != "mul":
        return None
    scaled = _either_way(pair[1], lambda s: isinstance(s, _Step) and s.op == "min")
    if scaled is None or not isinstance(scaled[1], _Parameter):
        return None
    bounded = _either_way(scaled[0], _is_zero)
    if bounded is None or bounded[1] is not pair[0].operands[0]:
        return None
    return _Step("prelu", [bounded[1], scaled[1]], per_user=step.per_user)


def _is_zero(operand: Any) -> bool:
    value = tf.get_static_value(operand.source) if isinstance(operand, _Parameter) and operand.source is not None else None
    return value is not None and not np.any(value)


def _join_sum(step: _Step, uses: dict[int, int]) -> _Step | None:
    """A product and what is added to it; of two products the user's takes the other in, so that items' products stay their own."""
    if step.op != "add":
        return None

    def plain(operand: Any) -> bool:
        return isinstance(operand, _Step) and operand.op == "matmul" and len(operand.operands) == 2 and uses.get(id(operand)) == 1

    candidates = [(a, b) for a, b in (step.operands, step.operands[::-1]) if plain(a) and (a.per_user or not b.per_user)]
    if not candidates:
        return None
    product, added = max(candidates, key=lambda pair: pair[0].per_user)
    return _Step("matmul", [*product.operands, added], per_user=step.per_user)


def _join_activation(step: _Step, uses: dict[int, int]) -> _Step | None:
    if step.op not in {"relu", "prelu"}:
        return None
    product = step.operands[0]
    if product.op != "matmul" or len(product.operands) > 3 or uses.get(id(product)) != 1:
        return None
    if step.op == "prelu":
        slopes, matrix = step.operands[1], product.operands[1]
        columns = matrix.tensor.shape[1 if matrix.kind == "matrix_t" else 2]
        if not isinstance(slopes, _Parameter) or slopes.tensor.shape[1] != columns or (slopes.per_user and not product.per_user):
            return None
    added = product.operands[2] if len(product.operands) == 3 else None
    return _Step("matmul", [*product.operands[:2], added, "relu" if step.op == "relu" else step.operands[1]], per_user=step.per_user)


def _write(result: _Step) -> tuple[str, list[tf.Tensor]]:
    """The text, and the tensors of its parameters."""
    steps = [step for step in _steps(result) if step.op != "items"]
    numbers = {id(step): number for number, step in enumerate(steps, start=1)}
    parameters: list[_Parameter] = []

    def name(operand: Any) -> str:
        if operand is None or isinstance(operand, str):
            return operand or "-"
        if isinstance(operand, _Parameter):
            if operand not in parameters:
                parameters.append(operand)
            return f"p{parameters.index(operand)}"
        return f"r{numbers.get(id(operand), 0)}"

    lines = []
    for step in steps:
        operands = [*step.operands, None, None][:4] if step.op == "matmul" else step.operands
        lines.append(" ".join([step.op, name(step), *map(name, operands), *map(str, step.numbers)]))
    header = [f"param {parameter.kind}" for parameter in parameters]
    return "\n".join([*header, *lines, f"result {name(result)}"]) + "\n", [parameter.tensor for parameter in parameters]
