"""Rules of ops that pick entries: slices, and lookups by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ops.graph_optimizer.provenance import (
    EXACT,
    Dims,
    Entry,
    Exact,
    Provenance,
    SparseEntries,
    SparseIndices,
    SparsePicked,
    SparseSegments,
    UniquePositions,
    UniqueRows,
    UserRows,
    Users,
)
from ops.graph_optimizer.rules import MixesUsers, NotProven, axis_of, entries_of, only_rows, rank_of, rule
from ops.graph_optimizer.rules_elementwise import static_ints


@rule("Slice")
def slice_(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Keeps all users."""
    begin = entries_of(op.inputs[1], inputs[1])
    size = entries_of(op.inputs[2], inputs[2])
    if isinstance(inputs[0], Dims):
        if not isinstance(begin[0], int) or not isinstance(size[0], int):
            raise NotProven
        stop = len(inputs[0].entries) if size[0] == -1 else begin[0] + size[0]
        return [_dims(inputs[0].entries[begin[0] : stop])]
    if isinstance(inputs[0], SparseEntries) and begin[0] == 0 and size[0] == -1:
        return [inputs[0]]
    rows = only_rows(inputs[0])
    if begin[rows.axis] != 0 or size[rows.axis] not in (-1, Users(rows.block)):
        raise MixesUsers("it picks rows of the batch")
    return [rows]


def _dims(entries: Sequence[Entry], scalar: bool = False) -> Provenance:
    dims = Dims(tuple(entries), scalar)
    return dims if dims.counts_users else EXACT


@rule("StridedSlice")
def strided_slice(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Keeps all users, or picks entries of a shape."""
    begin, end, strides = (entries_of(op.inputs[i], inputs[i]) for i in (1, 2, 3))
    masks = {name: op.get_attr(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    if isinstance(inputs[0], Dims):
        return [_pick_entries(inputs[0], begin, end, strides, masks)]
    if not isinstance(inputs[0], (UserRows, SparseEntries, UniqueRows, SparseIndices)):
        raise NotProven
    users = inputs[0].axis if isinstance(inputs[0], UserRows) else 0
    rank, specs = rank_of(op.inputs[0]), len(begin)
    consuming = sum(1 for i in range(specs) if not (masks["ellipsis"] | masks["new_axis"]) >> i & 1)
    axis, place = 0, 0
    for i in range(specs):
        bit = 1 << i
        if masks["ellipsis"] & bit:
            skipped = rank - consuming
            if axis <= users < axis + skipped:
                place += users - axis
                return _placed(op, inputs[0], place)
            axis, place = axis + skipped, place + skipped
        elif masks["new_axis"] & bit:
            place += 1
        else:
            if axis == users:
                begins = masks["begin"] & bit or begin[i] == 0
                block = inputs[0].block if isinstance(inputs[0], UserRows) else 1
                ends = masks["end"] & bit or end[i] == Users(block)
                if masks["shrink_axis"] & bit or strides[i] != 1 or not begins or not ends:
                    raise MixesUsers("it picks rows of the batch")
                return _placed(op, inputs[0], place, picked=_second_column(begin, end, masks, i))
            place += not masks["shrink_axis"] & bit
            axis += 1
    return _placed(op, inputs[0], place + users - axis)


def _second_column(begin: Sequence[Entry], end: Sequence[Entry], masks: dict[str, int], i: int) -> bool:
    """The next axis is cut to its first element alone."""
    if i + 1 >= len(begin) or not masks["shrink_axis"] >> (i + 1) & 1:
        return False
    return begin[i + 1] == 0


def _placed(op: Any, provenance: Provenance, place: int, picked: bool = False) -> Sequence[Provenance]:
    if isinstance(provenance, UserRows):
        return [UserRows(place, provenance.block)]
    if place != 0:
        raise NotProven
    if isinstance(provenance, SparseIndices):
        if not picked or op.outputs[0].shape.rank != 1:
            raise NotProven
        return [SparseSegments(provenance.group)]
    return [provenance]


def _pick_entries(dims: Dims, begin: Sequence[Entry], end: Sequence[Entry], strides: Sequence[Entry], masks: dict[str, int]) -> Provenance:
    if len(begin) != 1 or masks["ellipsis"] or masks["new_axis"]:
        raise NotProven
    first, last, stride = begin[0], end[0], strides[0]
    if not isinstance(stride, int):
        raise NotProven
    if masks["shrink_axis"]:
        if not isinstance(first, int):
            raise NotProven
        return _dims(dims.entries[first : first + 1] or dims.entries[first:], scalar=True)
    start = None if masks["begin"] else first
    stop = None if masks["end"] else last
    if not isinstance(start, int | None) or not isinstance(stop, int | None):
        raise NotProven
    return _dims(dims.entries[start:stop:stride])


@rule("Gather", "GatherV2", "ResourceGather")
def gather(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Looks users' ids up in a table, takes columns of users' rows, or picks entries of a shape."""
    params, indices = inputs[0], inputs[1]
    axis = axis_of(op.inputs[2], rank_of(op.inputs[0])) if op.type == "GatherV2" else 0
    batch_dims = op.get_attr("batch_dims") if op.type != "Gather" else 0
    if isinstance(params, Dims):
        if rank_of(op.outputs[0]) > 1 or not isinstance(indices, Exact):
            raise NotProven
        return [_dims([params.entries[i] for i in static_ints(op.inputs[1])], scalar=op.outputs[0].shape.rank == 0)]
    if isinstance(params, UniqueRows) and isinstance(indices, UniquePositions) and params.unique == indices.unique and axis == 0:
        return [SparseEntries(indices.group)]
    if isinstance(indices, SparsePicked) and axis == 0 and getattr(params, "group", None) == indices.group:
        if isinstance(params, SparseIndices):
            return [SparseIndices(indices.picked)]
        if isinstance(params, SparseEntries):
            return [SparseEntries(indices.picked)]
    if isinstance(params, Exact) and batch_dims == 0:
        if isinstance(indices, UserRows):
            return [UserRows(axis + indices.axis, indices.block)]
        if isinstance(indices, (SparseEntries, UniqueRows)) and axis == 0:
            return [indices]
    if isinstance(params, UserRows):
        if isinstance(indices, Exact) and batch_dims == 0:
            if axis == params.axis:
                raise MixesUsers("it picks rows of the batch by number")
            return [UserRows(params.axis + (rank_of(op.inputs[1]) - 1 if axis < params.axis else 0), params.block)]
        if batch_dims >= 1 and params == indices and params.axis < batch_dims:
            return [params]
    raise NotProven


@rule("GatherNd", "ResourceGatherNd")
def gather_nd(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Looks users' indices up in a common table."""
    rows = only_rows(inputs[1])
    if not isinstance(inputs[0], Exact) or rows.axis == rank_of(op.inputs[1]) - 1:
        raise NotProven
    return [rows]
