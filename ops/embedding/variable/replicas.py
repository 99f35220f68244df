"""Training lookups of several replicas: each gives rows to the ids of all, in the order of the replicas, so that all have one table.

`tf.distribute` mirrors the variables, and a replica's lookup changes its own copies alone. All do the same with the same ids, so the
copies stay equal, and equal to what one replica makes of the global batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from ops.embedding.reduced import gather_of_all


def in_sync() -> int:
    """Replicas that run what is being traced; 1 outside of them."""
    if not tf.distribute.has_strategy() or tf.distribute.in_cross_replica_context():
        return 1
    return int(tf.distribute.get_replica_context().num_replicas_in_sync)


def check_context(variable: tf.Variable) -> None:
    """Refuses what would change some copies of a mirrored variable and not others.

    Raises:
        RuntimeError: with what to do about it.
    """
    if not isinstance(variable, tf.distribute.DistributedValues):
        if in_sync() > 1:
            raise RuntimeError(f"a table of one replica was looked up by {in_sync()}; make the variable in the strategy's scope")
        return
    made_for = variable.distribute_strategy.num_replicas_in_sync
    if tf.distribute.in_cross_replica_context() or in_sync() != made_for:
        raise RuntimeError(
            f"a training lookup in a table of {made_for} replicas belongs into the function that strategy.run calls; "
            "outside of it pass insert=False (layers: training=False)"
        )


@dataclass(frozen=True)
class Everyone:
    """The flattened parts of all replicas, one after the other.

    Attributes:
        counts: [replicas] int32, the lengths of the parts.
        number: which replica this is.
    """

    counts: tf.Tensor
    number: tf.Tensor

    @classmethod
    def with_part(cls, part: tf.Tensor) -> Everyone:
        """What replicas make of parts like this one."""
        context = tf.distribute.get_replica_context()
        counts = context.all_gather(tf.size(part)[tf.newaxis], axis=0)
        return cls(counts, context.replica_id_in_sync_group)

    def of(self, part: tf.Tensor) -> tf.Tensor:
        """[n] the parts of all.

        Raises:
            ValueError: workers are to exchange text, which they cannot.
        """
        strategy = tf.distribute.get_strategy()
        if part.dtype == tf.string and isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise ValueError("workers cannot exchange string ids; hash them first, with tf.strings.to_hash_bucket_fast(ids, 2**62)")
        return gather_of_all(tf.reshape(part, [-1]), self.counts)

    def own(self, values: tf.Tensor) -> tf.Tensor:
        """This replica's part of [n]."""
        first = tf.reduce_sum(self.counts[: self.number])
        return values[first : first + self.counts[self.number]]

    def first_of(self, values: tf.Tensor) -> tf.Tensor:
        """Values [m, dim], of the same shape everywhere, as the first replica has them: others may have drawn other random numbers."""
        counts = tf.fill(tf.shape(self.counts), tf.shape(values)[0])
        return gather_of_all(values, counts)[: tf.shape(values)[0]]
