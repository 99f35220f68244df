"""Rules of ops that run along axes: reductions, sorting, running sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ops.graph_optimizer.provenance import Dims, Provenance, UserRows
from ops.graph_optimizer.rules import MixesUsers, NotProven, axis_of, only_rows, rank_of, rule
from ops.graph_optimizer.rules_elementwise import product, static_ints


@rule("Prod")
def prod(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """The product of a shape's entries; of rows it is a reduction like others."""
    if not isinstance(inputs[0], Dims):
        return reduce(op, inputs)
    result = product(inputs[0].entries)
    return [Dims((result,), scalar=not op.get_attr("keep_dims"))]


@rule("Sum", "Mean", "Max", "Min", "All", "Any", "EuclideanNorm")
def reduce(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Over other axes than the users'."""
    rows, rank = only_rows(inputs[0]), rank_of(op.inputs[0])
    axes = {axis % rank if rank else 0 for axis in static_ints(op.inputs[1])}
    if rows.axis in axes:
        if op.type in {"All", "Any", "Max", "Min"}:
            raise NotProven  # as a rule a check of the input; the expansion is exact
        raise MixesUsers(f"it takes a {op.type.lower()} over the rows of the batch")
    if op.get_attr("keep_dims"):
        return [rows]
    return [UserRows(rows.axis - sum(axis < rows.axis for axis in axes), rows.block)]


@rule("ArgMax", "ArgMin")
def arg_reduce(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Over another axis than the users'."""
    rows = only_rows(inputs[0])
    axis = axis_of(op.inputs[1], rank_of(op.inputs[0]))
    if axis == rows.axis:
        raise MixesUsers("it compares rows of the batch")
    return [UserRows(rows.axis - (axis < rows.axis), rows.block)]


@rule("Softmax", "LogSoftmax", "TopK", "TopKV2")
def along_the_last_axis(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Acts along the last axis."""
    rows = only_rows(inputs[0])
    if rows.axis == rank_of(op.inputs[0]) - 1:
        raise MixesUsers(f"its {op.type} runs over the rows of the batch")
    return [rows] * len(op.outputs)


@rule("Cumsum", "Cumprod", "CumulativeLogsumexp", "ReverseV2")
def along_axes(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Acts along given axes."""
    rows, rank = only_rows(inputs[0]), rank_of(op.inputs[0])
    if rows.axis in {axis % rank for axis in static_ints(op.inputs[1])}:
        raise MixesUsers(f"its {op.type} runs over the rows of the batch")
    return [rows]


@rule("ReverseSequence")
def reverse_sequence(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Each user's sequence by its own length."""
    rows = only_rows(inputs[0])
    if rows.axis != op.get_attr("batch_dim") or inputs[1] != UserRows(0, rows.block):
        raise NotProven
    return [rows]
