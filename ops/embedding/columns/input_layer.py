"""The dense input of a model from any columns, in which all fused embeddings are one op."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.python.feature_column import feature_column as fc_v1
from tensorflow.python.feature_column import feature_column_v2 as fc_v2

from ops.embedding.columns.categorical import Features, growing
from ops.embedding.columns.embedding import EmbeddingColumn
from ops.embedding.columns.lookups import Call, Lookup, concat_all, pool_all

_v1 = tf.compat.v1


def input_layer(
    features: Mapping[str, Any],
    feature_columns: Any,
    weight_collections: Iterable[str] | None = None,
    trainable: bool = True,
    cols_to_vars: dict[Any, Any] | None = None,
    cols_to_output_tensors: dict[Any, tf.Tensor] | None = None,
    *,
    adaptive_mask_tensors: Mapping[str, Any] | None = None,
    training: bool = True,
) -> tf.Tensor:
    """All columns side by side, as `tf.compat.v1.feature_column.input_layer`.

    Args:
        features: by name; dense, sparse or ragged. Of a dense feature of ids "" and -1 are missing values.
        feature_columns: dense columns of TensorFlow and embedding columns, with distinct names; or one.
        weight_collections: graph collections for new variables.
        trainable: whether new tables of fixed size are trained.
        cols_to_vars: is filled with the list of variables of each column.
        cols_to_output_tensors: is filled with the output [B, its size] of each column.
        adaptive_mask_tensors: by name of an adaptive feature, int32 per id in the order of its values: 1 gives the id a row of its own,
            0 looks it up in the static table. Without one, ids are promoted by the column's filter: all at once if it has none.
        training: ids of growing tables are counted, and new ones get rows; otherwise nothing changes, and ids without a row are pruned
            (of an adaptive column: are looked up in the static table).

    Returns:
        [B, sum of sizes] float32; columns in the order of their names. An empty row of an embedding is zeros.

    Raises:
        ValueError: no columns, two of one name, one that is not dense, a feature that does not fit its column, or a mask of no adaptive
            column.
    """
    columns = checked_columns(feature_columns, "input_layer", fc_v1._DenseColumn)
    masks = adaptive_mask_tensors or {}
    check_masks(masks, [column.categorical_column for column in columns if isinstance(column, EmbeddingColumn)])
    call = Call(Features(features), collections_of(weight_collections), trainable, training, masks)
    with _v1.variable_scope(None, default_name="input_layer"):
        return dense_tensor(columns, call, cols_to_vars, cols_to_output_tensors)


def dense_tensor(
    columns: Sequence[Any],
    call: Call,
    cols_to_vars: dict[Any, Any] | None = None,
    cols_to_output_tensors: dict[Any, tf.Tensor] | None = None,
) -> tf.Tensor:
    """The layer within its variable scope; columns are in order."""
    made = [_make(column, call, cols_to_vars) for column in columns]
    lookups = [each for each in made if isinstance(each, Lookup)]
    if cols_to_output_tensors is None and len(lookups) == len(made) and all(one.pooling.fused and one.is_matrix for one in lookups):
        return concat_all(lookups)  # the op lays the columns side by side
    pooled = iter(pool_all(lookups))
    outputs = []
    for column, each in zip(columns, made, strict=True):
        tensor = next(pooled) if isinstance(each, Lookup) else each
        outputs.append(tf.reshape(tensor, [tf.shape(tensor)[0], column._variable_shape.num_elements()]))
    if cols_to_output_tensors is not None:
        cols_to_output_tensors.update(zip(columns, outputs, strict=True))
    fc_v1._verify_static_batch_size_equality(outputs, columns)
    return tf.concat(outputs, axis=1)


def _make(column: Any, call: Call, cols_to_vars: dict[Any, Any] | None) -> Any:
    """The lookup of an embedding column, the dense tensor of another."""
    with _v1.variable_scope(None, default_name=column._var_scope_name):
        if isinstance(column, EmbeddingColumn):
            column.check_kind(sequence=False)
            lookup = column.lookup(call)
            if cols_to_vars is not None:
                cols_to_vars[column] = lookup.variables
            return lookup
        tensor = column._get_dense_tensor(call.inputs, weight_collections=call.weight_collections, trainable=call.trainable)
        if cols_to_vars is not None:
            scope = _v1.get_variable_scope().name
            cols_to_vars[column] = _v1.get_collection(_v1.GraphKeys.GLOBAL_VARIABLES, scope=scope)
        return tensor


def checked_columns(feature_columns: Any, layer: str, *kinds: type) -> list[Any]:
    """The columns in the order of their names.

    Raises:
        ValueError: none, two of one name, or one of another kind.
    """
    if isinstance(feature_columns, fc_v1._FeatureColumn | fc_v2.DenseColumn | fc_v2.SequenceDenseColumn):
        feature_columns = [feature_columns]
    if isinstance(feature_columns, Mapping | str):
        raise ValueError(f"{layer} needs a list of columns, got {type(feature_columns).__name__}; a mapping's values() will do")
    columns = list(feature_columns)
    for column in columns:
        if not isinstance(column, kinds):
            hint = "; wrap a categorical column in embedding_column or indicator_column" if isinstance(column, fc_v1._FeatureColumn) else ""
            raise ValueError(f"{layer} does not take {column!r} as a column{hint}")
    columns.sort(key=lambda column: column.name)
    names = [column.name for column in columns]
    if not columns or len(set(names)) < len(names):
        raise ValueError(f"{layer} needs at least one column, all of distinct names, got {names}")
    return columns


def check_masks(masks: Mapping[str, Any], categorical_columns: Iterable[Any]) -> None:
    """Refuses a mask of a feature that is not adaptive."""
    grown = [growing(column) for column in categorical_columns]
    unknown = set(masks) - {column.key for column in grown if column is not None and column.hash_bucket_size is not None}
    if unknown:
        raise ValueError(f"adaptive_mask_tensors names {sorted(unknown)[0]!r}, which is no adaptive column of this layer")


def collections_of(weight_collections: Iterable[str] | None) -> list[str]:
    """The graph collections of new variables: those given, and the two that all of TensorFlow's columns' are in."""
    given = list(weight_collections or [])
    keys = _v1.GraphKeys
    return given + [name for name in (keys.GLOBAL_VARIABLES, keys.MODEL_VARIABLES) if name not in given]


def input_from_feature_columns(
    columns_to_tensors: Mapping[str, Any],
    feature_columns: Any,
    weight_collections: Iterable[str] | None = None,
    trainable: bool = True,
    scope: str | None = None,
    **options: Any,
) -> tf.Tensor:
    """The older name of `input_layer`.

    Args:
        columns_to_tensors: the features.
        scope: of the variables, around the layer's.
        feature_columns, weight_collections, trainable, options: as `input_layer`.
    """
    if scope is None:
        return input_layer(columns_to_tensors, feature_columns, weight_collections, trainable, **options)
    with _v1.variable_scope(scope):
        return input_layer(columns_to_tensors, feature_columns, weight_collections, trainable, **options)


class SequenceInput(NamedTuple):
    """What `sequence_input_layer` returns.

    Attributes:
        tensor: [B, T, sum of sizes] float32, T the steps of the feature with most of them; zeros after an example's length.
        lengths: [B] int64.
    """

    tensor: tf.Tensor
    lengths: tf.Tensor


def sequence_input_layer(
    features: Mapping[str, Any],
    feature_columns: Any,
    weight_collections: Iterable[str] | None = None,
    trainable: bool = True,
    *,
    training: bool = True,
) -> SequenceInput:
    """Columns of sequences side by side, step by step.

    Args:
        features: by name; sparse, [B, T] or [B, T, *].
        feature_columns: embedding and indicator columns over sequence columns, and `sequence_numeric_column`; of distinct names, or one.
        weight_collections, trainable, training: as `input_layer`.

    Returns:
        The columns in the order of their names, and the sequences' lengths.

    Raises:
        ValueError: no columns, two of one name, one that is not of sequences, or a feature that does not fit its column.
        tf.errors.InvalidArgumentError: the columns' sequences differ in length.
    """
    columns = checked_columns(feature_columns, "sequence_input_layer", fc_v1._SequenceDenseColumn, fc_v2.SequenceDenseColumn)
    call = Call(Features(features), collections_of(weight_collections), trainable, training)
    with _v1.variable_scope(None, default_name="sequence_input_layer"):
        made = [_make_sequence(column, call) for column in columns]
        pooled = iter(pool_all(each for each, _ in made if isinstance(each, Lookup)))
        outputs, lengths = [], []
        for column, (each, length) in zip(columns, made, strict=True):
            tensor, shape = next(pooled) if isinstance(each, Lookup) else each, column.variable_shape
            outputs.append(tf.reshape(tensor, tf.concat([tf.shape(tensor)[:2], [shape.num_elements()]], axis=0)))
            lengths.append(tf.cast(length, tf.int64))
        checks = [tf.debugging.assert_equal(length, lengths[0], "the columns' sequences differ in length") for length in lengths[1:]]
        steps = tf.reduce_max([tf.shape(output)[1] for output in outputs])
        padded = [tf.pad(output, [[0, 0], [0, steps - tf.shape(output)[1]], [0, 0]]) for output in outputs]
        with tf.control_dependencies([check for check in checks if check is not None]):
            return SequenceInput(tf.concat(padded, axis=2), tf.identity(lengths[0]))


def _make_sequence(column: Any, call: Call) -> tuple[Any, tf.Tensor]:
    with _v1.variable_scope(None, default_name=getattr(column, "_var_scope_name", column.name)):
        if isinstance(column, EmbeddingColumn):
            column.check_kind(sequence=True)
            return column.lookup(call), column.sequence_length(call.inputs)
        if isinstance(column, fc_v1._SequenceDenseColumn):
            options = {"weight_collections": call.weight_collections, "trainable": call.trainable}
            pair = column._get_sequence_dense_tensor(call.inputs, **options)
        else:  # numbers know the newer interface only
            pair = column.get_sequence_dense_tensor(fc_v2.FeatureTransformationCache(call.inputs._features), None)
        return pair.dense_tensor, pair.sequence_length
