"""Features as callers give them, and a group of them as the native op takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import resource_variable_ops

COMBINERS = ("mean", "sqrtn", "sum")
STRATEGIES = ("div", "mod")
TABLE_DTYPES = (tf.float16, tf.bfloat16, tf.float32, tf.float64)


@dataclass(frozen=True)
class Feature:
    """One lookup of a group.

    Attributes:
        table: variable or tensor [rows, dim] of float16, bfloat16, float32 or float64, or the list of its parts.
        ids: `tf.SparseTensor` of rank 2 or more, or `tf.RaggedTensor` of rank 2; int32 or int64.
        weights: of the same kind and structure as ``ids``, of the table's dtype; or None.
        combiner: "mean", "sqrtn" or "sum".
        max_norm: L2 limit of every looked-up row, or None.
        default_id: what an empty row is given: the row of this id, or zeros for None.
        partition_strategy: "div" or "mod", how ids map to the parts of the table.
        prune: drop negative ids, and weights not above 0 unless the combiner is "sum". Otherwise a negative id is an error.
        fill_empty_row: give empty rows ``default_id``; without it they are zeros.
    """

    table: Any
    ids: tf.SparseTensor | tf.RaggedTensor
    weights: tf.SparseTensor | tf.RaggedTensor | None = None
    combiner: str = "mean"
    max_norm: float | None = None
    default_id: int | None = None
    partition_strategy: str = "div"
    prune: bool = True
    fill_empty_row: bool = True


@dataclass
class Group:
    """Inputs and attributes of the grouped op, named as the op names them."""

    tables: list[Any] = field(default_factory=list)
    ids: list[tf.Tensor] = field(default_factory=list)
    segments: list[tf.Tensor] = field(default_factory=list)
    dense_shapes: list[tf.Tensor] = field(default_factory=list)
    weights: list[tf.Tensor] = field(default_factory=list)
    dims: list[int] = field(default_factory=list)
    table_parts: list[int] = field(default_factory=list)
    strategies: list[str] = field(default_factory=list)
    tables_of: list[int] = field(default_factory=list)
    combiners: list[str] = field(default_factory=list)
    max_norms: list[float] = field(default_factory=list)
    default_ids: list[int] = field(default_factory=list)
    prune: list[bool] = field(default_factory=list)
    fill: list[bool] = field(default_factory=list)
    weighted: list[bool] = field(default_factory=list)
    concat: bool = False

    ATTRIBUTES = (
        "dims",
        "table_parts",
        "strategies",
        "tables_of",
        "combiners",
        "max_norms",
        "default_ids",
        "prune",
        "fill",
        "weighted",
        "concat",
    )

    @property
    def dtype(self) -> tf.DType:
        """The dtype of the tables."""
        return self.tables[0].dtype

    @property
    def resource(self) -> bool:
        """Whether the tables are variables, which are read in place."""
        return all(is_variable(table) for table in self.tables)

    def attributes(self) -> dict[str, Any]:
        """The attributes by name."""
        return {name: getattr(self, name) for name in self.ATTRIBUTES}

    def parts(self, feature: int) -> list[Any]:
        """The parts of a feature's table."""
        table = self.tables_of[feature]
        first = sum(self.table_parts[:table])
        return self.tables[first : first + self.table_parts[table]]

    def weights_of(self, feature: int) -> tf.Tensor | None:
        """The weights of a feature, if it has any."""
        return self.weights[sum(self.weighted[:feature])] if self.weighted[feature] else None


def is_variable(table: Any) -> bool:
    """Whether a table is a variable behind a resource handle (a distributed one, too)."""
    return bool(resource_variable_ops.is_resource_variable(table))


def handle_of(variable: Any) -> tf.Tensor:
    """The resource handle of a variable; gradient tapes and the function being traced are told that it is read.

    Outside of replicas, in the scope of a `tf.distribute` strategy, it is that of a mirrored variable's first copy.
    """
    resource_variable_ops.variable_accessed(variable)
    if isinstance(variable, tf.distribute.DistributedValues) and tf.distribute.in_cross_replica_context():
        return variable.values[0].handle
    return variable.handle


def table_parts(table: Any) -> list[Any]:
    """The parts of a table: of a list, of a partitioned or sharded variable, or the table itself.

    Raises:
        ValueError: there is none, or a part is no matrix of known row size and one of the float dtypes.
    """
    if hasattr(table, "_variable_list"):  # PartitionedVariable of tf.compat.v1
        table = list(table)
    elif hasattr(table, "variables") and not is_variable(table) and not tf.is_tensor(table):  # ShardedVariable
        table = list(table.variables)
    parts = list(table) if isinstance(table, list | tuple) else [table]
    if not parts:
        raise ValueError("params must hold at least one table or part of a table, got none")
    parts = [part if is_variable(part) else tf.convert_to_tensor(part) for part in parts]
    for part in parts:
        if part.shape.rank != 2 or part.shape[1] is None:
            raise ValueError(f"a table must be a matrix [rows, dim] of known dim, got shape {part.shape}")
        if part.dtype not in TABLE_DTYPES:
            raise ValueError(f"a table must be float16, bfloat16, float32 or float64, got {part.dtype.name}")
        if part.shape[1] != parts[0].shape[1] or part.dtype != parts[0].dtype:
            raise ValueError(
                f"the parts of a table must agree, got [{parts[0].shape[1]}] {parts[0].dtype.name} and [{part.shape[1]}] {part.dtype.name}"
            )
    if len({is_variable(part) for part in parts}) > 1:
        parts = [tf.convert_to_tensor(part) for part in parts]
    return parts


def make_group(features: Sequence[Feature], *, concat: bool) -> Group:
    """Checks features and lines them up; features with the same table and ``max_norm`` share it in the group.

    Raises:
        ValueError: an option is none of its values, or dtypes do not fit together.
        TypeError: ids or weights are of another kind than `Feature` says.
    """
    if not features:
        raise ValueError("a group needs at least one feature, got none")
    group = Group(concat=concat)
    known: dict[Any, int] = {}
    for feature in features:
        _check_options(feature)
        parts = table_parts(feature.table)
        max_norm = -1.0 if feature.max_norm is None else float(feature.max_norm)
        key = (tuple(id(part) for part in parts), feature.partition_strategy, max_norm)
        if key not in known:
            known[key] = len(group.dims)
            group.tables.extend(parts)
            group.dims.append(int(parts[0].shape[1]))
            group.table_parts.append(len(parts))
            group.strategies.append(feature.partition_strategy)
        group.tables_of.append(known[key])
        group.combiners.append(feature.combiner)
        group.max_norms.append(max_norm)
        group.default_ids.append(-1 if feature.default_id is None else feature.default_id)
        group.prune.append(feature.prune)
        group.fill.append(feature.fill_empty_row)
        _add_ids(group, feature, parts[0].dtype)
    if len({table.dtype for table in group.tables}) > 1:
        raise ValueError(f"the tables of a group need one dtype, got {sorted({table.dtype.name for table in group.tables})}")
    if not group.resource:
        group.tables = [tf.convert_to_tensor(table) for table in group.tables]
    if len({ids.dtype for ids in group.ids}) > 1:
        group.ids = [tf.cast(ids, tf.int64) for ids in group.ids]
    return group


def _check_options(feature: Feature) -> None:
    if feature.combiner not in COMBINERS:
        raise ValueError(f"combiner must be one of {', '.join(COMBINERS)}, got {feature.combiner!r}")
    if feature.partition_strategy not in STRATEGIES:
        raise ValueError(f"partition_strategy must be one of {', '.join(STRATEGIES)}, got {feature.partition_strategy!r}")
    if feature.max_norm is not None and not feature.max_norm > 0:
        raise ValueError(f"max_norm must be above 0, got {feature.max_norm}; leave it out for no limit")
    if feature.default_id is not None and feature.default_id < 0:
        raise ValueError(f"default_id must be at least 0, got {feature.default_id}; None gives zeros to empty rows")


def _add_ids(group: Group, feature: Feature, dtype: tf.DType) -> None:
    ids, weights = feature.ids, feature.weights
    if isinstance(ids, tf.RaggedTensor):
        if ids.shape.rank != 2:
            raise ValueError(f"ragged ids must be of rank 2, got shape {ids.shape}")
        values, segments = ids.values, tf.cast(ids.row_splits, tf.int64)
        dense_shape = tf.zeros([0], tf.int64)
    elif isinstance(ids, tf.SparseTensor | tf.compat.v1.SparseTensorValue):
        ids = tf.compat.v1.convert_to_tensor_or_sparse_tensor(ids)
        rank = ids.shape.rank
        if rank is not None and rank < 2:
            raise ValueError(f"sparse ids must be of rank 2 or more, got shape {ids.shape}")
        values, segments, dense_shape = ids.values, ids.indices, ids.dense_shape
    else:
        raise TypeError(f"ids must be a tf.SparseTensor or a tf.RaggedTensor, got {type(ids).__name__}")
    if values.dtype not in (tf.int32, tf.int64):
        raise TypeError(f"ids must be int32 or int64, got {values.dtype.name}")
    group.ids.append(values)
    group.segments.append(segments)
    group.dense_shapes.append(dense_shape)
    group.weighted.append(weights is not None)
    if weights is None:
        return
    if isinstance(weights, tf.RaggedTensor) != isinstance(ids, tf.RaggedTensor):
        raise TypeError(f"weights must be of the kind of their ids, got {type(weights).__name__} beside {type(ids).__name__}")
    if weights.dtype != dtype:
        raise ValueError(f"weights must be of the table's dtype {dtype.name}, got {weights.dtype.name}")
    group.weights.append(weights.values)
