"""The linear model over any columns, wide and sparse, in which all categorical columns and fused embeddings can be one op."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
from tensorflow.python.feature_column import feature_column as fc_v1

from ops.embedding.columns.categorical import Features, growing
from ops.embedding.columns.embedding import EmbeddingColumn, fusion_version
from ops.embedding.columns.input_layer import check_masks, checked_columns, collections_of
from ops.embedding.columns.lookups import Call, Lookup, Pooling, pool_all
from ops.embedding.columns.tables import GrowingColumnTable, ScopedTable, eager_outside, parts_of
from ops.embedding.features import COMBINERS

_v1 = tf.compat.v1
logger = logging.getLogger(__name__)


@functools.cache
def _warn_of_new_weights() -> None:
    logger.warning(
        "linear_model makes new weights at every call in eager mode, as TensorFlow's does; to train, make a LinearModel once and call that"
    )


def linear_model(
    features: Mapping[str, Any],
    feature_columns: Any,
    units: int = 1,
    sparse_combiner: str = "sum",
    weight_collections: Iterable[str] | None = None,
    trainable: bool = True,
    cols_to_vars: dict[Any, Any] | None = None,
    *,
    do_fusion: str | bool | None = None,
    adaptive_mask_tensors: Mapping[str, Any] | None = None,
    training: bool = True,
) -> tf.Tensor:
    """A weighted sum of all columns and a bias, as `tf.compat.v1.feature_column.linear_model`.

    In a TF1 graph its variables have TensorFlow's names. In eager mode every call makes new weights, as TensorFlow's does: to train there,
    make a `LinearModel`.

    Args:
        features: by name; dense, sparse or ragged. Of a dense feature of ids "" and -1 are missing values.
        feature_columns: dense and categorical columns of TensorFlow, embedding columns, and categorical columns of ours, whose weights
            grow; with distinct names; or one.
        units: outputs U.
        sparse_combiner: of the weights of an example's ids, "sum", "mean" or "sqrtn".
        weight_collections: graph collections for new variables.
        trainable: whether new variables of fixed size are trained.
        cols_to_vars: is filled with the list of variables of each column, and of "bias".
        do_fusion: None or False looks the weights of categorical columns up with stock ops; "v1", "v2" or True in one op with the fused
            embedding columns.
        adaptive_mask_tensors, training: as `input_layer`.

    Returns:
        [B, U] float32.

    Raises:
        ValueError: no columns, two of one name, one that is neither dense nor categorical, a feature that does not fit its column, or an
            argument that is none of its values.
    """
    if eager_outside():
        _warn_of_new_weights()
    model = Weights(units, sparse_combiner, fusion_version(do_fusion) is not None)
    columns = checked_columns(feature_columns, "linear_model", fc_v1._DenseColumn, fc_v1._CategoricalColumn)
    call = linear_call(columns, features, weight_collections, trainable, training, adaptive_mask_tensors)
    with _v1.variable_scope(None, default_name="linear_model"):
        return weighted_sum(columns, call, model, cols_to_vars)


def linear_call(
    columns: Sequence[Any],
    features: Mapping[str, Any],
    weight_collections: Iterable[str] | None,
    trainable: bool,
    training: bool,
    adaptive_mask_tensors: Mapping[str, Any] | None,
) -> Call:
    """The call of a linear model, its masks checked."""
    masks = adaptive_mask_tensors or {}
    check_masks(masks, [column.categorical_column if isinstance(column, EmbeddingColumn) else column for column in columns])
    return Call(Features(features), collections_of(weight_collections), trainable, training, masks)


@dataclass
class Weights:
    """What a linear model is besides its columns.

    Attributes:
        units: outputs.
        combiner: of the weights of categorical columns.
        fused: look these up by the fused op.
        grown: the weights of columns without a number of buckets, by name.

    Raises:
        ValueError: an attribute is none of its values.
    """

    units: int
    combiner: str
    fused: bool
    grown: dict[str, GrowingColumnTable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.units < 1:
            raise ValueError(f"units must be at least 1, got {self.units}")
        if self.combiner not in COMBINERS:
            raise ValueError(f"sparse_combiner must be one of {', '.join(COMBINERS)}, got {self.combiner!r}")

    def table(self, column: Any) -> ScopedTable | GrowingColumnTable:
        """The weights [num_buckets or growing, units] of a categorical column."""
        grows = growing(column)
        if grows is None:
            return ScopedTable((int(column._num_buckets), self.units), "weights")
        if column.name not in self.grown:
            self.grow(column, _v1.get_variable_scope().name)
        return self.grown[column.name]

    def grow(self, column: Any, scope: str) -> None:
        """Makes the weights of a column without a number of buckets; their variables come with the first use."""
        grows = growing(column)
        assert grows is not None
        start = tf.zeros_initializer()
        self.grown[column.name] = GrowingColumnTable(grows, self.units, initializer=start, scope=scope, variable_name="weights")


def weighted_sum(columns: Sequence[Any], call: Call, model: Weights, cols_to_vars: dict[Any, Any] | None = None) -> tf.Tensor:
    """The model within its variable scope; columns are in order."""
    made = [_make(column, call, model, cols_to_vars) for column in columns]
    pooled = iter(pool_all(each for each, _ in made if isinstance(each, Lookup)))
    sums = []
    for column, (each, weights) in zip(columns, made, strict=True):
        tensor = next(pooled) if isinstance(each, Lookup) else each
        if weights is not None:
            tensor = tf.reshape(tensor, [tf.shape(tensor)[0], column._variable_shape.num_elements()])
            tensor = tf.matmul(tensor, tf.convert_to_tensor(weights), name="weighted_sum")
        sums.append(tensor)
    fc_v1._verify_static_batch_size_equality(sums, columns)
    bias = ScopedTable((model.units,), "bias_weights").variable(call.weight_collections, call.trainable)
    if cols_to_vars is not None:
        cols_to_vars["bias"] = parts_of(bias)
    total = tf.add_n(sums, name="weighted_sum_no_bias")
    return tf.nn.bias_add(total, tf.convert_to_tensor(bias), name="weighted_sum")


def _make(column: Any, call: Call, model: Weights, cols_to_vars: dict[Any, Any] | None) -> tuple[Any, Any]:
    """The lookup of a column or its dense tensor, and the weights that multiply it; None: it holds them already."""
    with _v1.variable_scope(None, default_name=column._var_scope_name):
        if isinstance(column, fc_v1._CategoricalColumn):
            lookup = Lookup(column, model.table(column), Pooling(model.combiner, fused=model.fused), call, flat=True)
            if cols_to_vars is not None:
                cols_to_vars[column] = lookup.variables
            return lookup, None
        size = column._variable_shape.num_elements()
        weights = ScopedTable((size, model.units), "weights").variable(call.weight_collections, call.trainable)
        if isinstance(column, EmbeddingColumn):
            column.check_kind(sequence=False)
            made: Any = column.lookup(call)
            variables = made.variables
        else:
            made = column._get_dense_tensor(call.inputs, weight_collections=call.weight_collections, trainable=call.trainable)
            scope, keys = _v1.get_variable_scope().name, _v1.GraphKeys
            variables = [
                one for one in _v1.get_collection(keys.GLOBAL_VARIABLES, scope=scope) if all(one is not w for w in parts_of(weights))
            ]
        if cols_to_vars is not None:
            cols_to_vars[column] = [*parts_of(weights), *variables]
        return made, weights
