"""Start values of rows that depend on the row's key alone: not on when it came, nor on which replica met it."""

from __future__ import annotations

import math

import tensorflow as tf

# the finalizer of SplitMix64: Steele, Lea and Flood, OOPSLA 2014, figure 16
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_BITS = 24  # of a float32 fraction


def uniform_by_key(keys: tf.Tensor, dim: int, seed: int) -> tf.Tensor:
    """Numbers [m, dim] float32, evenly distributed in [0, 1), that keys [m] (int64, int32 or string) and a seed decide."""
    whole = tf.strings.to_hash_bucket_fast(keys, 2**63 - 1) if keys.dtype == tf.string else tf.cast(keys, tf.int64)
    start = _mixed(tf.bitcast(whole, tf.uint64) + tf.constant(seed * _STEP % 2**64, tf.uint64))
    columns = tf.range(1, dim + 1, dtype=tf.int64)
    mixed = _mixed(start[:, tf.newaxis] + tf.bitcast(columns, tf.uint64) * tf.constant(_STEP, tf.uint64))
    fraction = tf.bitwise.right_shift(mixed, tf.constant(64 - _BITS, tf.uint64))
    return tf.cast(tf.bitcast(fraction, tf.int64), tf.float32) * 2.0**-_BITS


def normal_by_key(keys: tf.Tensor, dim: int, seed: int) -> tf.Tensor:
    """The same, normally distributed with mean 0 and deviation 1."""
    inside = uniform_by_key(keys, dim, seed) + 2.0 ** -(_BITS + 1)  # never 0
    return math.sqrt(2.0) * tf.math.erfinv(2.0 * inside - 1.0)


def _mixed(number: tf.Tensor) -> tf.Tensor:
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        number = tf.bitwise.bitwise_xor(number, tf.bitwise.right_shift(number, tf.constant(shift, tf.uint64)))
        number *= tf.constant(factor, tf.uint64)
    return tf.bitwise.bitwise_xor(number, tf.bitwise.right_shift(number, tf.constant(31, tf.uint64)))
