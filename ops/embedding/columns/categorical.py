"""Categorical columns for tables that grow, and how columns get at the features.

They are columns to TensorFlow, too: `tf.compat.v1.feature_column` takes them where no number of buckets is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import tensorflow as tf
from tensorflow.python.feature_column import feature_column as fc_v1
from tensorflow.python.feature_column import feature_column_v2 as fc_v2
from tensorflow.python.feature_column import feature_column_v2_types as fc_types

from ops.embedding.variable import CounterFilter, EmbeddingVariableOption


class Features(fc_v1._LazyBuilder):
    """The features of one call, each transformed once. Ragged features are sparse for TensorFlow's columns.

    Args:
        features: by name: dense, sparse or ragged tensors of rank 1 or more.
    """

    def __init__(self, features: Mapping[str, Any]) -> None:
        super().__init__(dict(features))

    def get(self, key: Any) -> Any:
        """The feature of a name, or what a column makes of its features.

        Raises:
            ValueError: the feature is not there.
        """
        check_there(self, key)
        return super().get(key)

    def _get_raw_feature_as_tensor(self, key: str) -> Any:
        given = self._features[key]
        if isinstance(given, tf.RaggedTensor):
            return given.to_sparse()
        return super()._get_raw_feature_as_tensor(key)


def check_there(inputs: Any, key: Any) -> None:
    """Refuses the name of a feature that is not given."""
    if isinstance(key, str) and key not in inputs._features:
        raise ValueError(f"feature {key!r} is not among the given features {sorted(str(name) for name in inputs._features)}")


def _sparse_or_ragged(inputs: Any, key: str, missing: Any = None) -> tf.SparseTensor | tf.RaggedTensor:
    """A feature of rank 2 or more; of a dense one, the values that are not ``missing``, None: "" and -1."""
    check_there(inputs, key)
    given = inputs._features[key]
    if isinstance(given, tf.RaggedTensor):
        return given
    return fc_v2._to_sparse_input_and_drop_ignore_values(inputs.get(key), missing)


@dataclass(frozen=True)
class CategoricalColumn(fc_types.FeatureColumn, fc_v1._CategoricalColumn):
    """A feature of ids for a table that grows.

    Attributes:
        key: name of the feature.
        dtype: of its values: int64, int32 (features of any integer type are taken) or string.
        partition_num: parts of the table; None: one.
        option: filter, eviction and start values of the `EmbeddingVariable`.
        hash_bucket_size: rows of the static table of an adaptive embedding; None: the embedding is not adaptive.
        weight_key: name of the feature with the weights of the ids, of their structure; None: they have none.
    """

    key: str
    dtype: tf.DType = tf.string
    partition_num: int | None = None
    option: EmbeddingVariableOption = field(default_factory=EmbeddingVariableOption)
    hash_bucket_size: int | None = None
    weight_key: str | None = None

    _is_v2_column = True

    @property
    def name(self) -> str:
        """The feature's name, and that of its weights."""
        return self.key if self.weight_key is None else f"{self.key}_weighted_by_{self.weight_key}"

    @property
    def key_dtype(self) -> tf.DType:
        """Of the keys of its table: int64 or string."""
        return tf.string if self.dtype == tf.string else tf.int64

    @property
    def parse_example_spec(self) -> dict[str, Any]:
        """What `tf.io.parse_example` needs to know of the features."""
        weights = {} if self.weight_key is None else {self.weight_key: tf.io.VarLenFeature(tf.float32)}
        return {self.key: tf.io.VarLenFeature(self.key_dtype), **weights}

    _parse_example_spec = parse_example_spec

    @property
    def parents(self) -> list[Any]:
        """Names of the features."""
        return [self.key] if self.weight_key is None else [self.key, self.weight_key]

    @property
    def num_buckets(self) -> int:
        """Refused: there is none."""
        raise ValueError(
            f"the table of column {self.name!r} grows and has no number of buckets; use the column in embedding_column, "
            "shared_embedding_columns or linear_model of ops.feature_column"
        )

    _num_buckets = num_buckets

    def ids(self, inputs: Any) -> tf.SparseTensor | tf.RaggedTensor:
        """The ids [B, *] of this feature; of a dense one, those that are not "" or -1.

        Raises:
            ValueError: the feature is not there, or of another dtype.
        """
        given = _sparse_or_ragged(inputs, self.key)
        if (self.dtype == tf.string) != (given.dtype == tf.string) or not (given.dtype == tf.string or given.dtype.is_integer):
            raise ValueError(f"feature {self.key!r} must be of dtype {self.dtype.name}, got {given.dtype.name}")
        return given if given.dtype in (tf.string, tf.int32, tf.int64) else tf.cast(given, tf.int64)

    def weights(self, inputs: Any) -> tf.SparseTensor | tf.RaggedTensor | None:
        """The weights [B, *] float32 of the ids, if the column has any; of dense ones, those that are not 0.

        Raises:
            ValueError: the feature is not there, or of another dtype.
        """
        if self.weight_key is None:
            return None
        given = _sparse_or_ragged(inputs, self.weight_key, missing=0.0)
        if not (given.dtype.is_floating or given.dtype.is_integer):
            raise ValueError(f"weights {self.weight_key!r} of feature {self.key!r} must be numbers, got {given.dtype.name}")
        return tf.cast(given, tf.float32)

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> Any:
        """Refused: layers of `ops.feature_column` take this column, those of Keras do not."""
        raise ValueError(f"column {self.name!r} is for layers of ops.feature_column and tf.compat.v1.feature_column")

    def _transform_feature(self, inputs: Any) -> tf.SparseTensor:
        return as_sparse(self.ids(inputs))

    def _get_sparse_tensors(self, inputs: Any, weight_collections: Any = None, trainable: Any = None) -> Any:
        weights = self.weights(inputs)
        return fc_v1._CategoricalColumn.IdWeightPair(inputs.get(self), None if weights is None else as_sparse(weights))


def as_sparse(given: tf.SparseTensor | tf.RaggedTensor) -> tf.SparseTensor:
    """Ragged ids or weights as sparse ones."""
    return given.to_sparse() if isinstance(given, tf.RaggedTensor) else given


def growing(categorical_column: Any) -> CategoricalColumn | None:
    """The column for a table that grows that this one is, or is a sequence of; None: it is another."""
    while isinstance(categorical_column, fc_v2.SequenceCategoricalColumn):
        categorical_column = categorical_column.categorical_column
    return categorical_column if isinstance(categorical_column, CategoricalColumn) else None


def ids_and_weights(categorical_column: Any, inputs: Any) -> tuple[Any, Any]:
    """The ids of a column, sparse or ragged, [B, *] or of more axes, and their weights of the same kind, or None."""
    if isinstance(categorical_column, CategoricalColumn):
        ids, weights = categorical_column.ids(inputs), categorical_column.weights(inputs)
        if weights is not None and isinstance(ids, tf.RaggedTensor) != isinstance(weights, tf.RaggedTensor):
            ids, weights = as_sparse(ids), as_sparse(weights)
        return ids, weights
    return tuple(categorical_column._get_sparse_tensors(inputs))


def categorical_column_with_embedding(
    key: str, dtype: tf.DType = tf.string, partition_num: int | None = None, ev_option: EmbeddingVariableOption | None = None
) -> CategoricalColumn:
    """A column of ids for a table that grows. Negative ids are pruned, as in the fused lookup.

    Args:
        key: name of the feature.
        dtype: of its values: int64, int32 or string.
        partition_num: parts of the table; None: one.
        ev_option: filter, eviction and start values. An id that the filter has not admitted adds nothing, like one that is pruned.

    Raises:
        ValueError: an argument is none of its values.
    """
    if partition_num is not None and partition_num < 1:
        raise ValueError(f"partition_num must be at least 1, got {partition_num}; None for one part")
    if dtype not in (tf.string, tf.int32, tf.int64):
        raise ValueError(f"dtype must be string, int32 or int64, got {tf.as_dtype(dtype).name}")
    return CategoricalColumn(key, tf.as_dtype(dtype), partition_num, ev_option or EmbeddingVariableOption())


def sparse_column_with_embedding(
    column_name: str, dtype: tf.DType = tf.string, partition_num: int | None = None, ev_option: EmbeddingVariableOption | None = None
) -> CategoricalColumn:
    """The older name of `categorical_column_with_embedding`."""
    return categorical_column_with_embedding(column_name, dtype, partition_num, ev_option)


def categorical_column_with_adaptive_embedding(
    key: str,
    hash_bucket_size: int,
    dtype: tf.DType = tf.string,
    partition_num: int | None = None,
    ev_option: EmbeddingVariableOption | None = None,
    *,
    promote_after: int | None = None,
) -> CategoricalColumn:
    """A column of ids that live in a small static table, in which they may collide, until they are promoted to rows of their own.

    Which ids are promoted, `input_layer` is told by ``adaptive_mask_tensors``; without a mask a counter decides. A promoted id starts from
    what its static row holds, and from then on the two are independent.

    Args:
        key: name of the feature.
        hash_bucket_size: rows of the static table.
        dtype: of its values: int64, int32 or string. Negative ids are pruned, as in the fused lookup.
        partition_num: parts of the table of own rows; None: one.
        ev_option: filter and eviction of the own rows.
        promote_after: an id is promoted in the training lookup in which its count of occurrences reaches this; short for
            ``ev_option`` with ``filter_option=CounterFilter(promote_after)``.

    Raises:
        ValueError: an argument is none of its values.
    """
    if hash_bucket_size < 1:
        raise ValueError(f"hash_bucket_size must be at least 1, got {hash_bucket_size}")
    option = ev_option or EmbeddingVariableOption()
    if promote_after is not None:
        if option.filter_option is not None:
            raise ValueError("give promote_after or a filter_option, not both: each says when ids are promoted")
        if promote_after < 1:
            raise ValueError(f"promote_after must be at least 1, got {promote_after}")
        option = replace(option, filter_option=CounterFilter(promote_after))
    return replace(categorical_column_with_embedding(key, dtype, partition_num, option), hash_bucket_size=hash_bucket_size)


def weighted_categorical_column(categorical_column: Any, weight_feature_key: str, dtype: tf.DType = tf.float32) -> Any:
    """The column with a weight per id, from the feature of another name, of the ids' structure.

    Args:
        categorical_column: of this module or of TensorFlow.
        weight_feature_key: name of the feature with the weights.
        dtype: of the weights.
    """
    if isinstance(categorical_column, CategoricalColumn):
        return replace(categorical_column, weight_key=weight_feature_key)
    return tf.compat.v1.feature_column.weighted_categorical_column(categorical_column, weight_feature_key, dtype)
