"""Training batches of a replay: samples that lie close together in time, with candidates from the same hours.

What is read changes by the hour. Candidates of another hour would teach the scorer when a sample was taken, which is worthless for
the future; among candidates of its own hour it has to learn who prefers what. How much is read of each item is the prior's to say.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nann.config import TrainConfig
from nann.replay.log import ReplayLog, windows_before
from nann.training.batches import Batch, parts_of

SPREAD = 4  # negatives come from this many batches on either side in time
JITTER_SECONDS = 3600.0
_ORDER, _NEGATIVES = 0, 1


class TimedBatches:
    """Batches of one window's samples; a pure function of the step, as `nann.training.batches.BatchSource`. No samples are no steps.

    Args:
        log: the events.
        positions: [n] events to train on as targets.
        max_length: L.
        config: batch size, number of negatives, seed, epochs.
    """

    def __init__(self, log: ReplayLog, positions: npt.NDArray[np.int64], *, max_length: int, config: TrainConfig) -> None:
        self._log, self._config = log, config
        self._positions = positions
        self.max_length = max_length
        self.num_samples = len(positions)
        self.batch_size = max(1, min(config.batch_size, self.num_samples))
        self.steps = self.wanted_steps = int(np.ceil(config.epochs * self.num_samples / self.batch_size))
        self._epoch = -1
        self._ordered = self._chunks = np.zeros(0, np.int64)

    def batch(self, step: int) -> Batch:
        """The batch of a step, from 0 on; always full (the end of an epoch is filled up from its begin)."""
        per_epoch = -(-self.num_samples // self.batch_size)
        epoch, number = divmod(step, per_epoch)
        if epoch != self._epoch:
            rng = np.random.default_rng([self._config.seed, _ORDER, epoch])
            times = self._log.times[self._positions] + rng.uniform(0, JITTER_SECONDS, self.num_samples)
            self._ordered, self._chunks, self._epoch = self._positions[np.argsort(times)], rng.permutation(per_epoch), epoch
        first = int(self._chunks[number]) * self.batch_size
        positions = np.take(self._ordered, np.arange(first, first + self.batch_size), mode="wrap")
        rng = np.random.default_rng([self._config.seed, _NEGATIVES, step])
        low = max(0, first - SPREAD * self.batch_size)
        high = min(self.num_samples, first + (SPREAD + 1) * self.batch_size)
        drawn = self._ordered[rng.integers(low, high, self._config.num_neg)]
        return Batch(
            histories=windows_before(self._log, positions, self.max_length),
            targets=self._log.item_rows[positions],
            negatives=self._log.item_rows[drawn][np.newaxis],
        )

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Shapes and types of `parts`."""
        shapes = {"histories": [None, self.max_length], "targets": [None], "negatives": [None, self._config.num_neg]}
        return {name: tf.TensorSpec(shape, tf.int32) for name, shape in shapes.items()}

    def parts(self, step: int) -> dict[str, npt.NDArray[Any]]:
        """The batch of a step by names."""
        return parts_of(self.batch(step), shared_by=1)


def training_positions(
    log: ReplayLog, since: int, until: int, *, min_gap_seconds: int, left_out: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Events in since <= time < until that have one of the same user at least ``min_gap_seconds`` before, of users not left out."""
    inside = np.flatnonzero((log.times >= since) & (log.times < until))
    inside = inside[(inside > log.starts[inside]) & ~left_out[log.users[inside]]]
    return inside[log.times[inside] - log.times[inside - 1] >= min_gap_seconds]
