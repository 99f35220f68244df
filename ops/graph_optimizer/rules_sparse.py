"""Rules of sparse and ragged features: they are pooled on U rows.

A pooled lookup runs over the entries of a sparse tensor: the distinct ids (`Unique`), their rows of the table, and a sum or mean of these
per segment, a segment being a user. None of the tensors in between has a row per user, so they have provenances of their own, and the
rules prove the chain as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ops.graph_optimizer.provenance import (
    Dims,
    Exact,
    Provenance,
    RaggedSplits,
    SparseEntries,
    SparseIndices,
    SparsePicked,
    SparseSegments,
    UniquePositions,
    UniqueRows,
    UserRows,
    Users,
)
from ops.graph_optimizer.rules import MixesUsers, NotProven, entries_of, rule


@rule("Unique", "UniqueV2")
def unique(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Distinct values of entries; of rows it would depend on which rows there are."""
    if isinstance(inputs[0], SparseEntries) and op.inputs[0].shape.rank == 1:
        name = op.outputs[0].name
        return [UniqueRows(inputs[0].group, name), UniquePositions(inputs[0].group, name)]
    if isinstance(inputs[0], UserRows):
        raise MixesUsers("it takes the distinct values of the whole batch")
    raise NotProven


@rule("Where")
def where(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Which entries of a sparse tensor are true; of rows it would number them."""
    if isinstance(inputs[0], SparseEntries) and op.inputs[0].shape.rank == 1:
        return [SparsePicked(inputs[0].group, op.outputs[0].name)]
    raise NotProven


@rule("SparseSegmentSum", "SparseSegmentMean", "SparseSegmentSqrtN")
def sparse_segments(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Rows of a table, or of the distinct values, pooled per user."""
    data, positions, segments = inputs
    if not isinstance(segments, SparseSegments):
        raise NotProven
    by_unique = isinstance(data, UniqueRows) and isinstance(positions, UniquePositions) and data.unique == positions.unique
    direct = isinstance(data, Exact) and isinstance(positions, SparseEntries)
    if not (by_unique or direct) or getattr(positions, "group", None) != segments.group:
        raise NotProven
    return [UserRows(0)]


@rule("SegmentSum", "SegmentMean", "SegmentMax", "SegmentMin", "SegmentProd")
def segments(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Entries pooled per user."""
    data, ids = inputs[0], inputs[1]
    if not isinstance(data, SparseEntries) or ids != SparseSegments(data.group):
        raise NotProven
    return [UserRows(0)]


@rule(
    "UnsortedSegmentSum", "UnsortedSegmentMax", "UnsortedSegmentMin", "UnsortedSegmentProd", "SegmentSumV2", "SegmentMaxV2", "SegmentMinV2"
)
def counted_segments(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """The same with the number of users given."""
    data, ids = inputs[0], inputs[1]
    if not isinstance(data, SparseEntries) or ids != SparseSegments(data.group):
        raise NotProven
    if entries_of(op.inputs[2], inputs[2]) != (Users(1),):
        raise NotProven
    return [UserRows(0)]


@rule("SparseFillEmptyRows")
def fill_empty_rows(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """An entry for each user who has none."""
    indices, values, shape, default = inputs
    if not isinstance(indices, SparseIndices) or values != SparseEntries(indices.group) or not isinstance(default, Exact):
        raise NotProven
    if not isinstance(shape, Dims) or shape.entries[0] != Users(1):
        raise NotProven
    group = op.outputs[0].name
    if any(consumer for consumer in op.outputs[3].consumers()):
        raise NotProven
    return [SparseIndices(group), SparseEntries(group), UserRows(0), SparseEntries(group)]


@rule("SparseReshape")
def sparse_reshape(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """From [U, n] to [U, n]: nothing changes."""
    indices, old, new = inputs
    if not isinstance(indices, SparseIndices) or not isinstance(old, Dims):
        raise NotProven
    wanted = entries_of(op.inputs[2], new)
    if len(old.entries) != 2 or len(wanted) != 2 or wanted[0] != Users(1):
        raise NotProven
    return [indices, Dims((Users(1), old.entries[1]))]


@rule("SparseToDense")
def sparse_to_dense(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """[U, n] with the entries at their places."""
    indices, shape, values, default = inputs
    if not isinstance(indices, SparseIndices) or not isinstance(default, Exact) or not isinstance(shape, Dims):
        raise NotProven
    if not (isinstance(values, Exact) and op.inputs[2].shape.rank == 0) and values != SparseEntries(indices.group):
        raise NotProven
    if shape.entries[0] != Users(1):
        raise NotProven
    return [UserRows(0)]


@rule("SparseTensorDenseMatMul")
def sparse_product(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """A sparse matrix of users times a common matrix."""
    indices, values, _, dense = inputs
    if not isinstance(indices, SparseIndices) or values != SparseEntries(indices.group) or not isinstance(dense, Exact):
        raise NotProven
    if op.get_attr("adjoint_a"):
        raise MixesUsers("its product sums over the rows of the batch")
    return [UserRows(0)]


@rule("RaggedTensorToTensor")
def ragged_to_tensor(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """[U, n] padded."""
    values, splits = inputs[1], inputs[3:]
    if not isinstance(values, SparseEntries) or splits != [RaggedSplits(values.group)]:
        raise NotProven
    if list(op.get_attr("row_partition_types")) != [b"ROW_SPLITS"] or not isinstance(inputs[0], Exact) or not isinstance(inputs[2], Exact):
        raise NotProven
    return [UserRows(0)]
