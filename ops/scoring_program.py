"""The item side of a frozen scorer as a program for the native retrieval ops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from ops.graphdef.reach import downstream
from ops.tile_programs.joining import joined
from ops.tile_programs.lowering import Lowering, LoweringError, Row
from ops.tile_programs.program import Instruction, write

__all__ = ["LoweredScorer", "LoweringError", "lower_scorer"]


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
        lowering = Lowering(downstream(graph.get_operations(), set(users)))
        lowering.rows[source.name] = Row(Instruction("items", []), 3, int(source.shape[-1]))
        result = graph.get_operation_by_name(scores).outputs[0]
        for op in _between(source.op, result.op):
            lowering.lower(op)
        if result.name not in lowering.rows or lowering.rows[result.name].rank != 2:
            raise LoweringError(f"{scores} is no [B, n] made of {items}")
        made["program"], tensors = write(joined(lowering.rows[result.name].step))
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
