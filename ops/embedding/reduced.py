"""Sums over replicas. TensorFlow 2.21 crashes where all replicas give a tensor without elements, so none of these ever gives one."""

from __future__ import annotations

import tensorflow as tf


def sum_of_all(gradients: list[tf.Tensor | tf.IndexedSlices], variables: list[tf.Variable]) -> list[tf.Tensor | tf.IndexedSlices]:
    """The gradients of variables, summed over the replicas; row gradients stand one replica's after the other's.

    To be called in a replica context.
    """
    context = tf.distribute.get_replica_context()
    padded = [_padded(_as(tf.float32, gradient), variable) for gradient, variable in zip(gradients, variables, strict=True)]
    reduced = [context.all_reduce(tf.distribute.ReduceOp.SUM, gradient) for gradient in padded]
    summed = [_as(given.dtype, gradient) for given, gradient in zip(gradients, reduced, strict=True)]
    return [without_padding(gradient, variable) for gradient, variable in zip(summed, variables, strict=True)]


def _as(dtype: tf.DType, gradient: tf.Tensor | tf.IndexedSlices) -> tf.Tensor | tf.IndexedSlices:
    """A gradient of bfloat16, which TensorFlow's collectives on processors do not take, as float32, and back; others as they are."""
    if tf.bfloat16 not in (dtype, gradient.dtype) or dtype == gradient.dtype:
        return gradient
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(tf.cast(gradient.values, dtype), gradient.indices, gradient.dense_shape)
    return tf.cast(gradient, dtype)


def _padded(gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> tf.Tensor | tf.IndexedSlices:
    """Row gradients with one row more, which the variable does not have."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    return with_padding(gradient, tf.shape(variable)[0])


def with_padding(gradient: tf.IndexedSlices, rows: tf.Tensor) -> tf.IndexedSlices:
    """A row gradient and one row of zeros at the end, of the number ``rows``."""
    values = tf.concat([gradient.values, tf.zeros([1, *gradient.values.shape[1:]], gradient.values.dtype)], axis=0)
    indices = tf.concat([gradient.indices, tf.cast(rows, gradient.indices.dtype)[tf.newaxis]], axis=0)
    return tf.IndexedSlices(values, indices, gradient.dense_shape)


def without_padding(gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> tf.Tensor | tf.IndexedSlices:
    """A row gradient without the rows that the variable does not have."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    kept = tf.where(gradient.indices < tf.cast(tf.shape(variable)[0], gradient.indices.dtype))[:, 0]
    return tf.IndexedSlices(tf.gather(gradient.values, kept), tf.gather(gradient.indices, kept), gradient.dense_shape)


def gather_of_all(part: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """Parts [n_r, ...] of all replicas r, one after the other.

    Args:
        part: of this replica.
        counts: [replicas] int32, the n_r.
    """
    if part.dtype == tf.bfloat16:
        return tf.cast(gather_of_all(tf.cast(part, tf.float32), counts), tf.bfloat16)
    pad = tf.fill([1], "") if part.dtype == tf.string else tf.zeros([1, *part.shape[1:]], part.dtype)
    gathered = tf.distribute.get_replica_context().all_gather(tf.concat([part, pad], axis=0), axis=0)
    pads = tf.cumsum(counts + 1) - 1
    kept = tf.tensor_scatter_nd_update(tf.ones(tf.shape(gathered)[:1], tf.bool), pads[:, tf.newaxis], tf.zeros_like(pads, tf.bool))
    return tf.boolean_mask(gathered, kept)
