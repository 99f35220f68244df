"""Feature columns over tables that need no vocabulary size, with the names of the embedding interfaces of DeepRec.

Two generations of names lead to the same columns: `categorical_column_with_embedding`, `embedding_column`, `input_layer`, and
`sparse_column_with_embedding`, `embedding_column(sparse_id_column=)`, `input_from_feature_columns`. Each embedding column owns an
`EmbeddingVariable`; over `categorical_column_with_adaptive_embedding` it owns a small static table, too. ``do_fusion`` None looks up with
stock ops; "v1" and "v2" take part in one grouped native op.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import tensorflow as tf

from ops.embedding.adaptive import adaptive_feature
from ops.embedding.features import COMBINERS, Feature
from ops.embedding.grouped import grouped_lookup
from ops.embedding.lookup import FUSION_VERSIONS
from ops.embedding.variable import CounterFilter, EmbeddingVariable, EmbeddingVariableOption


@dataclass(frozen=True)
class CategoricalColumn:
    """A feature of sparse ids.

    Attributes:
        key: name of the feature.
        dtype: of its values: int64, int32 or string.
        partition_num: parts of the table; None: one.
        option: filter, eviction and start values of the `EmbeddingVariable`.
        hash_bucket_size: rows of the static table of an adaptive embedding; None: the embedding is not adaptive.
        weight_key: name of the feature with the weights of the ids, of their kind and structure; None: they have none.
    """

    key: str
    dtype: tf.DType = tf.string
    partition_num: int | None = None
    option: EmbeddingVariableOption = field(default_factory=EmbeddingVariableOption)
    hash_bucket_size: int | None = None
    weight_key: str | None = None

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
        return given

    def weights(self, features: Mapping[str, Any]) -> tf.SparseTensor | tf.RaggedTensor | None:
        """The weights [B, *] float32 of the ids, if the column has any.

        Raises:
            ValueError: the feature is not there.
        """
        if self.weight_key is None:
            return None
        if self.weight_key not in features:
            raise ValueError(f"weights {self.weight_key!r} of feature {self.key!r} are not among the given features {sorted(features)}")
        return features[self.weight_key]


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
                self._variables[graph] = self._make_variable()
            found: EmbeddingVariable = self._variables[graph][0]
            return found

    def static_table(self) -> tf.Variable:
        """The table [hash_bucket_size, dimension] of an adaptive column, beside `variable`."""
        self.variable()
        with tf.init_scope():
            graph = self if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
            return self._variables[graph][1]

    def _make_variable(self) -> tuple[EmbeddingVariable, tf.Variable | None]:
        column, name = self.categorical_column, f"input_layer/{self.name}/embedding_weights"
        variable = EmbeddingVariable(
            self.dimension,
            key_dtype=tf.string if column.dtype == tf.string else tf.int64,
            initializer=self.initializer,
            option=column.option,
            partition_num=column.partition_num,
            trainable=self.trainable,
            name=name,
        )
        if column.hash_bucket_size is None:
            return variable, None
        shape = [column.hash_bucket_size, self.dimension]
        initializer = self.initializer or tf.random_uniform_initializer(-(self.dimension**-0.5), self.dimension**-0.5)
        options = {"use_resource": True} if variable.graph_mode else {}
        make = tf.compat.v1.Variable if variable.graph_mode else tf.Variable
        return variable, make(initializer(tf.TensorShape(shape), tf.float32), trainable=self.trainable, name=f"{name}_static", **options)


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


def weighted_categorical_column(categorical_column: CategoricalColumn, weight_feature_key: str) -> CategoricalColumn:
    """The column with a weight per id, from the feature of another name: float32, of the ids' kind and structure."""
    return replace(categorical_column, weight_key=weight_feature_key)


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


def input_layer(
    features: Mapping[str, Any],
    feature_columns: Iterable[EmbeddingColumn] | EmbeddingColumn,
    *,
    adaptive_mask_tensors: Mapping[str, Any] | None = None,
    training: bool = True,
) -> tf.Tensor:
    """The embeddings of all columns side by side.

    Args:
        features: by name; [B, *] sparse or ragged.
        feature_columns: embedding columns with distinct names.
        adaptive_mask_tensors: by name of an adaptive feature, int32 per id in the order of its values: 1 gives the id a row of its own,
            0 looks it up in the static table. Without one, ids are promoted by the column's filter: all at once if it has none.
        training: ids are counted, and new ones get rows; otherwise nothing changes, and ids without a row are pruned (of an adaptive
            column: are looked up in the static table).

    Returns:
        [B, sum of dimensions] float32; columns in the order of their names, as `tf.compat.v1.feature_column.input_layer` has them. An
        empty row is zeros.

    Raises:
        ValueError: no columns, two of one name, a feature that does not fit its column, or a mask of no adaptive column.
    """
    columns = [feature_columns] if isinstance(feature_columns, EmbeddingColumn) else list(feature_columns)
    columns = sorted(columns, key=lambda column: column.name)
    names = [column.name for column in columns]
    if not columns or len(set(names)) < len(names):
        raise ValueError(f"input_layer needs at least one column, all of distinct names, got {names}")
    masks = adaptive_mask_tensors or {}
    unknown = set(masks) - {column.categorical_column.key for column in columns if column.categorical_column.hash_bucket_size is not None}
    if unknown:
        raise ValueError(f"adaptive_mask_tensors names {sorted(unknown)[0]!r}, which is no adaptive column of this layer")
    with tf.name_scope("input_layer"):
        lookups = [_Lookup(column, features, masks, training) for column in columns]
        fused = [feature for lookup in lookups if lookup.column.do_fusion for feature in lookup.features]
        if all(lookup.column.do_fusion and not lookup.is_adaptive for lookup in lookups):  # the op lays the columns side by side
            return grouped_lookup(fused, concat=True)
        pooled = iter(grouped_lookup(fused)) if fused else iter(())
        return tf.concat([lookup.result(pooled) for lookup in lookups], axis=1)


class _Lookup:
    """One column of a layer: what it looks up, one feature or two, and what it makes of the result."""

    def __init__(self, column: EmbeddingColumn, features: Mapping[str, Any], masks: Mapping[str, Any], training: bool) -> None:
        self.column, variable = column, column.variable()
        categorical = column.categorical_column
        ids, weights = categorical.ids(features), categorical.weights(features)
        common: dict[str, Any] = {"weights": weights, "combiner": column.combiner, "max_norm": column.max_norm}
        self._adaptive = None
        self.is_adaptive = categorical.hash_bucket_size is not None
        if not self.is_adaptive:
            rows = variable.rows_like(ids, insert=training)
            self.features = [Feature(variable.table, rows, partition_strategy="mod", **common)]
            return
        mask = masks.get(categorical.key)
        self._adaptive = adaptive_feature(variable, column.static_table(), ids, mask=mask, training=training, **common)
        self.features = list(self._adaptive.features)

    def result(self, pooled: Iterator[tf.Tensor]) -> tf.Tensor:
        """[B, dimension], from the outputs of the fused op if the column takes part in it."""
        fused = self.column.do_fusion is not None
        if self._adaptive is None:
            return next(pooled) if fused else _stock(self.features[0])
        static, own = (next(pooled), next(pooled)) if fused else grouped_lookup(self.features, fused=False)
        return self._adaptive.pool(static, own)


def _stock(feature: Feature) -> tf.Tensor:
    sparse = _sparse(feature.ids)
    weights = None if feature.weights is None else _sparse(feature.weights)
    # A gather from the variable itself would be made a read without dependencies by a graph optimization (SimplifyEmbeddingLookup), which
    # can then miss the start values of new rows.
    tables = feature.table if isinstance(feature.table, list) else [feature.table]
    with tf.control_dependencies([sparse.values]):
        values = [table.read_value() for table in tables]
    return tf.compat.v1.nn.safe_embedding_lookup_sparse(
        values, sparse, weights, combiner=feature.combiner, max_norm=feature.max_norm, partition_strategy="mod"
    )


def _sparse(given: tf.SparseTensor | tf.RaggedTensor) -> tf.SparseTensor:
    return given.to_sparse() if isinstance(given, tf.RaggedTensor) else given


def input_from_feature_columns(
    columns_to_tensors: Mapping[str, Any], feature_columns: Iterable[EmbeddingColumn], **options: Any
) -> tf.Tensor:
    """The older name of `input_layer`."""
    return input_layer(columns_to_tensors, feature_columns, **options)
