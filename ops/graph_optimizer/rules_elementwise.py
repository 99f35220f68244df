"""Rules of ops that treat every element, or every row, by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ops.graph_optimizer.provenance import (
    EXACT,
    Dims,
    Entry,
    Exact,
    Listed,
    Provenance,
    Same,
    SparseEntries,
    UniqueRows,
    UserRows,
    Users,
)
from ops.graph_optimizer.rules import MixesUsers, NotProven, constant_of, entries_of, rank_of, rule

PASSING = (
    "Identity",
    "StopGradient",
    "PreventGradient",
    "Snapshot",
    "CheckNumerics",
    "Enter",
    "Exit",
    "NextIteration",
)
UNARY = [
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "AsString",
    "Atan",
    "Atanh",
    "Bucketize",
    "Ceil",
    "Cos",
    "Cosh",
    "Digamma",
    "Elu",
    "Erf",
    "Erfc",
    "Erfinv",
    "Exp",
    "Expm1",
    "Floor",
    "Inv",
    "Invert",
    "IsFinite",
    "IsInf",
    "IsNan",
    "LeakyRelu",
    "Lgamma",
    "Log",
    "Log1p",
    "LogicalNot",
    "Ndtri",
    "Neg",
    "OnesLike",
    "Reciprocal",
    "Relu",
    "Relu6",
    "Rint",
    "Round",
    "Rsqrt",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Square",
    "StaticRegexFullMatch",
    "StaticRegexReplace",
    "StringLength",
    "StringLower",
    "StringStrip",
    "StringToHashBucket",
    "StringToHashBucketFast",
    "StringToHashBucketStrong",
    "StringToNumber",
    "StringUpper",
    "Tan",
    "Tanh",
    "ZerosLike",
]
BROADCASTING = [
    "Add",
    "AddN",
    "AddV2",
    "Atan2",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "ClipByValue",
    "Div",
    "DivNoNan",
    "Equal",
    "FloorDiv",
    "FloorMod",
    "Greater",
    "GreaterEqual",
    "Less",
    "LessEqual",
    "LogicalAnd",
    "LogicalOr",
    "Maximum",
    "Minimum",
    "Mod",
    "Mul",
    "MulNoNan",
    "NotEqual",
    "Pow",
    "RealDiv",
    "SelectV2",
    "SquaredDifference",
    "StringJoin",
    "Sub",
    "TruncateDiv",
    "TruncateMod",
    "Xdivy",
    "Xlog1py",
    "Xlogy",
]


@rule(*PASSING)
def pass_on(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """One input, one output, same value."""
    return [inputs[0]]


@rule("PlaceholderWithDefault")
def may_be_fed(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """What a caller feeds instead has the original rows."""
    raise NotProven


@rule(*UNARY)
def map_elements(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """A function of every element of the first input, the others being parameters."""
    if not isinstance(inputs[0], (UserRows, SparseEntries, UniqueRows)):
        raise NotProven
    return [inputs[0]] * len(op.outputs)


@rule("Cast")
def cast(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """As `map_elements`; counts and indices stay what they are between integer types."""
    if isinstance(inputs[0], (Listed, UserRows, SparseEntries, UniqueRows)):
        return [inputs[0]]
    if op.outputs[0].dtype.is_integer and op.inputs[0].dtype.is_integer:
        return [inputs[0]]
    raise NotProven


@rule(*BROADCASTING)
def broadcast(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Element-wise with broadcasting: all operands meet the users on the same axis, counted from the right, or have size 1 there."""
    if any(isinstance(provenance, Dims) for provenance in inputs):
        return [_multiplied(op, inputs)]
    if any(isinstance(provenance, (SparseEntries, UniqueRows)) for provenance in inputs):
        return [_entry_by_entry(op, inputs)]
    return [broadcast_rows(op.inputs, inputs)]


def broadcast_rows(tensors: Sequence[tf.Tensor], inputs: Sequence[Provenance]) -> UserRows:
    """Where the users are in the broadcast of some tensors.

    Raises:
        NotProven: an operand may have rows of its own where the users are.
    """
    places = set()
    for tensor, provenance in zip(tensors, inputs, strict=True):
        if isinstance(provenance, UserRows):
            places.add((provenance.axis - rank_of(tensor), provenance.block))
        elif not isinstance(provenance, Exact):
            raise NotProven
    if len({axis for axis, _ in places}) > 1:
        raise MixesUsers("it broadcasts users along one axis against users along another")
    if len(places) != 1:
        raise NotProven
    [(from_right, block)] = places
    rank = max(rank_of(tensor) for tensor in tensors)
    for tensor, provenance in zip(tensors, inputs, strict=True):
        if isinstance(provenance, Exact) and rank_of(tensor) >= -from_right and tensor.shape[from_right] != 1:
            raise NotProven
    return UserRows(rank + from_right, block)


def _entry_by_entry(op: Any, inputs: Sequence[Provenance]) -> Provenance:
    deferred = {provenance for provenance in inputs if not isinstance(provenance, Exact)}
    if len(deferred) != 1:
        raise NotProven
    rank = rank_of(op.outputs[0])
    for tensor, provenance in zip(op.inputs, inputs, strict=True):
        if isinstance(provenance, Exact):
            if rank_of(tensor) >= rank and tensor.shape[0] != 1:
                raise NotProven
        elif rank_of(tensor) != rank:
            raise NotProven
    return deferred.pop()


def _multiplied(op: Any, inputs: Sequence[Provenance]) -> Provenance:
    """A count of users times a number."""
    if op.type != "Mul" or not all(tensor.shape.rank == 0 for tensor in op.inputs):
        raise NotProven
    a, b = (entries_of(tensor, provenance)[0] for tensor, provenance in zip(op.inputs, inputs, strict=True))
    return Dims((product((a, b)),), scalar=True)


def product(entries: Sequence[Entry]) -> Entry:
    """Product of integers at most one of which counts users.

    Raises:
        NotProven: more than one does, or none does and the value is not known.
    """
    users = [entry for entry in entries if isinstance(entry, Users)]
    if len(users) > 1:
        raise MixesUsers("it multiplies the number of users with itself")
    block = 1
    for entry in entries:
        block *= entry.block if isinstance(entry, Users) else entry if isinstance(entry, int) else 0
    if users:
        return Users(block)
    if block == 0:
        raise NotProven
    return block


@rule("Select")
def select(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Version 1: the condition has the shape of the values, or one element per row."""
    rows = [provenance for provenance in inputs if isinstance(provenance, UserRows)]
    if len(rows) != 3 or len(set(rows)) != 1:
        raise NotProven
    return [rows[0]]


@rule("BiasAdd")
def bias_add(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """The bias has one axis, the last (or channels, which is no batch axis)."""
    if not isinstance(inputs[0], UserRows) or not isinstance(inputs[1], Exact) or inputs[0].axis == rank_of(op.inputs[0]) - 1:
        raise NotProven
    if op.get_attr("data_format") != b"NHWC" and inputs[0].axis != 0:
        raise NotProven
    return [inputs[0]]


@rule("LookupTableFindV2", "LookupTableFind")
def table_find(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Key by key."""
    if not isinstance(inputs[1], (UserRows, SparseEntries, UniqueRows)) or not isinstance(inputs[0], Exact):
        raise NotProven
    return [inputs[1]]


@rule("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def batch_norm(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """With moving averages it is element-wise; in training it takes moments over the batch."""
    if op.get_attr("is_training"):
        raise MixesUsers("batch normalisation in training mode takes its moments over the rows of the batch")
    if inputs[0] != UserRows(0) or not all(isinstance(provenance, Exact) for provenance in inputs[1:]):
        raise NotProven
    return [inputs[0], *([EXACT] * (len(op.outputs) - 1))]


@rule("Switch", "RefSwitch")
def switch(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Both branches get the data."""
    if not isinstance(inputs[1], Exact):
        raise NotProven
    return [inputs[0], inputs[0]]


@rule("Rank")
def rank(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """The number of axes does not change by an expansion."""
    return [EXACT]


@rule("Shape", "Size", "ShapeN")
def shape(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """The sizes, of which the one along the users differs."""
    if op.type == "Size":
        return [_size(op, inputs[0])]
    return [_shape(tensor, provenance) for tensor, provenance in zip(op.inputs, inputs, strict=True)]


def _shape(tensor: tf.Tensor, provenance: Provenance) -> Provenance:
    if isinstance(provenance, (Dims, Exact, Listed)):
        return EXACT
    if not isinstance(provenance, UserRows):
        raise NotProven
    entries: list[Entry] = [Same(tensor.name, i) if size is None else int(size) for i, size in enumerate(tensor.shape)]
    if not entries:
        raise NotProven
    entries[provenance.axis] = Users(provenance.block)
    return Dims(tuple(entries))


def _size(op: Any, provenance: Provenance) -> Provenance:
    if isinstance(provenance, (Dims, Exact)):
        return EXACT
    dims = _shape(op.inputs[0], provenance)
    assert isinstance(dims, Dims)
    return Dims((product(dims.entries),), scalar=True)


def static_ints(tensor: tf.Tensor) -> list[int]:
    """A static scalar or vector as a list."""
    return [int(value) for value in constant_of(tensor).reshape(-1)]
