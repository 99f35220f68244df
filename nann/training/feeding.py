"""Batches on their way to the replicas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from nann.training.batches import Batches


def feed(source: Batches, start: int, strategy: tf.distribute.Strategy) -> Iterator[dict[str, Any]]:
    """Batches from a step on; made ahead of time in a thread, and split over the replicas."""
    replicas = strategy.num_replicas_in_sync

    def generate() -> Iterator[dict[str, np.ndarray]]:
        for step in range(start, source.steps):
            yield source.parts(step)

    options = tf.data.Options()
    # There is nothing to tune, and an iterator is only let go of after its tuning thread's next turn: up to as long as it has lived.
    options.autotune.enabled = False
    stream = tf.data.Dataset.from_generator(generate, output_signature=source.signature).prefetch(4).with_options(options)
    if replicas == 1:
        return iter(stream)
    per_replica = [
        stream.map(lambda parts, index=index: {name: tf.split(part, replicas)[index] for name, part in parts.items()})
        for index in range(replicas)
    ]
    return _zip_replicas(per_replica, strategy)


def _zip_replicas(per_replica: list[tf.data.Dataset], strategy: tf.distribute.Strategy) -> Iterator[dict[str, Any]]:
    for parts in zip(*per_replica, strict=True):
        yield {
            name: strategy.experimental_distribute_values_from_function(
                lambda context, name=name: parts[context.replica_id_in_sync_group][name]  # noqa: B023 - used at once
            )
            for name in parts[0]
        }
