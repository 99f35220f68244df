"""Rules of matrix products, `einsum` and convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ops.graph_optimizer.provenance import Exact, Provenance, UserRows
from ops.graph_optimizer.rules import MixesUsers, NotProven, only_rows, rank_of, rule
from ops.graph_optimizer.rules_elementwise import broadcast_rows


@rule("MatMul", "SparseMatMul")
def matmul(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Rows of users times a common matrix, or a common matrix times columns of users."""
    return [_product(op, inputs, op.get_attr("transpose_a"), op.get_attr("transpose_b"))]


@rule("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def batch_matmul(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """The same on the last two axes; users on the axes before them as in broadcasting."""
    return [_product(op, inputs, op.get_attr("adj_x"), op.get_attr("adj_y"))]


def _product(op: Any, inputs: Sequence[Provenance], transpose_a: bool, transpose_b: bool) -> UserRows:
    ranks = [rank_of(tensor) for tensor in op.inputs]
    rank = max(ranks)
    free = {0: 0 if not transpose_a else 1, 1: 1 if not transpose_b else 0}  # which of the last two axes survives
    batches, found = [], []
    for side, (provenance, operand_rank) in enumerate(zip(inputs, ranks, strict=True)):
        if isinstance(provenance, Exact):
            continue
        rows = only_rows(provenance)
        inner = rows.axis - (operand_rank - 2)
        if inner < 0:
            batches.append(rows)
        elif inner != free[side]:
            raise MixesUsers("its product sums over the rows of the batch")
        else:
            found.append(UserRows(rank - 2 + side, rows.block))
    if found:
        if batches or len(found) > 1:
            raise MixesUsers("its product compares rows of the batch with each other")
        return found[0]
    place = broadcast_rows(op.inputs, inputs)
    if place.axis >= rank - 2:
        raise NotProven
    return place


@rule("Einsum", "XlaEinsum")
def einsum(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """The users' label stays in the result and is no label of a common operand."""
    equation = op.get_attr("equation").decode().replace(" ", "")
    if "." in equation:
        raise NotProven
    sources, result = equation.split("->")
    labels = sources.split(",")
    seen = {(labels[i][rows.axis], rows.block) for i, rows in enumerate(inputs) if isinstance(rows, UserRows)}
    if len({label for label, _ in seen}) > 1:
        raise MixesUsers("its einsum combines every row of the batch with every other")
    if len(seen) != 1:
        raise NotProven
    [(label, block)] = seen
    if label not in result:
        raise MixesUsers("its einsum sums over the rows of the batch")
    for i, provenance in enumerate(inputs):
        if isinstance(provenance, Exact) and label in labels[i]:
            raise NotProven
        if isinstance(provenance, UserRows) and labels[i].count(label) != 1:
            raise NotProven
    return [UserRows(result.index(label), block)]


@rule("Conv2D", "DepthwiseConv2dNative", "MaxPool", "AvgPool", "Conv3D")
def convolve(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """The batch leads, filters are common."""
    if inputs[0] != UserRows(0) or not all(isinstance(provenance, Exact) for provenance in inputs[1:]):
        raise NotProven
    return [inputs[0]]


@rule("L2Loss")
def l2_loss(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """A sum over everything."""
    raise MixesUsers("it sums over the rows of the batch")
