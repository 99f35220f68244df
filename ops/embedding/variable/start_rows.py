"""Initializers for tables whose number of rows nobody knows beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import init_ops, init_ops_v2

POOL_ROWS = 4096
_CONSTANT = (init_ops.Constant, init_ops_v2.Constant)
_BY_SHAPE = (
    init_ops.VarianceScaling,
    init_ops.Orthogonal,
    init_ops_v2.VarianceScaling,
    init_ops_v2.Orthogonal,
    tf.keras.initializers.VarianceScaling,
    tf.keras.initializers.Orthogonal,
)


def for_new_rows(initializer: Any, dim: int, pool_rows: int | None) -> Callable[[tf.Tensor, tf.DType], tf.Tensor]:
    """An initializer that takes a shape [m, dim] of which m is a tensor, may be 0, and says nothing about the table.

    Those of constants want a shape that is known, and those that depend on the shape (Glorot, He, orthogonal) that of a table: they give
    rows of a table of ``pool_rows``.

    Args:
        initializer: called with (shape, dtype), or a class of such.
        dim: size of a row.
        pool_rows: None: 4096.
    """
    made = initializer() if isinstance(initializer, type) else initializer
    if isinstance(made, _CONSTANT):
        rows = 1
    elif isinstance(made, _BY_SHAPE):
        rows = pool_rows or POOL_ROWS
    else:
        found: Callable[[tf.Tensor, tf.DType], tf.Tensor] = made
        return found

    def draw(shape: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        count = shape[0]
        drawn = tf.cond(count > 0, lambda: tf.convert_to_tensor(made([rows, dim], dtype)), lambda: tf.zeros([rows, dim], dtype))
        return tf.gather(drawn, tf.range(count) % rows)

    return draw
