"""What Keras sees of a table that grows: variables whose number of rows changes, the slots of its optimizers among them.

Keras knows variables of fixed shape only. A `GrownWeight` tells the rows of the moment, and takes values of any number of rows. Importing
this module lets the optimizers of Keras make their slots of such a table as `GrownWeight`s, which the table's owner grows along.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ops.embedding.reduced import with_padding, without_padding
from ops.embedding.slots import OWNER
from ops.embedding.variable.replicas import in_sync
from ops.embedding.variable.storage import Storage, assign

SUMMED = "_nann_distinct_rows"  # on a table whose gradient of several replicas must have distinct rows


class _Rows(tf.TensorShape):
    """A shape that equals those of other numbers of rows: Keras compares shapes before it assigns."""

    def __eq__(self, other: object) -> bool:
        dims = tf.TensorShape(other).as_list()
        return bool(len(dims) == self.rank and dims[1:] == self.as_list()[1:])

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tf.TensorShape.__hash__


class GrownWeight(tf.keras.Variable):
    """A variable of a table that grows, as Keras wants it.

    Args:
        variable: of the table's `Storage`, or a slot.
        storage: its owner.
        trainable: whether optimizers are to see it.
        name: without slashes.
    """

    def __init__(self, variable: tf.Variable, storage: Storage, *, trainable: bool, name: str) -> None:
        self._storage = storage
        with tf.init_scope():
            shape = tuple(tf.shape(variable).numpy())
        super().__init__(lambda *_, **__: variable, shape=shape, dtype=variable.dtype, trainable=trainable, autocast=False, name=name)

    def _initialize_with_initializer(self, initializer: Callable[[], tf.Variable]) -> None:
        self._value = initializer()

    @property
    def shape(self) -> tf.TensorShape:
        """The shape now; it equals any that differs in the number of rows alone."""
        if self._value is None:
            return _Rows(self._shape)
        with tf.init_scope():
            return _Rows(tf.shape(self._value).numpy())

    @property
    def dtype(self) -> str:
        """The dtype; of text int64, as Keras' summary knows sizes of numbers only."""
        return "int64" if self._dtype == "string" else str(super().dtype)

    def assign(self, value: Any) -> Any:
        """Takes values of any number of rows; a table's slots get as many."""
        value = tf.convert_to_tensor(value, self._value.dtype)
        if value.shape.rank != len(self._shape) or value.shape[1:] != tf.TensorShape(self._shape[1:]):
            raise ValueError(f"{self.path} takes values of shape {['any', *self._shape[1:]]}, got {value.shape}")
        assign(self._value, value)
        if tf.executing_eagerly():
            self._storage.fit_slots()
        return value

    def _restore_from_tensors(self, restored_tensors: dict[str, tf.Tensor]) -> Any:
        return self._value  # a `tf.train.Checkpoint` has what the owner saves, which fits any capacity; an exported model needs the values


def _growing_slots(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def add(self: Any, reference_variable: Any, name: str | None = None, initializer: Any = "zeros") -> Any:
        table = reference_variable.value if isinstance(reference_variable, tf.keras.Variable) else reference_variable
        storage = getattr(table, OWNER, None)
        if not isinstance(storage, Storage):
            return original(self, reference_variable, name=name, initializer=initializer)
        if isinstance(self, tf.keras.optimizers.Adafactor):  # has slots of other shapes, which do not grow
            raise ValueError(f"Adafactor does not train tables that grow, got {table.name}; take Adam, Adagrad, Ftrl or SGD")
        start = tf.keras.initializers.get(initializer)
        with tf.init_scope():
            variable = tf.Variable(start(tf.shape(table).numpy(), dtype=table.dtype), trainable=False, shape=table.shape, name=name)
        storage.attach_slot(table, variable)
        path = getattr(reference_variable, "path", reference_variable.name)
        slot = GrownWeight(variable, storage, trainable=False, name=f"{path}_{name or 'var'}".replace("/", "_").replace(":", "_"))
        weakref.finalize(slot, storage.detach_slot, variable)
        self._track_variable(slot)
        return slot

    return add


def _distinct_rows(original: Callable[..., Any]) -> Callable[..., Any]:
    """Sums gradients over replicas so that each row stands once: Keras squares rows that stand twice one by one."""

    @functools.wraps(original)
    def reduce(self: Any, grads_and_vars: Any) -> Any:
        if in_sync() == 1:
            return original(self, grads_and_vars)
        padded = [(with_padding(each, tf.shape(table)[0]) if _rows_in(each, table) else each, table) for each, table in grads_and_vars]
        reduced = original(self, padded)
        return [(_summed(without_padding(each, table)) if _rows_in(each, table) else each, table) for each, table in reduced]

    return reduce


def _rows_in(gradient: Any, table: Any) -> bool:
    return hasattr(table, SUMMED) and isinstance(gradient, tf.IndexedSlices)


def _summed(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    rows, positions = tf.unique(gradient.indices)
    return tf.IndexedSlices(tf.math.unsorted_segment_sum(gradient.values, positions, tf.size(rows)), rows, gradient.dense_shape)


tf.keras.optimizers.Optimizer._all_reduce_sum_gradients = _distinct_rows(tf.keras.optimizers.Optimizer._all_reduce_sum_gradients)
tf.keras.optimizers.Optimizer.add_variable_from_reference = _growing_slots(tf.keras.optimizers.Optimizer.add_variable_from_reference)
