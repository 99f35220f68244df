"""The grouped lookup from stock ops: where the native library is missing, under XLA, on a GPU without kernels, and for `defuse`.

A gather and unsorted segment sums; shapes depend on shapes alone, so it compiles under XLA where the inputs' shapes are known.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.ops import control_flow_util

from ops.embedding.features import Group


def inside_xla() -> bool:
    """Whether what is being traced will be compiled by XLA, which knows stock ops alone."""
    return bool(control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def lookup(group: Group) -> list[tf.Tensor]:
    """The outputs of the grouped op: [B, dim] per feature, or one [B, sum of dims] tensor if ``group.concat``."""
    pooled = [_pool(group, feature) for feature in range(len(group.ids))]
    return [tf.concat(pooled, axis=1)] if group.concat else pooled


def row_numbers(segments: tf.Tensor, dense_shape: tf.Tensor, num_ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Row of every id [v] int64 and the number of rows, from row splits [B + 1] or sparse indices [v, rank]."""
    if segments.shape.rank == 1:
        num_rows = tf.shape(segments, out_type=tf.int64)[0] - 1
        return tf.searchsorted(segments, tf.range(num_ids), side="right", out_type=tf.int64) - 1, num_rows
    leading = dense_shape[:-1]
    strides = tf.math.cumprod(leading, exclusive=True, reverse=True)
    return tf.reduce_sum(segments[:, :-1] * strides, axis=1), tf.reduce_prod(leading)


def _pool(group: Group, feature: int) -> tf.Tensor:
    ids, weights, combiner = group.ids[feature], group.weights_of(feature), group.combiners[feature]
    dtype = group.dtype
    wide = tf.float32 if dtype in (tf.float16, tf.bfloat16) else dtype
    num_ids = tf.shape(ids, out_type=tf.int64)[0]
    rows, num_rows = row_numbers(group.segments[feature], group.dense_shapes[feature], num_ids)
    keep = tf.ones_like(ids, dtype=tf.bool)
    if inside_xla():  # a program of XLA cannot fail: an id outside the table adds nothing, as on a GPU
        keep = tf.logical_and(ids >= 0, ids < tf.cast(sum(tf.shape(part)[0] for part in group.parts(feature)), ids.dtype))
    if group.prune[feature]:
        keep = tf.logical_and(keep, ids >= 0)
        if weights is not None and combiner != "sum":
            keep = tf.logical_and(keep, weights > 0)
    vectors = _rows_of(group, feature, tf.where(keep, ids, tf.zeros_like(ids)), wide)
    vectors = tf.where(keep[:, tf.newaxis], vectors, tf.zeros_like(vectors))
    each = tf.cast(keep, wide)
    if weights is not None:
        each = tf.where(keep, tf.cast(weights, wide), tf.zeros_like(each))
        vectors = tf.where(keep[:, tf.newaxis], vectors * each[:, tf.newaxis], tf.zeros_like(vectors))
    pooled = tf.math.unsorted_segment_sum(vectors, rows, num_rows)
    if combiner == "mean":
        pooled = tf.math.divide_no_nan(pooled, tf.math.unsorted_segment_sum(each, rows, num_rows)[:, tf.newaxis])
    elif combiner == "sqrtn":
        squares = tf.math.unsorted_segment_sum(each * each, rows, num_rows)[:, tf.newaxis]
        positive = squares > 0  # the root has no gradient at 0
        root = tf.sqrt(tf.where(positive, squares, tf.ones_like(squares)))
        pooled = tf.where(positive, pooled / root, tf.where(tf.math.is_nan(squares), squares * pooled, tf.zeros_like(pooled)))
    if group.fill[feature] and group.default_ids[feature] >= 0:
        empty = tf.equal(tf.math.unsorted_segment_sum(tf.cast(keep, tf.int32), rows, num_rows), 0)  # `==` is identity in TF1 graphs
        default = tf.where(empty, tf.fill(tf.shape(empty), tf.constant(group.default_ids[feature], ids.dtype)), tf.zeros([], ids.dtype))
        pooled = tf.where(empty[:, tf.newaxis], _rows_of(group, feature, default, wide), pooled)
    pooled = tf.cast(pooled, dtype)
    pooled.set_shape([None, group.dims[group.tables_of[feature]]])
    return pooled


def _rows_of(group: Group, feature: int, ids: tf.Tensor, wide: tf.DType) -> tf.Tensor:
    parts = group.parts(feature)
    if len(parts) == 1:
        rows = _gather_densely(tf.convert_to_tensor(parts[0]), ids) if inside_xla() else tf.gather(parts[0], ids)
    else:
        strategy = group.strategies[group.tables_of[feature]]
        rows = tf.compat.v1.nn.embedding_lookup(parts, ids, partition_strategy=strategy)
    rows = tf.cast(rows, wide)
    max_norm = group.max_norms[feature]
    return rows if max_norm < 0 else tf.clip_by_norm(rows, max_norm, axes=[1])


@tf.custom_gradient
def _gather_densely(table: tf.Tensor, ids: tf.Tensor) -> Any:
    """Rows of a table, whose gradient is a dense tensor: XLA cannot find the distinct rows, and optimizers that square want them summed."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return tf.math.unsorted_segment_sum(upstream, ids, tf.shape(table)[0]), None

    return tf.gather(table, ids), gradient
