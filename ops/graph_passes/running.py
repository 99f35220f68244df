"""Runs passes, each checked against what went in on given inputs, and reports them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from ops.graph_optimizer.cost import op_cost
from ops.graphdef.editing import copy_of
from ops.graphdef.importing import evaluate, import_graph
from ops.graphdef.reach import upstream

Pass: TypeAlias = Callable[..., tf.compat.v1.GraphDef]


class PassError(ValueError):
    """A pass changed what the graph computes."""


@dataclass(frozen=True)
class PassReport:
    """What one pass did.

    Attributes:
        name: the pass.
        nodes: before and after.
        flops: of one row of the batch, before and after; axes of unknown size count as 1.
        bytes: of the serialised graph, before and after.
        max_difference: largest absolute difference of any output between before and after, on the check's inputs.
    """

    name: str
    nodes: tuple[int, int]
    flops: tuple[float, float]
    bytes: tuple[int, int]
    max_difference: float

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        pairs = {
            key: {"before": pair[0], "after": pair[1]}
            for key, pair in (("nodes", self.nodes), ("flops", self.flops), ("bytes", self.bytes))
        }
        return {"pass": self.name, **pairs, "max_difference": self.max_difference}


def run_passes(
    graph_def: tf.compat.v1.GraphDef,
    passes: Sequence[tuple[Pass, float]],
    *,
    outputs: Collection[str],
    feeds: Mapping[str, np.ndarray],
) -> tuple[tf.compat.v1.GraphDef, list[PassReport]]:
    """Applies passes one after the other.

    Args:
        graph_def: a frozen graph; not modified.
        passes: each a function of (graph_def, outputs=) and the largest difference it may make, relative to the largest magnitude of the
            output in question.
        outputs: nodes that keep their names and values.
        feeds: inputs of the check by node name, drawn at random by the caller.

    Raises:
        PassError: a pass makes a larger difference.
    """
    reports = []
    current = copy_of(graph_def)
    names = sorted(outputs)
    values = evaluate(current, [f"{name}:0" for name in names], dict(feeds))
    for function, tolerance in passes:
        changed = function(current, outputs=names)
        label = getattr(function, "__name__", str(getattr(function, "func", function).__name__))
        after = evaluate(changed, [f"{name}:0" for name in names], dict(feeds))
        largest = 0.0
        for name, a, b in zip(names, values, after, strict=True):
            difference, scale = _difference(a, b)
            largest = max(largest, difference)
            if not difference <= tolerance * max(1.0, scale):
                raise PassError(f"pass {label} changes {name} by {difference:g}, more than {tolerance:g} of {scale:g}; leave it out")
        reports.append(
            PassReport(
                label,
                nodes=(len(current.node), len(changed.node)),
                flops=(_flops(current, names), _flops(changed, names)),
                bytes=(current.ByteSize(), changed.ByteSize()),
                max_difference=largest,
            )
        )
        current, values = changed, after
    return current, reports


def _difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    if a.shape != b.shape:
        return float("inf"), 1.0
    if a.size == 0:
        return 0.0, 1.0
    if a.dtype.kind != "f":
        return (0.0 if np.array_equal(a, b) else float("inf")), 1.0
    return float(np.max(np.abs(a - b))), float(np.max(np.abs(a)))


def _flops(graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]) -> float:
    graph = import_graph(graph_def)
    return sum(op_cost(op)[0] for op in upstream([graph.get_operation_by_name(name) for name in outputs]))
