"""Embedding columns: a categorical column, of TensorFlow or ours, with a table of its own or a shared one.

They are columns to TensorFlow, too, so its own layers take them; only the layers of `ops.feature_column` put all of them into one op.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
from tensorflow.python.feature_column import feature_column as fc_v1
from tensorflow.python.feature_column import feature_column_v2 as fc_v2
from tensorflow.python.feature_column import utils as fc_utils

from ops.embedding.columns.categorical import CategoricalColumn, growing
from ops.embedding.columns.lookups import Call, Lookup, Pooling, pool_all
from ops.embedding.columns.tables import ColumnTable, GrowingColumnTable
from ops.embedding.features import COMBINERS
from ops.embedding.lookup import FUSION_VERSIONS

_WRAPPERS = (fc_v2.WeightedCategoricalColumn, fc_v2.SequenceCategoricalColumn)


@dataclass(frozen=True, eq=False)
class EmbeddingColumn(fc_v2.DenseColumn, fc_v2.SequenceDenseColumn, fc_v1._DenseColumn, fc_v1._SequenceDenseColumn):
    """A categorical column with a table.

    Attributes:
        categorical_column: the ids.
        dimension: size of a row.
        combiner: "mean", "sqrtn" or "sum".
        max_norm: L2 limit of a looked-up row, or None.
        do_fusion: None, "v1" or "v2".
        use_safe_embedding_lookup: prune negative ids and weights not above 0.
        shared_name: of the table, if columns share it.
        table: its rows.
    """

    categorical_column: Any
    dimension: int
    combiner: str
    max_norm: float | None
    do_fusion: str | None
    use_safe_embedding_lookup: bool
    shared_name: str | None
    table: ColumnTable | GrowingColumnTable = field(repr=False)

    @property
    def _is_v2_column(self) -> bool:
        return False

    @property
    def name(self) -> str:
        """Name of the column, as TensorFlow gives it."""
        return f"{self.categorical_column.name}_{'shared_' if self.shared_name else ''}embedding"

    @property
    def _var_scope_name(self) -> str:
        return self.shared_name or self.name

    @property
    def trainable(self) -> bool:
        """Whether optimizers see the table."""
        return self.table.trainable

    @property
    def pooling(self) -> Pooling:
        """How rows are combined."""
        return Pooling(self.combiner, self.max_norm, self.use_safe_embedding_lookup, self.do_fusion is not None)

    def variable(self) -> Any:
        """The column's table: an `EmbeddingVariable` if it grows, else in eager mode a variable.

        Raises:
            RuntimeError: the table is of fixed size and in a TF1 graph, where each layer has its own: see ``cols_to_vars``.
        """
        if isinstance(self.table, GrowingColumnTable):
            return self.table.variables()[0]
        with tf.init_scope():
            if not tf.executing_eagerly():
                raise RuntimeError(f"in a TF1 graph the tables of {self.name!r} belong to the layers; pass them cols_to_vars")
        return self.table.variable()

    def static_table(self) -> tf.Variable:
        """The table [hash_bucket_size, dimension] of an adaptive column, beside `variable`.

        Raises:
            ValueError: the column is not adaptive.
        """
        static = self.table.variables()[1] if isinstance(self.table, GrowingColumnTable) else None
        if static is None:
            raise ValueError(f"column {self.name!r} is not adaptive: it has no static table beside its own")
        return static

    def lookup(self, call: Call) -> Lookup:
        """What a layer looks up for the column."""
        return Lookup(self.categorical_column, self.table, self.pooling, call)

    @property
    def is_sequence(self) -> bool:
        """Whether it is for `sequence_input_layer`."""
        return isinstance(self.categorical_column, fc_v1._SequenceCategoricalColumn)

    def check_kind(self, *, sequence: bool) -> None:
        """Refuses a sequence column in `input_layer`, and another in `sequence_input_layer`."""
        if self.is_sequence != sequence:
            takes, other = ("sequence_input_layer", "another") if self.is_sequence else ("input_layer", "a sequence")
            raise ValueError(
                f"embedding column {self.name!r} is for {takes}: its categorical column must be {other} column here, "
                f"got {type(self.categorical_column).__name__}"
            )

    @property
    def variable_shape(self) -> tf.TensorShape:
        """[dimension]."""
        return tf.TensorShape([self.dimension])

    @property
    def _variable_shape(self) -> tf.TensorShape:
        return self.variable_shape

    @property
    def parse_example_spec(self) -> dict[str, Any]:
        """What `tf.io.parse_example` needs to know of the features."""
        spec: dict[str, Any] = self.categorical_column.parse_example_spec
        return spec

    @property
    def _parse_example_spec(self) -> dict[str, Any]:
        return self.parse_example_spec

    @property
    def parents(self) -> list[Any]:
        """The categorical column."""
        return [self.categorical_column]

    def _transform_feature(self, inputs: Any) -> Any:
        return inputs.get(self.categorical_column)

    def _get_dense_tensor(self, inputs: Any, weight_collections: list[str] | None = None, trainable: bool | None = None) -> tf.Tensor:
        self.check_kind(sequence=False)
        return pool_all([self.lookup(Call(inputs, weight_collections, trainable is not False))])[0]

    def _get_sequence_dense_tensor(self, inputs: Any, weight_collections: list[str] | None = None, trainable: bool | None = None) -> Any:
        self.check_kind(sequence=True)
        [pooled] = pool_all([self.lookup(Call(inputs, weight_collections, trainable is not False))])
        return self.TensorSequenceLengthPair(dense_tensor=pooled, sequence_length=self.sequence_length(inputs))

    def sequence_length(self, inputs: Any) -> tf.Tensor:
        """[B] int64, the length of each example's sequence."""
        ids = self.categorical_column._get_sparse_tensors(inputs).id_tensor
        return fc_utils.sequence_length_from_sparse_tensor(ids)

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> Any:
        """Refused: layers of `ops.feature_column` take this column, those of Keras do not."""
        raise ValueError(f"column {self.name!r} is for layers of ops.feature_column and tf.compat.v1.feature_column")

    def get_dense_tensor(self, transformation_cache: Any, state_manager: Any) -> Any:
        """Refused, see `transform_feature`."""
        return self.transform_feature(transformation_cache, state_manager)

    def get_sequence_dense_tensor(self, transformation_cache: Any, state_manager: Any) -> Any:
        """Refused, see `transform_feature`."""
        return self.transform_feature(transformation_cache, state_manager)


def embedding_column(
    categorical_column: Any = None,
    dimension: int | None = None,
    combiner: str = "mean",
    initializer: Any = None,
    ckpt_to_load_from: str | None = None,
    tensor_name_in_ckpt: str | None = None,
    max_norm: float | None = None,
    trainable: bool = True,
    use_safe_embedding_lookup: bool = True,
    do_fusion: str | bool | None = None,
    *,
    sparse_id_column: Any = None,
) -> EmbeddingColumn:
    """A column of embeddings of ids, as `tf.compat.v1.feature_column.embedding_column`.

    Args:
        categorical_column: the ids: any categorical column of TensorFlow, whose number of buckets is the size of the table, or one of
            ours, whose table grows. The argument's older name is ``sparse_id_column``.
        dimension: size of a row.
        combiner: "mean", "sqrtn" or "sum".
        initializer: of the table or of new rows, called with (shape, dtype). None: for a table of fixed size normal with deviation
            1/sqrt(dimension), truncated at two deviations; for one that grows uniform in +-1/sqrt(dimension).
        ckpt_to_load_from: checkpoint that a table of fixed size starts from, with ``tensor_name_in_ckpt``.
        tensor_name_in_ckpt: name of the table in that checkpoint.
        max_norm: L2 limit of a looked-up row, or None.
        trainable: whether optimizers see the table.
        use_safe_embedding_lookup: prune negative ids, and weights not above 0; otherwise a negative id is an error.
        do_fusion: None or False for stock ops; "v1", "v2" or True for the fused op.
        sparse_id_column: see ``categorical_column``.

    Raises:
        ValueError: an argument is missing or none of its values.
    """
    if (categorical_column is None) == (sparse_id_column is None):
        raise ValueError("an embedding column needs one of categorical_column and sparse_id_column")
    column = categorical_column if sparse_id_column is None else sparse_id_column
    checkpoint = (ckpt_to_load_from, tensor_name_in_ckpt)
    fusion = _check(column, dimension, combiner, initializer, checkpoint, do_fusion)
    assert dimension is not None
    scope = f"input_layer/{column.name}_embedding"
    table = _table(column, dimension, initializer, trainable, checkpoint, scope=scope)
    return EmbeddingColumn(column, dimension, combiner, max_norm, fusion, use_safe_embedding_lookup, None, table)


def shared_embedding_columns(
    categorical_columns: Sequence[Any],
    dimension: int,
    combiner: str = "mean",
    initializer: Any = None,
    shared_embedding_collection_name: str | None = None,
    ckpt_to_load_from: str | None = None,
    tensor_name_in_ckpt: str | None = None,
    max_norm: float | None = None,
    trainable: bool = True,
    use_safe_embedding_lookup: bool = True,
    do_fusion: str | bool | None = None,
) -> list[EmbeddingColumn]:
    """Columns of embeddings that share one table, as `tf.compat.v1.feature_column.shared_embedding_columns`; in eager mode, too.

    Args:
        categorical_columns: of one kind and, for those of TensorFlow, of one number of buckets; weighted ones beside others.
        shared_embedding_collection_name: name of the table, and of its collection in a TF1 graph; None: made of the columns' names.
        dimension, combiner, initializer, ckpt_to_load_from, tensor_name_in_ckpt, max_norm, trainable, use_safe_embedding_lookup,
            do_fusion: as `embedding_column`.

    Returns:
        One column for each given, in their order.

    Raises:
        ValueError: the columns do not fit together, or an argument is none of its values.
    """
    columns = list(categorical_columns)
    checkpoint = (ckpt_to_load_from, tensor_name_in_ckpt)
    if not columns:
        raise ValueError("shared_embedding_columns needs at least one categorical column, got none")
    fusion = None
    for column in columns:
        fusion = _check(column, dimension, combiner, initializer, checkpoint, do_fusion)
    ordered = sorted(columns, key=lambda column: column.name)
    _check_alike(ordered)
    name = shared_embedding_collection_name or "_".join(column.name for column in ordered) + "_shared_embedding"
    table = _table(ordered[0], dimension, initializer, trainable, checkpoint, scope=f"input_layer/{name}", shared_name=name)
    return [EmbeddingColumn(column, dimension, combiner, max_norm, fusion, use_safe_embedding_lookup, name, table) for column in columns]


def fusion_version(do_fusion: str | bool | None) -> str | None:
    """None or a version of the fused op; True is the newest, False is None."""
    if do_fusion is None or isinstance(do_fusion, bool):
        return FUSION_VERSIONS[-1] if do_fusion else None
    if do_fusion not in FUSION_VERSIONS:
        raise ValueError(f"do_fusion must be None, True, False or one of {', '.join(FUSION_VERSIONS)}, got {do_fusion!r}")
    return do_fusion


def _check(column: Any, dimension: Any, combiner: str, initializer: Any, checkpoint: tuple[Any, Any], do_fusion: Any) -> str | None:
    """Refuses arguments of a column that are none of their values; returns the version of the fused op."""
    if not isinstance(column, fc_v1._CategoricalColumn):
        raise ValueError(f"an embedding column needs a categorical column, got {column!r}")
    if not isinstance(dimension, numbers.Integral) or dimension < 1:
        raise ValueError(f"dimension must be an integer of at least 1, got {dimension!r}")
    if combiner not in COMBINERS:
        raise ValueError(f"combiner must be one of {', '.join(COMBINERS)}, got {combiner!r}")
    if initializer is not None and not callable(initializer):
        raise ValueError(f"initializer must be callable, with (shape, dtype), got {initializer!r}")
    if (checkpoint[0] is None) != (checkpoint[1] is None):
        raise ValueError(f"ckpt_to_load_from and tensor_name_in_ckpt go together, got {checkpoint[0]!r} and {checkpoint[1]!r}")
    if checkpoint[0] is not None and growing(column) is not None:
        raise ValueError(f"the table of column {column.name!r} grows and starts from no tensor; restore a checkpoint of its variable")
    return fusion_version(do_fusion)


def _check_alike(columns: Sequence[Any]) -> None:
    bare = []
    for column in columns:
        while isinstance(column, _WRAPPERS):
            column = column.categorical_column
        bare.append(column)
    first = bare[0]
    for column in bare[1:]:
        if not isinstance(column, type(first)):
            raise ValueError(f"columns that share a table must be of one kind, got {first!r} and {column!r}")
        if isinstance(column, CategoricalColumn):
            alike = [(each.key_dtype, each.partition_num, each.option, each.hash_bucket_size) for each in (first, column)]
        else:
            alike = [each._num_buckets for each in (first, column)]
        if alike[0] != alike[1]:
            raise ValueError(f"columns that share a table must agree on everything but their features, got {first!r} and {column!r}")


def _table(
    column: Any,
    dimension: int,
    initializer: Any,
    trainable: bool,
    checkpoint: tuple[Any, Any],
    *,
    scope: str,
    shared_name: str | None = None,
) -> ColumnTable | GrowingColumnTable:
    grows = growing(column)
    if grows is not None:
        return GrowingColumnTable(grows, dimension, initializer=initializer, trainable=trainable, scope=scope)
    if initializer is None:
        initializer = tf.compat.v1.truncated_normal_initializer(mean=0.0, stddev=dimension**-0.5)
    return ColumnTable(
        (int(column._num_buckets), dimension),
        initializer=initializer,
        trainable=trainable,
        checkpoint=None if checkpoint[0] is None else checkpoint,
        scope=scope,
        shared_name=shared_name,
    )
