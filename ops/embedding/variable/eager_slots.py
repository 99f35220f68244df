"""Slots that the optimizers of `tf.compat.v1.train` make in eager mode: of a table that grows they grow along.

These optimizers copy the shape that a variable has when they first see it, and tell nobody. Importing this module lets them make the slots
of an `EmbeddingVariable`'s table as those of `ops.embedding.update` are made. In TF1 graphs `GraphSlots` finds them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.training import optimizer as v1_optimizer

from ops.embedding.slots import OWNER
from ops.embedding.variable.storage import Storage


def _slot(optimizer: Any, table: Any, name: str, value: Callable[[], tf.Tensor]) -> tf.Variable:
    """The optimizer's slot of a name for a table, made from a value of the table's shape if it is not there."""
    slots = optimizer._slot_dict(name)
    key = v1_optimizer._var_key(table)
    if key not in slots:
        with tf.init_scope():
            slots[key] = tf.Variable(value(), trainable=False, name=f"{table.name.split(':')[0]}/{name}", shape=table.shape)
        getattr(table, OWNER).attach_slot(table, slots[key])
    return slots[key]


def _grows(variable: Any) -> bool:
    owner = getattr(variable, OWNER, None)
    return isinstance(owner, Storage) and not owner.graph_mode


def _start(table: Any, initializer: Any) -> tf.Tensor:
    """What an initializer of the optimizer gives for the rows that a table has now."""
    if not callable(initializer):
        return tf.convert_to_tensor(initializer)
    wants_shape = bool(inspect.signature(initializer).parameters)
    return tf.convert_to_tensor(initializer(tf.shape(table).numpy().tolist(), table.dtype) if wants_shape else initializer())


def _wrapped(name: str, value_of: Callable[..., Callable[[], tf.Tensor]], slot_name_at: int) -> None:
    original = getattr(v1_optimizer.Optimizer, name)

    @functools.wraps(original)
    def make(self: Any, var: Any, *arguments: Any) -> Any:
        if not _grows(var):
            return original(self, var, *arguments)
        return _slot(self, var, arguments[slot_name_at], value_of(var, *arguments))

    setattr(v1_optimizer.Optimizer, name, make)


_wrapped("_get_or_make_slot", lambda _, value, *__: lambda: tf.convert_to_tensor(value), 1)
_wrapped("_get_or_make_slot_with_initializer", lambda var, initializer, *_: lambda: _start(var, initializer), 3)
_wrapped("_zeros_slot", lambda var, *_: lambda: tf.zeros_like(var), 0)
