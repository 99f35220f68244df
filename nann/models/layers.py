"""The few layers the scorers are made of, as plain `tf.Module`s: dense, batch normalisation, PReLU, and stacks of them.

Initial values are drawn statelessly from a seed and the layer's own number, so that equal configs give equal models whatever else the
process drew before.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import tensorflow as tf

BATCH_NORM_MOMENTUM = 0.99
BATCH_NORM_EPSILON = 1e-3


class Seeds:
    """Hands out one seed pair after the other; two instances of one seed hand out the same."""

    def __init__(self, seed: int) -> None:
        self._pairs: Iterator[tuple[int, int]] = ((seed, number) for number in itertools.count())

    def next(self) -> tuple[int, int]:
        """The next [2] seed for a `tf.random.stateless_*` op."""
        return next(self._pairs)


class Dense(tf.Module):
    """y = x W + b on the last axis; W is Glorot-uniform, b zero."""

    def __init__(self, inputs: int, outputs: int, seeds: Seeds, *, use_bias: bool = True, name: str = "dense") -> None:
        super().__init__(name=name)
        limit = (6.0 / (inputs + outputs)) ** 0.5
        self.kernel = tf.Variable(tf.random.stateless_uniform([inputs, outputs], seeds.next(), -limit, limit), name="kernel")
        self.bias = tf.Variable(tf.zeros([outputs]), name="bias") if use_bias else None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Maps [..., inputs] to [..., outputs]."""
        y = tf.matmul(x, tf.cast(self.kernel, x.dtype))
        return y if self.bias is None else y + tf.cast(self.bias, x.dtype)


class PRelu(tf.Module):
    """max(x, 0) + alpha min(x, 0) with one trainable alpha per channel (arXiv 1502.01852, equation 1)."""

    def __init__(self, channels: int, *, name: str = "prelu") -> None:
        super().__init__(name=name)
        self.alpha = tf.Variable(tf.fill([channels], 0.25), name="alpha")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Element-wise on [..., channels]."""
        return tf.nn.relu(x) + tf.cast(self.alpha, x.dtype) * tf.minimum(x, tf.zeros([], x.dtype))


class BatchNorm(tf.Module):
    """Batch normalisation over all axes but the last (arXiv 1502.03167, algorithms 1 and 2), over the batches of all replicas in sync."""

    def __init__(self, channels: int, *, name: str = "batch_norm") -> None:
        super().__init__(name=name)
        self.gamma = tf.Variable(tf.ones([channels]), name="gamma")
        self.beta = tf.Variable(tf.zeros([channels]), name="beta")
        moving = {"trainable": False, "aggregation": tf.VariableAggregation.MEAN, "synchronization": tf.VariableSynchronization.ON_READ}
        self.moving_mean = tf.Variable(tf.zeros([channels]), name="moving_mean", **moving)
        self.moving_variance = tf.Variable(tf.ones([channels]), name="moving_variance", **moving)

    def __call__(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        """Normalises [..., channels]: by the batch's own moments in training (and moves the averages), by the averages else."""
        if training:
            mean, variance = _moments(tf.cast(x, tf.float32), list(range(len(x.shape) - 1)))
            self.moving_mean.assign_sub((1 - BATCH_NORM_MOMENTUM) * (self.moving_mean - mean))
            self.moving_variance.assign_sub((1 - BATCH_NORM_MOMENTUM) * (self.moving_variance - variance))
        else:
            mean, variance = self.moving_mean, self.moving_variance
        scale = self.gamma * tf.math.rsqrt(variance + BATCH_NORM_EPSILON)
        return x * tf.cast(scale, x.dtype) + tf.cast(self.beta - mean * scale, x.dtype)


def _moments(x: tf.Tensor, axes: list[int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance of [..., channels] over the global batch; every replica in sync has a part of equal size."""
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync if context is not None else 1
    if replicas == 1:
        mean, variance = tf.nn.moments(x, axes)
        return mean, variance
    total = tf.distribute.ReduceOp.SUM  # differentiable, unlike MEAN of a part
    mean = context.all_reduce(total, tf.reduce_mean(x, axes)) / replicas
    return mean, context.all_reduce(total, tf.reduce_mean(tf.square(x - mean), axes)) / replicas


class Mlp(tf.Module):
    """Dense layers with batch normalisation (optional) and PReLU between them; the last one linear."""

    def __init__(self, sizes: Sequence[int], seeds: Seeds, *, batch_norm: bool, name: str = "mlp") -> None:
        super().__init__(name=name)
        self.dense = [Dense(inputs, outputs, seeds) for inputs, outputs in itertools.pairwise(sizes)]
        self.norm = [BatchNorm(size) for size in sizes[1:-1]] if batch_norm else []
        self.activation = [PRelu(size) for size in sizes[1:-1]]

    def __call__(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps [..., sizes[0]] to [..., sizes[-1]]."""
        for number, dense in enumerate(self.dense[:-1]):
            x = dense(x)
            if self.norm:
                x = self.norm[number](x, training)
            x = self.activation[number](x)
        return self.dense[-1](x)
