"""Rules of ops that move, cut and join arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ops.graph_optimizer.provenance import (
    EXACT,
    OPAQUE,
    Dims,
    Entry,
    Exact,
    Provenance,
    SparseEntries,
    SparsePicked,
    SparseSegments,
    UniqueRows,
    UserRows,
    Users,
)
from ops.graph_optimizer.rules import MixesUsers, NotProven, axis_of, constant_of, entries_of, only_rows, rank_of, rule
from ops.graph_optimizer.rules_elementwise import static_ints


@rule("Reshape")
def reshape(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Keeps users apart when they lead before and after: each user's elements stay together."""
    source, target = inputs
    if isinstance(source, Dims):
        return [_flat(source, op.outputs[0])]
    if isinstance(source, SparsePicked) and list(entries_of(op.inputs[1], target)) == [-1]:
        return [source]
    if (
        isinstance(source, (SparseEntries, SparseSegments))
        and list(entries_of(op.inputs[1], target)) == [-1]
        and rank_of(op.inputs[0]) == 1
    ):
        return [source]
    wanted = entries_of(op.inputs[1], target)
    rows = only_rows(source)
    if rows.axis != 0 or not wanted:
        raise NotProven
    counted = [isinstance(entry, Users) for entry in wanted]
    if any(counted[1:]):
        raise NotProven
    first, rest = wanted[0], wanted[1:]
    if isinstance(first, Users):
        return [UserRows(0, first.block)]
    if first != -1 or -1 in rest:
        raise NotProven
    # [U * block, ...] to [-1, rest]: whole users fit if the rest divides what a user has.
    own = [rows.block, *(OPAQUE if size is None else int(size) for size in op.inputs[0].shape[1:])]
    known = math.prod(size for size in own if size != OPAQUE)
    if any(not isinstance(entry, int) for entry in rest):
        raise NotProven
    width = math.prod(entry for entry in rest if isinstance(entry, int))
    if width == 0 or known % width:
        raise NotProven
    return [UserRows(0, OPAQUE if OPAQUE in own else known // width)]


def _flat(dims: Dims, result: tf.Tensor) -> Dims:
    """The same integers as a scalar or vector."""
    if rank_of(result) > 1:
        raise NotProven
    return Dims(dims.entries, scalar=rank_of(result) == 0)


@rule("ExpandDims")
def expand_dims(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """A new axis before or behind the users."""
    if isinstance(inputs[0], Dims):
        return [_flat(inputs[0], op.outputs[0])]
    if isinstance(inputs[0], (SparseEntries, UniqueRows)):
        if axis_of(op.inputs[1], rank_of(op.inputs[0]) + 1) == 0:
            raise NotProven
        return [inputs[0]]
    rows = only_rows(inputs[0])
    axis = axis_of(op.inputs[1], rank_of(op.inputs[0]) + 1)
    return [UserRows(rows.axis + (axis <= rows.axis), rows.block)]


@rule("Squeeze")
def squeeze(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Drops named axes of size 1; without names the users' axis might go too."""
    if isinstance(inputs[0], Dims):
        return [_flat(inputs[0], op.outputs[0])]
    rows, rank = only_rows(inputs[0]), rank_of(op.inputs[0])
    axes = {axis % rank for axis in op.get_attr("squeeze_dims")}
    if not axes or rows.axis in axes:
        raise NotProven
    return [UserRows(rows.axis - sum(axis < rows.axis for axis in axes), rows.block)]


@rule("Transpose")
def transpose(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """The users move with their axis."""
    rows = only_rows(inputs[0])
    return [UserRows(static_ints(op.inputs[1]).index(rows.axis), rows.block)]


@rule("ConcatV2", "Concat")
def concat(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Along another axis than the users'."""
    last = op.type == "ConcatV2"
    tensors, parts = (op.inputs[:-1], inputs[:-1]) if last else (op.inputs[1:], inputs[1:])
    axis_tensor = op.inputs[-1] if last else op.inputs[0]
    if any(isinstance(part, Dims) for part in parts):
        return [Dims(tuple(entry for tensor, part in zip(tensors, parts, strict=True) for entry in entries_of(tensor, part)))]
    rows = only_rows(parts[0])
    if any(part != rows for part in parts):
        raise NotProven
    axis = int(constant_of(axis_tensor))
    if (axis if axis >= 0 else axis + rank_of(op.outputs[0])) == rows.axis:
        raise MixesUsers("it joins rows of users end to end")
    return [rows]


@rule("Pack")
def pack(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Stacks tensors of the same users, or integers."""
    if any(isinstance(part, Dims) for part in inputs):
        if any(rank_of(tensor) for tensor in op.inputs):
            raise NotProven
        return [Dims(tuple(entries_of(tensor, part)[0] for tensor, part in zip(op.inputs, inputs, strict=True)))]
    rows = only_rows(inputs[0])
    if any(part != rows for part in inputs):
        raise NotProven
    axis = op.get_attr("axis") % rank_of(op.outputs[0])
    return [UserRows(rows.axis + (axis <= rows.axis), rows.block)]


@rule("Unpack")
def unpack(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Takes a tensor apart along another axis."""
    if isinstance(inputs[0], Dims):
        return [Dims((entry,), scalar=True) if isinstance(entry, Users) else EXACT for entry in inputs[0].entries]
    rows, axis = only_rows(inputs[0]), op.get_attr("axis") % rank_of(op.inputs[0])
    if axis == rows.axis:
        raise MixesUsers("it takes the rows of the batch apart")
    return [UserRows(rows.axis - (axis < rows.axis), rows.block)] * len(op.outputs)


@rule("Split", "SplitV")
def split(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Cuts along another axis."""
    value, axis = (1, 0) if op.type == "Split" else (0, 2)
    rows = only_rows(inputs[value])
    if axis_of(op.inputs[axis], rank_of(op.inputs[value])) == rows.axis:
        raise MixesUsers("it cuts the batch into parts")
    return [rows] * len(op.outputs)


@rule("Pad", "PadV2", "MirrorPad")
def pad(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Adds nothing along the users."""
    rows = only_rows(inputs[0])
    if np.any(constant_of(op.inputs[1])[rows.axis]):
        raise MixesUsers("it pads the batch with rows")
    return [rows]


@rule("Tile")
def tile(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Repeats along other axes; or repeats one common row once per user."""
    multiples = entries_of(op.inputs[1], inputs[1])
    if isinstance(inputs[0], Exact):
        [place] = _one_place(multiples)
        if op.inputs[0].shape.rank is None or op.inputs[0].shape[place] != 1:
            raise NotProven
        entry = multiples[place]
        assert isinstance(entry, Users)
        return [UserRows(place, entry.block)]
    rows = only_rows(inputs[0])
    if multiples[rows.axis] != 1 or any(isinstance(entry, Users) for entry in multiples):
        raise NotProven
    return [rows]


def _one_place(entries: Sequence[Entry]) -> list[int]:
    places = [i for i, entry in enumerate(entries) if isinstance(entry, Users)]
    if len(places) != 1:
        raise NotProven
    return places


@rule("Fill")
def fill(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """The same value in every row."""
    dims = entries_of(op.inputs[0], inputs[0])
    [place] = _one_place(dims)
    entry = dims[place]
    if not isinstance(inputs[1], Exact) or not isinstance(entry, Users):
        raise NotProven
    return [UserRows(place, entry.block)]


@rule("BroadcastTo")
def broadcast_to(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """A value without rows of its own, or rows of the users, to a shape that has the users at that place."""
    dims = entries_of(op.inputs[1], inputs[1])
    [place] = _one_place(dims)
    entry = dims[place]
    assert isinstance(entry, Users)
    result, tensor = UserRows(place, entry.block), op.inputs[0]
    shift = len(dims) - rank_of(tensor)
    if isinstance(inputs[0], Exact):
        if place >= shift and tensor.shape[place - shift] != 1:
            raise NotProven
        return [result]
    if only_rows(inputs[0]) != UserRows(place - shift, entry.block):
        raise NotProven
    return [result]


@rule("OneHot")
def one_hot(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """A new axis for the classes."""
    rows, rank = only_rows(inputs[0]), rank_of(op.inputs[0])
    axis = op.get_attr("axis")
    axis = rank if axis == -1 else axis
    return [UserRows(rows.axis + (axis <= rows.axis), rows.block)]


@rule("MatrixBandPart", "MatrixDiag", "MatrixDiagV3")
def matrices(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Acts on the last two axes (the last one of a diagonal)."""
    rows = only_rows(inputs[0])
    inner = 2 if op.type == "MatrixBandPart" else 1
    if rows.axis >= rank_of(op.inputs[0]) - inner or not all(isinstance(provenance, Exact) for provenance in inputs[1:]):
        raise NotProven
    return [rows]
