"""What the columns of a layer look up: features of one grouped op for the fused ones, stock ops for the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from ops.embedding.adaptive import AdaptiveFeature, adaptive_feature
from ops.embedding.columns.categorical import CategoricalColumn, as_sparse, growing, ids_and_weights
from ops.embedding.columns.tables import ColumnTable, GrowingColumnTable, ScopedTable, parts_of
from ops.embedding.features import Feature
from ops.embedding.grouped import grouped_lookup


@dataclass
class Call:
    """One call of a layer: what its columns look up with.

    Attributes:
        inputs: the features, `Features` or TensorFlow's builder.
        weight_collections: graph collections for new variables.
        trainable: whether new variables of fixed size are trained.
        training: ids of growing tables are counted and get rows.
        masks: of adaptive features, by name.
    """

    inputs: Any
    weight_collections: list[str] | None = None
    trainable: bool = True
    training: bool = True
    masks: Mapping[str, Any] = field(default_factory=dict)
    _rows_of: dict[int, list[Any]] = field(default_factory=dict)

    def after_earlier(self, variable: Any) -> Any:
        """Waits until the call's earlier lookups in the same growing table are done: they write the rows that are new."""
        return tf.control_dependencies(self._rows_of.get(id(variable), []))

    def note(self, variable: Any, rows: Any) -> None:
        """Takes note of a lookup's rows for `after_earlier`."""
        self._rows_of.setdefault(id(variable), []).append(rows)


@dataclass(frozen=True)
class Pooling:
    """How a column combines the rows of an example.

    Attributes:
        combiner: "mean", "sqrtn" or "sum".
        max_norm: L2 limit of a looked-up row, or None.
        safe: prune negative ids and weights not above 0; otherwise, for ids of rank 2, a negative one is an error.
        fused: take part in the grouped op.
    """

    combiner: str
    max_norm: float | None = None
    safe: bool = True
    fused: bool = False


class Lookup:
    """The lookup of one column: its features, and the pooled rows.

    Args:
        categorical_column: of TensorFlow or ours.
        table: of its kind.
        pooling: how rows are combined.
        call: the layer's.
        flat: all ids of an example are one bag, whatever their axes.

    Attributes:
        variables: of the table: parts, and the static table of an adaptive column.
    """

    def __init__(
        self,
        categorical_column: Any,
        table: ColumnTable | ScopedTable | GrowingColumnTable,
        pooling: Pooling,
        call: Call,
        *,
        flat: bool = False,
    ) -> None:
        self.pooling = pooling
        self._adaptive: AdaptiveFeature | None = None
        ids, weights = ids_and_weights(categorical_column, call.inputs)
        if flat:
            ids, weights = _flat(ids), None if weights is None else _flat(weights)
        if weights is not None and weights.dtype != tf.float32:
            weights = tf.cast(weights, tf.float32)
        self._options: dict[str, Any] = {"combiner": pooling.combiner, "max_norm": pooling.max_norm}
        if not isinstance(table, GrowingColumnTable):
            variable = table.variable(call.weight_collections, call.trainable)
            self.variables = parts_of(variable)
            safe = pooling.safe or ids.dense_shape.shape.as_list() != [2]
            self.features = [Feature(variable, ids, weights, **self._options, prune=safe)]
            return
        column = growing(categorical_column)
        assert column is not None
        self._grow(column, table, ids, weights, call)

    def _grow(self, column: CategoricalColumn, table: GrowingColumnTable, ids: Any, weights: Any, call: Call) -> None:
        variable, static = table.variables(tf.compat.v1.get_variable_scope())
        self.variables = [*variable.tables, *([] if static is None else [static])]
        with call.after_earlier(variable):
            if static is None:
                found = variable.rows_like(ids, insert=call.training)
                self.features = [Feature(variable.table, found, weights, **self._options, partition_strategy="mod")]
            else:
                self._adaptive = self._adapt(variable, static, column, ids, weights, call)
                self.features = list(self._adaptive.features)
        rows = self.features[-1].ids
        call.note(variable, rows.flat_values if isinstance(rows, tf.RaggedTensor) else rows.values)

    def _adapt(self, variable: Any, static: Any, column: CategoricalColumn, ids: Any, weights: Any, call: Call) -> AdaptiveFeature:
        options = {"weights": weights, "mask": call.masks.get(column.key), "training": call.training, **self._options}
        return adaptive_feature(variable, static, ids, **options)

    @property
    def is_matrix(self) -> bool:
        """Whether the pooled rows are surely what the one feature gives, and of rank 2."""
        ids = self.features[0].ids
        return self._adaptive is None and (isinstance(ids, tf.RaggedTensor) or ids.dense_shape.shape.as_list() == [2])

    def pooled(self, outputs: Iterable[tf.Tensor] | None) -> tf.Tensor:
        """[B, dimension], or more axes for ids of more; from the outputs of the grouped op for the features, if they are fused."""
        if self._adaptive is not None:
            return self._adaptive.pool(*(grouped_lookup(self.features, fused=False) if outputs is None else outputs))
        return _stock(self.features[0]) if outputs is None else next(iter(outputs))


def _flat(given: Any) -> Any:
    """[B, *] of more axes."""
    if isinstance(given, tf.RaggedTensor) or given.dense_shape.shape.as_list() == [2]:
        return given
    return tf.sparse.reshape(given, tf.stack([given.dense_shape[0], tf.reduce_prod(given.dense_shape[1:])]))


def pool_all(lookups: Iterable[Lookup]) -> list[tf.Tensor]:
    """The pooled rows of each lookup; all fused ones take one op."""
    lookups = list(lookups)
    fused = [feature for lookup in lookups if lookup.pooling.fused for feature in lookup.features]
    outputs = iter(grouped_lookup(fused) if fused else [])
    return [lookup.pooled([next(outputs) for _ in lookup.features] if lookup.pooling.fused else None) for lookup in lookups]


def concat_all(lookups: Iterable[Lookup]) -> tf.Tensor:
    """[B, sum of dimensions] from one op; all are fused and matrices."""
    return grouped_lookup([lookup.features[0] for lookup in lookups], concat=True)


def _stock(feature: Feature) -> tf.Tensor:
    sparse = as_sparse(feature.ids)
    weights = None if feature.weights is None else as_sparse(feature.weights)
    options = {"combiner": feature.combiner, "max_norm": feature.max_norm}
    if feature.partition_strategy == "div":  # the table of a column of TensorFlow
        safe = tf.compat.v1.nn.safe_embedding_lookup_sparse if feature.prune else tf.compat.v1.nn.embedding_lookup_sparse
        return safe(feature.table, sparse, weights, **options, partition_strategy="div")
    # A gather from the variable itself would be made a read without dependencies by a graph optimization (SimplifyEmbeddingLookup), which
    # can then miss the start values of new rows.
    tables = feature.table if isinstance(feature.table, list) else [feature.table]
    with tf.control_dependencies([sparse.values]):
        values = [table.read_value() for table in tables]
    return tf.compat.v1.nn.safe_embedding_lookup_sparse(values, sparse, weights, **options, partition_strategy="mod")
