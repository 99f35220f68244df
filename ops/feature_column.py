"""Feature columns over tables that need no vocabulary size, with the names of the embedding fusion interface of DeepRec.

Two generations of names lead to the same columns: `categorical_column_with_embedding`, `embedding_column`, `input_layer`, and
`sparse_column_with_embedding`, `embedding_column(sparse_id_column=)`, `input_from_feature_columns`. Each embedding column owns an
`EmbeddingVariable`. ``do_fusion`` None looks up with stock ops; "v1" and "v2" take part in one grouped native op.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from ops.embedding.features import COMBINERS, Feature
from ops.embedding.grouped import grouped_lookup
from ops.embedding.lookup import FUSION_VERSIONS
from ops.embedding_variable import EmbeddingVariable

_HASH_BUCKETS = 2**62


@dataclass(frozen=True)
class CategoricalColumn:
    """A feature of sparse ids.

    Attributes:
        key: name of the feature.
        dtype: of its values: int64, int32, or string, which is hashed into 2^62 ids.
    """

    key: str
    dtype: tf.DType = tf.string

    @property
    def name(self) -> str:
        """The feature's name."""
        return self.key

    def ids(self, features: Mapping[str, Any]) -> tf.SparseTensor | tf.RaggedTensor:
        """The ids [B, *] of this feature.

        Raises:
            ValueError: the feature is not there, or of another dtype.
        """
        if self.key not in features:
            raise ValueError(f"feature {self.key!r} is not among the given features {sorted(features)}")
        given = features[self.key]
        if not isinstance(given, tf.RaggedTensor | tf.SparseTensor):
            given = tf.compat.v1.convert_to_tensor_or_sparse_tensor(given)
        if not isinstance(given, tf.RaggedTensor | tf.SparseTensor):
            raise ValueError(f"feature {self.key!r} must be sparse or ragged, got a dense tensor of shape {given.shape}")
        if given.dtype != self.dtype:
            raise ValueError(f"feature {self.key!r} must be of dtype {self.dtype.name}, got {given.dtype.name}")
        if self.dtype != tf.string:
            return given
        values = given.flat_values if isinstance(given, tf.RaggedTensor) else given.values
        hashed = tf.strings.to_hash_bucket_fast(values, _HASH_BUCKETS)
        if isinstance(given, tf.RaggedTensor):
            return given.with_flat_values(hashed)
        return tf.SparseTensor(given.indices, hashed, given.dense_shape)


@dataclass(frozen=True, eq=False)
class EmbeddingColumn:
    """A categorical column with a table.

    Attributes:
        categorical_column: the ids.
        dimension: size of a row.
        combiner: "mean", "sqrtn" or "sum".
        initializer: of new rows, called with (shape, dtype).
        max_norm: L2 limit of a looked-up row, or None.
        trainable: whether optimizers see the table.
        do_fusion: None, "v1" or "v2".
    """

    categorical_column: CategoricalColumn
    dimension: int
    combiner: str = "mean"
    initializer: Any = None
    max_norm: float | None = None
    trainable: bool = True
    do_fusion: str | None = None
    _variables: Any = field(default_factory=weakref.WeakKeyDictionary, init=False, repr=False)

    @property
    def name(self) -> str:
        """Name of the column, and of its table's scope."""
        return f"{self.categorical_column.name}_embedding"

    def variable(self) -> EmbeddingVariable:
        """The column's table: one in eager mode and all its functions, one per TF1 graph."""
        with tf.init_scope():
            graph = self if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
            if graph not in self._variables:
                self._variables[graph] = EmbeddingVariable(
                    self.dimension,
                    initializer=self.initializer,
                    trainable=self.trainable,
                    name=f"input_layer/{self.name}/embedding_weights",
                )
            found: EmbeddingVariable = self._variables[graph]
            return found


def categorical_column_with_embedding(key: str, dtype: tf.DType = tf.string, partition_num: int | None = None) -> CategoricalColumn:
    """A column of ids for a table that grows.

    Args:
        key: name of the feature.
        dtype: of its values.
        partition_num: must be None; these tables are not partitioned.

    Raises:
        ValueError: an argument is none of its values.
    """
    if partition_num is not None:
        raise ValueError(f"partition_num must be None, got {partition_num}: these tables are not partitioned")
    if dtype not in (tf.string, tf.int32, tf.int64):
        raise ValueError(f"dtype must be string, int32 or int64, got {tf.as_dtype(dtype).name}")
    return CategoricalColumn(key, tf.as_dtype(dtype))


def sparse_column_with_embedding(column_name: str, dtype: tf.DType = tf.string, partition_num: int | None = None) -> CategoricalColumn:
    """The older name of `categorical_column_with_embedding`."""
    return categorical_column_with_embedding(column_name, dtype, partition_num)


def embedding_column(
    categorical_column: CategoricalColumn | None = None,
    dimension: int | None = None,
    combiner: str = "mean",
    initializer: Any = None,
    max_norm: float | None = None,
    trainable: bool = True,
    do_fusion: str | None = None,
    *,
    sparse_id_column: CategoricalColumn | None = None,
) -> EmbeddingColumn:
    """A column of embeddings of ids.

    Args:
        categorical_column: the ids; its older name is ``sparse_id_column``.
        dimension: size of a row.
        combiner: "mean", "sqrtn" or "sum".
        initializer: of new rows, called with (shape, dtype).
        max_norm: L2 limit of a looked-up row, or None.
        trainable: whether optimizers see the table.
        do_fusion: None for stock ops; "v1" or "v2" for the fused op.
        sparse_id_column: see ``categorical_column``.

    Raises:
        ValueError: an argument is missing or none of its values.
    """
    if (categorical_column is None) == (sparse_id_column is None):
        raise ValueError("an embedding column needs one of categorical_column and sparse_id_column")
    if dimension is None or dimension < 1:
        raise ValueError(f"dimension must be at least 1, got {dimension}")
    if combiner not in COMBINERS:
        raise ValueError(f"combiner must be one of {', '.join(COMBINERS)}, got {combiner!r}")
    if do_fusion is not None and do_fusion not in FUSION_VERSIONS:
        raise ValueError(f"do_fusion must be None or one of {', '.join(FUSION_VERSIONS)}, got {do_fusion!r}")
    column = categorical_column or sparse_id_column
    assert column is not None
    return EmbeddingColumn(column, dimension, combiner, initializer, max_norm, trainable, do_fusion)


def input_layer(features: Mapping[str, Any], feature_columns: Iterable[EmbeddingColumn] | EmbeddingColumn) -> tf.Tensor:
    """The embeddings of all columns side by side.

    Args:
        features: by name; [B, *] sparse or ragged.
        feature_columns: embedding columns with distinct names.

    Returns:
        [B, sum of dimensions] float32; columns in the order of their names, as `tf.compat.v1.feature_column.input_layer` has them. An
        empty row is zeros.

    Raises:
        ValueError: no columns, two of one name, or a feature that does not fit its column.
    """
    columns = [feature_columns] if isinstance(feature_columns, EmbeddingColumn) else list(feature_columns)
    columns = sorted(columns, key=lambda column: column.name)
    names = [column.name for column in columns]
    if not columns or len(set(names)) < len(names):
        raise ValueError(f"input_layer needs at least one column, all of distinct names, got {names}")
    with tf.name_scope("input_layer"):
        prepared = [(column, column.variable(), column.categorical_column.ids(features)) for column in columns]
        rows = [(column, variable.table, variable.rows_like(ids)) for column, variable, ids in prepared]
        fused = [Feature(table, ids, combiner=column.combiner, max_norm=column.max_norm) for column, table, ids in rows if column.do_fusion]
        if len(fused) == len(rows):
            return grouped_lookup(fused, concat=True)
        pooled = iter(grouped_lookup(fused)) if fused else iter(())
        return tf.concat([next(pooled) if column.do_fusion else _stock(column, table, ids) for column, table, ids in rows], axis=1)


def _stock(column: EmbeddingColumn, table: tf.Variable, ids: Any) -> tf.Tensor:
    sparse = ids.to_sparse() if isinstance(ids, tf.RaggedTensor) else ids
    # A gather from the variable itself would be made a read without dependencies by a graph optimization (SimplifyEmbeddingLookup), which
    # can then miss the start values of new rows.
    with tf.control_dependencies([sparse.values]):
        values = table.read_value()
    return tf.compat.v1.nn.safe_embedding_lookup_sparse(values, sparse, combiner=column.combiner, max_norm=column.max_norm)


def input_from_feature_columns(columns_to_tensors: Mapping[str, Any], feature_columns: Iterable[EmbeddingColumn]) -> tf.Tensor:
    """The older name of `input_layer`."""
    return input_layer(columns_to_tensors, feature_columns)
