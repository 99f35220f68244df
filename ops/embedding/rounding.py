"""Stochastic rounding to bfloat16: up or down with the probability that makes the expected value the number itself.

Gupta et al., "Deep learning with limited numerical precision", ICML 2015, section 3. A step far smaller than the spacing of bfloat16
(2^-8 to 2^-7 of the value) is lost by rounding to the nearest; so it is taken once in many times, and the mean is right.
"""

from __future__ import annotations

import tensorflow as tf


def round_stochastically(values: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """bfloat16 of float32 values of any shape; a seed [2] decides, equal seeds round equally. What is not finite stays as it is."""
    # One random number serves two values: 16 bits are what bfloat16 leaves out.
    count = tf.size(values)
    drawn = tf.random.stateless_uniform([(count + 1) // 2], seed, minval=None, maxval=None, dtype=tf.int32)
    noise = tf.cast(tf.reshape(tf.bitcast(drawn, tf.uint16), [-1])[:count], tf.int32)
    bits = tf.bitcast(tf.reshape(values, [-1]), tf.int32)
    # The magnitude is in the low 31 bits, so adding to them rounds away from zero by chance, whatever the sign; the rest is cut off.
    rounded = tf.bitwise.bitwise_and(bits + noise, tf.constant(-65536, tf.int32))
    kept = tf.where(tf.math.is_finite(tf.reshape(values, [-1])), rounded, bits)
    return tf.cast(tf.reshape(tf.bitcast(kept, tf.float32), tf.shape(values)), tf.bfloat16)
