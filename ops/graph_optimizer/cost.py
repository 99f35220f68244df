"""What a graph computes and moves, per user, per item row and once per call.

A cost model, not a measurement: products count two FLOPs per multiplication, everything else one per element written; bytes are those
read and written by each op. Sizes that are not known statically count as 1 on the batch axis and as `unknown_size` elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

FREE = {
    "Const", "Placeholder", "PlaceholderWithDefault", "Identity", "NoOp", "Reshape", "Shape", "ExpandDims", "Squeeze", "StopGradient",
    "VarHandleOp", "ReadVariableOp", "Assert", "Enter", "Exit", "Switch", "Merge", "NextIteration", "LoopCond", "Rank", "Size",
}  # fmt: skip
NOT_RUN = {"Const", "Placeholder", "NoOp", "VarHandleOp"}
MOVING = {
    "Gather",
    "GatherV2",
    "ResourceGather",
    "ConcatV2",
    "Slice",
    "StridedSlice",
    "Transpose",
    "Tile",
    "Pack",
    "Unpack",
    "Split",
    "ScatterNd",
}


@dataclass
class Cost:
    """FLOPs and bytes."""

    flops: float = 0.0
    bytes: float = 0.0

    def add(self, flops: float, moved: float) -> None:
        """Adds to both."""
        self.flops += flops
        self.bytes += moved


@dataclass
class GraphCost:
    """The cost of a graph by how often its ops run.

    Attributes:
        per_user: of ops that run on U rows.
        per_item: of ops that run on R rows.
        fixed: of ops that run once per call; what depends on constants alone is folded by the runtime and costs nothing.
        ops: how many ops run per call.
    """

    per_user: Cost = field(default_factory=Cost)
    per_item: Cost = field(default_factory=Cost)
    fixed: Cost = field(default_factory=Cost)
    ops: int = 0

    def flops(self, users: float, rows: float) -> float:
        """FLOPs of a call with U users and R item rows."""
        return self.per_user.flops * users + self.per_item.flops * rows + self.fixed.flops

    def bytes(self, users: float, rows: float) -> float:
        """Bytes moved by such a call."""
        return self.per_user.bytes * users + self.per_item.bytes * rows + self.fixed.bytes

    def as_dict(self) -> dict[str, Any]:
        """For a report."""
        parts = (("per_user", self.per_user), ("per_item", self.per_item), ("fixed", self.fixed))
        return {**{name: vars(cost) for name, cost in parts}, "ops": self.ops}


def elements(tensor: tf.Tensor, unknown_size: int) -> float:
    """Elements of a tensor for one row of the batch."""
    if tensor.shape.rank is None:
        return 1.0
    sizes = [(1 if i == 0 else unknown_size) if size is None else size for i, size in enumerate(tensor.shape)]
    return float(math.prod(sizes))


def op_cost(op: Any, unknown_size: int = 1, shared: Collection[str] = ()) -> tuple[float, float]:
    """FLOPs and bytes of an op for one row of the batch; inputs named in `shared` are read once for all rows and not counted."""
    if op.type in FREE:
        return 0.0, 0.0
    written = sum(elements(tensor, unknown_size) * _bytes(tensor) for tensor in op.outputs)
    size = elements(op.outputs[0], unknown_size) if op.outputs else 0.0
    if op.type in {"Gather", "GatherV2", "ResourceGather"}:
        # from a table of constants every row is a cache miss
        return 0.0, (4 if op.inputs[0].name in shared else 2) * written
    read = sum(elements(tensor, unknown_size) * _bytes(tensor) for tensor in op.inputs if tensor.name not in shared)
    if op.type in MOVING:
        return 0.0, written + read
    if op.type == "MatMul":
        inner = op.inputs[0].shape[0 if op.get_attr("transpose_a") else 1] if op.inputs[0].shape.rank else 1
        return 2 * size * (inner or unknown_size), written + read
    if op.type.startswith("BatchMatMul"):
        inner = op.inputs[0].shape[-2 if op.get_attr("adj_x") else -1] if op.inputs[0].shape.rank else 1
        return 2 * size * (inner or unknown_size), written + read
    if op.type == "Einsum":
        return _einsum(op, unknown_size), written + read
    if op.type in {"Softmax", "LogSoftmax", "FusedBatchNormV3"}:
        return 5 * size, written + read
    if op.type in {"Sum", "Mean", "Max", "Min", "Prod"}:
        return elements(op.inputs[0], unknown_size), written + read
    return size, written + read


def _bytes(tensor: tf.Tensor) -> int:
    return tensor.dtype.size or 8 if tensor.dtype not in (tf.variant, tf.resource, tf.string) else 8


def _einsum(op: Any, unknown_size: int) -> float:
    sources, _ = op.get_attr("equation").decode().replace(" ", "").split("->")
    sizes: dict[str, int] = {}
    for tensor, text in zip(op.inputs, sources.split(","), strict=True):
        if tensor.shape.rank != len(text):
            return 2 * elements(op.outputs[0], unknown_size)
        for i, label in enumerate(text):
            known = tensor.shape[i]
            sizes[label] = max(sizes.get(label, 1), known if known is not None else 1 if i == 0 or label == "n" else unknown_size)
    return 2.0 * math.prod(sizes.values())


def graph_cost(ops: Iterable[Any], *, on_users: Callable[[Any], bool], on_rows: Callable[[Any], bool], unknown_size: int = 1) -> GraphCost:
    """Sums op costs by how often each op runs.

    Args:
        ops: the ops.
        on_users: the op runs on U rows.
        on_rows: the op runs on R rows; what is neither runs once.
        unknown_size: assumed size of an axis that is not known statically and is not the batch.
    """
    cost = GraphCost()
    constant: set[str] = set()
    for op in ops:
        if op.type == "Const" or (op.inputs and all(tensor.op.name in constant for tensor in op.inputs) and not on_rows(op)):
            constant.add(op.name)
            continue
        part = cost.per_user if on_users(op) else cost.per_item if on_rows(op) else cost.fixed
        shared = {tensor.name for tensor in op.inputs if not (on_users(tensor.op) or on_rows(tensor.op))}
        part.add(*op_cost(op, unknown_size, shared))
        cost.ops += op.type not in NOT_RUN
    return cost
