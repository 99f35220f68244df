"""`input_layer` and `linear_model` as objects: they hold their variables, so that they can be called again, in eager mode above all."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf
from tensorflow.python.feature_column import feature_column as fc_v1
from tensorflow.python.trackable import resource
from tensorflow.python.trackable.base import no_automatic_dependency_tracking

from ops.embedding.columns.categorical import Features, growing
from ops.embedding.columns.embedding import EmbeddingColumn, fusion_version
from ops.embedding.columns.input_layer import check_masks, checked_columns, collections_of, dense_tensor
from ops.embedding.columns.linear_model import Weights, linear_call, weighted_sum
from ops.embedding.columns.lookups import Call
from ops.embedding.columns.tables import ColumnTable, GrowingColumnTable, eager_outside, parts_of


class _Layer(tf.Module):
    """A function of columns that makes its variables at the first call and takes them again at the next.

    In eager mode the tables of embedding columns belong to the columns; the layer lists and saves them, too.
    """

    _columns: list[Any]

    def __init__(self, columns: list[Any], function: Any, name: str) -> None:
        super().__init__(name=name)
        self._set_columns(columns)
        self._numbers = itertools.count()
        self._template = tf.compat.v1.make_template(name, function, create_scope_now_=False)
        if eager_outside():
            for number, table in enumerate(self._tables()):
                self._track_trackable(table, name=f"table_{number}")

    def _growing(self) -> list[GrowingColumnTable]:
        """The growing tables of the columns."""
        columns = [column for column in self._columns if isinstance(column, EmbeddingColumn)]
        return [column.table for column in columns if isinstance(column.table, GrowingColumnTable)]

    @no_automatic_dependency_tracking
    def _set_columns(self, columns: list[Any]) -> None:
        self._columns = columns

    def _call(self, *arguments: Any) -> tf.Tensor:
        self._tables()  # those that grow must not be made within a template
        # A template of eager mode keeps the scope of its second call, and in it the function that was traced then.
        self._template._variable_scope_context_manager = None
        if tf.executing_eagerly() or not eager_outside():
            return self._template(*arguments)
        tracker = resource.ResourceTracker()
        with resource.resource_tracker_scope(tracker):
            result = self._template(*arguments)
        for made in tracker.resources:  # tables of vocabularies, which a SavedModel needs
            self._track_trackable(made, name=f"resource_{next(self._numbers)}")
        return result

    def _tables(self) -> list[Any]:
        """The tables that do not belong to the template, each once: growing ones, and in eager mode those of embedding columns."""
        found = [table for grown in self._growing() for table in grown.variables()]
        if eager_outside():
            own = [column.table for column in self._columns if isinstance(column, EmbeddingColumn)]
            found += [table.variable() for table in own if isinstance(table, ColumnTable)]
        return list({id(table): table for table in found if table is not None}.values())

    @property
    def variables(self) -> tuple[tf.Variable, ...]:
        """All variables so far."""
        return (*self._template.variables, *(variable for table in self._tables() for variable in parts_of(table)))

    @property
    def trainable_variables(self) -> tuple[tf.Variable, ...]:
        """Those of `variables` that optimizers see."""
        return tuple(variable for variable in self.variables if variable.trainable)


class InputLayer(_Layer):
    """`input_layer` of some columns, to be called with features.

    Args:
        feature_columns, weight_collections, trainable: as `input_layer`.
        name: scope of its variables in a TF1 graph.

    Raises:
        ValueError: as `input_layer`.
    """

    def __init__(
        self, feature_columns: Any, weight_collections: Iterable[str] | None = None, trainable: bool = True, name: str = "input_layer"
    ) -> None:
        columns = checked_columns(feature_columns, "InputLayer", fc_v1._DenseColumn)
        collections = collections_of(weight_collections)

        def layer(features: Mapping[str, Any], masks: Mapping[str, Any], training: bool) -> tf.Tensor:
            return dense_tensor(columns, Call(Features(features), collections, trainable, training, masks))

        super().__init__(columns, layer, name)

    def __call__(
        self, features: Mapping[str, Any], *, adaptive_mask_tensors: Mapping[str, Any] | None = None, training: bool = True
    ) -> tf.Tensor:
        """[B, sum of sizes] float32; arguments as `input_layer`."""
        masks = adaptive_mask_tensors or {}
        check_masks(masks, [column.categorical_column for column in self._columns if isinstance(column, EmbeddingColumn)])
        return self._call(features, masks, training)


class LinearModel(_Layer):
    """`linear_model` of some columns, to be called with features.

    Args:
        feature_columns, units, sparse_combiner, weight_collections, trainable, do_fusion: as `linear_model`.
        name: scope of its variables in a TF1 graph.

    Raises:
        ValueError: as `linear_model`.
    """

    def __init__(
        self,
        feature_columns: Any,
        units: int = 1,
        sparse_combiner: str = "sum",
        weight_collections: Iterable[str] | None = None,
        trainable: bool = True,
        name: str = "linear_model",
        *,
        do_fusion: str | bool | None = None,
    ) -> None:
        columns = checked_columns(feature_columns, "LinearModel", fc_v1._DenseColumn, fc_v1._CategoricalColumn)
        self._set_weights(Weights(units, sparse_combiner, fusion_version(do_fusion) is not None))
        for column in columns:
            if growing(column) is not None:
                self._weights.grow(column, f"{name}/{column.name}")

        def layer(features: Mapping[str, Any], masks: Mapping[str, Any] | None, training: bool) -> tf.Tensor:
            call = linear_call(columns, features, weight_collections, trainable, training, masks)
            return weighted_sum(columns, call, self._weights)

        super().__init__(columns, layer, name)

    @no_automatic_dependency_tracking
    def _set_weights(self, weights: Weights) -> None:
        self._weights = weights

    def _growing(self) -> list[GrowingColumnTable]:
        return [*super()._growing(), *self._weights.grown.values()]

    def __call__(
        self, features: Mapping[str, Any], *, adaptive_mask_tensors: Mapping[str, Any] | None = None, training: bool = True
    ) -> tf.Tensor:
        """[B, U] float32; arguments as `linear_model`."""
        return self._call(features, adaptive_mask_tensors, training)
