"""The provenance of every tensor of a graph, found by the rules, and from it the places where an expansion is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from ops.graph_optimizer.provenance import EXACT, Dims, Exact, Listed, Provenance, RaggedSplits, UniquePositions, UniqueRows, join
from ops.graph_optimizer.rules import RULES, MixesUsers, NotProven
from ops.graphdef.names import node_of
from ops.graphdef.reach import upstream

MAKES_LISTS = {"TensorListReserve", "EmptyTensorList", "TensorArrayV3"}
# Ops whose rules know what to make of a count of users among their inputs; all others get the original count.
COUNT_AWARE = {
    "Reshape", "Slice", "StridedSlice", "Tile", "Fill", "BroadcastTo", "Pack", "Unpack", "ConcatV2", "Concat", "Cast", "Mul", "Prod",
    "Gather", "GatherV2", "ExpandDims", "Squeeze", "Shape", "ShapeN", "Size", "Rank", "Identity", "StopGradient", "PreventGradient",
    "Snapshot", "Enter", "Exit", "NextIteration", "Switch", "While", "StatelessWhile", "If", "StatelessIf", "PartitionedCall",
    "StatefulPartitionedCall", "SparseReshape", "SparseFillEmptyRows", "SparseToDense", "SparseTensorDenseMatMul", "UnsortedSegmentSum",
    "UnsortedSegmentMax", "UnsortedSegmentMin", "UnsortedSegmentProd", "SegmentSumV2", "SegmentMaxV2", "SegmentMinV2",
}  # fmt: skip
MAX_PASSES = 100
SCOPE = "sample_aware_compression"


@dataclass(frozen=True, eq=False)
class Boundary:
    """An input of an op that gets the expansion of a deferred tensor."""

    op: Any
    input_index: int
    tensor: tf.Tensor
    provenance: Provenance


@dataclass(frozen=True, eq=False)
class Refusal:
    """An op whose deferred inputs can be expanded, but which depends on how often users are repeated, or has no rule."""

    op: Any
    reason: str


class Analysis:
    """Provenance of a graph's tensors.

    Args:
        graph: any graph; loops of version 1 and functions included.
        seeds: provenance of the user inputs by tensor name.
        outputs: ops whose values are wanted; what they do not depend on is left out.
        forced: names of ops that must compute their original value, so their deferred inputs are expanded.

    Attributes:
        ops: the ops in question, inputs before users of them but for the back edges of loops.
        boundaries: where expansions are needed.
        refusals: ops that need one and are not to be trusted with it.
    """

    def __init__(
        self, graph: tf.Graph, seeds: Mapping[str, Provenance], outputs: Sequence[Any], *, forced: frozenset[str] = frozenset()
    ) -> None:
        self._graph, self._seeds = graph, dict(seeds)
        self.ops = upstream(outputs)
        self._frames = _frames_of(self.ops)
        blocked = set(forced)
        while True:
            self._run(blocked)
            more = self._to_block() - blocked
            if not more:
                break
            blocked |= more

    def of(self, tensor: tf.Tensor) -> Provenance:
        """The provenance of a tensor."""
        return self._state.get(tensor.name, EXACT)

    def accepted(self, op: Any) -> bool:
        """The op runs on its deferred inputs as they are."""
        return op.name in self._accepted

    def _run(self, blocked: set[str]) -> None:
        self._state: dict[str, Provenance] = {}
        for _ in range(MAX_PASSES):
            before = dict(self._state)
            self._accepted: set[str] = set()
            self.refusals: list[Refusal] = []
            for op in self.ops:
                self._visit(op, blocked)
            if self._state == before:
                break
        else:
            raise RuntimeError(f"provenance did not settle in {MAX_PASSES} passes over {len(self.ops)} ops")
        self.boundaries = [
            Boundary(op, i, tensor, self._state[tensor.name])
            for op in self.ops
            if op.name not in self._accepted
            for i, tensor in enumerate(op.inputs)
            if needs_expansion(self.of(tensor))
        ]

    def _visit(self, op: Any, blocked: set[str]) -> None:
        if any(tensor.name in self._seeds for tensor in op.outputs):
            for tensor in op.outputs:
                self._state[tensor.name] = self._seeds.get(tensor.name, EXACT)
            return
        if op.name.startswith(f"{SCOPE}/"):  # built by the rewriting itself: right by construction
            self._accepted.add(op.name)
            self._state.update((tensor.name, EXACT) for tensor in op.outputs)
            return
        if op.type == "Merge":
            self._merge(op)
            return
        inputs = [self._state.get(tensor.name, EXACT) for tensor in op.inputs]
        outputs: Sequence[Provenance] = [EXACT] * len(op.outputs)
        deferred = any(not isinstance(provenance, Exact) for provenance in inputs)
        if (deferred or op.type in MAKES_LISTS) and op.name not in blocked:
            try:
                outputs = self._apply_rule(op, inputs)
                self._accepted.add(op.name)
            except MixesUsers as reason:
                self.refusals.append(Refusal(op, str(reason)))
            except NotProven:
                pass
        for tensor, provenance in zip(op.outputs, outputs, strict=True):
            self._state[tensor.name] = provenance

    def _apply_rule(self, op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
        function = RULES.get(op.type)
        if function is not None:
            if op.type not in COUNT_AWARE and any(isinstance(provenance, Dims) for provenance in inputs):
                raise NotProven
            return function(op, inputs)
        if all(isinstance(provenance, Exact | Dims | RaggedSplits) for provenance in inputs):
            raise NotProven  # counting rows is no mixing: the op gets the original numbers
        raise MixesUsers(f"there is no rule for the op type {op.type}")

    def _merge(self, op: Any) -> None:
        joined: Provenance | None = None
        for tensor in op.inputs:
            if tensor.name in self._state:
                joined = join(joined, self._state[tensor.name])
        value = joined or EXACT
        self._state[op.outputs[0].name] = value
        self._state[op.outputs[1].name] = EXACT
        if not isinstance(value, Exact):
            self._accepted.add(op.name)

    def _to_block(self) -> set[str]:
        """Ops that must not defer because something behind them cannot expand what they would give."""
        found: set[str] = set()
        for boundary in self.boundaries:
            if isinstance(boundary.provenance, (UniqueRows, UniquePositions)):
                found.add(node_of(boundary.provenance.unique))
            elif (frame := self._frames.get(boundary.op.name)) and boundary.op.type != "Enter":
                found |= {op.name for op in self.ops if op.type == "Enter" and op.get_attr("frame_name") == frame}
            elif boundary.op.type == "Enter" and (outer := self._frames.get(boundary.tensor.op.name)):
                found |= {op.name for op in self.ops if op.type == "Enter" and op.get_attr("frame_name") == outer}
            elif isinstance(boundary.provenance, Listed):
                found.add(_list_source(boundary.tensor).name)
        return found


def needs_expansion(provenance: Provenance) -> bool:
    """The tensor is smaller than the original one, or differs from it."""
    if isinstance(provenance, Listed):
        return provenance.element is not None
    return not isinstance(provenance, Exact)


def _list_source(tensor: tf.Tensor) -> Any:
    """The op that turned rows into a list: lists themselves cannot be expanded."""
    op = tensor.op
    while not op.type.startswith(
        ("TensorListFromTensor", "TensorListSetItem", "TensorListPushBack", "TensorArrayScatter", "TensorArrayWrite")
    ):
        if not op.inputs or op.type in {"While", "StatelessWhile"}:
            return op
        op = op.inputs[0].op
    return op


def _frames_of(ops: Sequence[Any]) -> dict[str, bytes]:
    """The loop (version 1) each op runs in, by op name."""
    frames: dict[str, bytes] = {}
    parents: dict[bytes, bytes | None] = {}
    for op in ops:
        inner = [frames[tensor.op.name] for tensor in op.inputs if tensor.op.name in frames]
        inner += [frames[source.name] for source in op.control_inputs if source.name in frames]
        if op.type == "Enter":
            frames[op.name] = op.get_attr("frame_name")
            parents[frames[op.name]] = inner[0] if inner else None
        elif inner:
            frame: bytes | None = parents.get(inner[0]) if op.type == "Exit" else inner[0]
            if frame is not None:
                frames[op.name] = frame
    return frames
