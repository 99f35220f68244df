"""Batches for training at every position of a history: users' events packed into rows, as a pure function of the step number.

An input position reads a user's event, and the event after it is its target, so that a user of n events is a piece of n - 1 positions. A
history that is longer than a row becomes several pieces; each begins with half a row of events before its first target. Pieces are
shuffled, and a row takes one after the other until the next does not fit (next-fit packing).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nann.config import TrainConfig
from nann.dataset import Histories
from nann.dataset.inputs import BEHAVIOR, INPUT_PREFIX, TIME
from nann.training.batches import HistoryWindows, NoiseSampler

Int64Array = npt.NDArray[np.int64]
_ORDER, _NEGATIVES = 0, 1  # streams of random numbers
ROW_MULTIPLE = 16
SAMPLES_A_ROW = 8  # a row of ``batch_size``


def row_width(max_length: int) -> int:
    """Positions of a row: room for a whole history that the model reads, and for short ones to share it."""
    return max(4 * ROW_MULTIPLE, -(-max_length // ROW_MULTIPLE) * ROW_MULTIPLE)


class PackedBatches:
    """Batches of packed rows of one training run (R rows of W positions, S shared negatives).

    Args:
        histories: the training users' events, the first position that is a target, and the weights of targets where these differ.
        max_length: events of a history that the model reads when it serves.
        sampler: of the negatives.
        config: ``batch_size`` (a row for every `SAMPLES_A_ROW`), number of negatives, seed, epochs.
        replicas: the global batch has as many times the rows.
        inputs: names of inputs that the histories have, for the batches.

    Attributes:
        num_samples: targets of an epoch.
        batch_size: targets of a step, all replicas together, in the mean.
        wanted_steps: steps that ``epochs`` come to.
        steps: those, or ``max_steps`` of them.

    Raises:
        ValueError: no user has an event at or after ``first_target``.
    """

    def __init__(
        self,
        histories: Histories,
        *,
        max_length: int,
        sampler: NoiseSampler,
        config: TrainConfig,
        replicas: int = 1,
        inputs: Sequence[str] = (),
    ) -> None:
        self.inputs, self.max_length = tuple(inputs), max_length
        self._sampler, self._config, self._replicas = sampler, config, replicas
        self._width = row_width(max_length)
        self._rows = max(1, config.batch_size // SAMPLES_A_ROW) * replicas
        self._events, self._weights = histories.item_rows, histories.weights
        self._windows = HistoryWindows(histories, max_length=1, inputs=inputs)
        self._first, self._length, self._skipped = _pieces(histories, self._width)
        self.num_samples = int((self._length - self._skipped).sum())
        if self.num_samples == 0:
            raise ValueError(f"no training user has more than {histories.first_target} events, so there is no sample to train on")
        self._epoch = -1
        self._pack(0)
        self._rows_an_epoch = len(self._row_starts) - 1
        self.batch_size = max(1, round(self.num_samples * self._rows / self._rows_an_epoch))
        self.wanted_steps = int(np.ceil(config.epochs * self._rows_an_epoch / self._rows))
        self.steps = min(self.wanted_steps, config.max_steps or self.wanted_steps)

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Shapes and types of `parts`."""
        row = [None, self._width]
        parts = {"histories": tf.int32, "segments": tf.int32, "targets": tf.int32, "weights": tf.float32}
        spec = {name: tf.TensorSpec(row, dtype) for name, dtype in parts.items()}
        spec["negatives"] = tf.TensorSpec([None, self._config.num_neg], tf.int32)
        sides = {name: row if name in (TIME, BEHAVIOR) else [*row, None] for name in self.inputs}
        return spec | {INPUT_PREFIX + name: tf.TensorSpec(shape, tf.int64) for name, shape in sides.items()}

    def parts(self, step: int) -> dict[str, npt.NDArray[np.generic]]:
        """The batch of a step, from 0 on; the same whenever it is asked for.

        Returns:
            ``histories`` [R, W] int32 item rows, 0 where no event stands; ``segments`` [R, W] int32, which piece a position belongs to,
            from 1 up, different for all pieces; ``targets`` [R, W] int32, the item row after each position; ``weights`` [R, W] float32,
            how much each counts, 0 where it is none; ``negatives`` [replicas, S] int32; and the inputs by name after
            ``INPUT_PREFIX``, int64 [R, W] of side "history" and [R, W, V] of side "user".
        """
        places, segments, weights = (np.stack(rows) for rows in zip(*map(self._row, self._row_numbers(step)), strict=True))
        present = segments > 0
        drawn = self._sampler.sample(np.random.default_rng([self._config.seed, _NEGATIVES, step]), (1, self._config.num_neg))
        counted = weights > 0
        if self._weights is not None:
            weights = np.where(counted, self._weights[places + counted], np.float32(0))
        parts: dict[str, npt.NDArray[np.generic]] = {
            "histories": np.where(present, self._events[places], 0).astype(np.int32),
            "segments": segments,
            "targets": np.where(counted, self._events[places + counted], 0).astype(np.int32),
            "weights": weights.astype(np.float32),
            "negatives": np.repeat(drawn, self._replicas, axis=0),
        }
        for name, values in self._windows.of_positions(places.reshape(-1)).items():
            shaped = values.reshape(*places.shape, *values.shape[1:])
            parts[INPUT_PREFIX + name] = shaped * present.reshape(*places.shape, *[1] * (values.ndim - 1))
        return parts

    def _row_numbers(self, step: int) -> Iterator[int]:
        """The rows of a step, of the epoch that is packed when each is taken; an epoch that comes out shorter starts over."""
        for number in range(step * self._rows, (step + 1) * self._rows):
            epoch, row = divmod(number, self._rows_an_epoch)
            if epoch != self._epoch:
                self._pack(epoch)
            yield row % (len(self._row_starts) - 1)

    def _row(self, number: int) -> tuple[Int64Array, npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Positions of events [W], segments [W], and which positions have a target [W]."""
        pieces = self._order[self._row_starts[number] : self._row_starts[number + 1]]
        lengths = self._length[pieces]
        used = int(lengths.sum())
        inside = np.arange(used) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        places, segments, weights = np.zeros(self._width, np.int64), np.zeros(self._width, np.int32), np.zeros(self._width, np.float32)
        places[:used] = np.repeat(self._first[pieces], lengths) + inside
        segments[:used] = np.repeat(pieces + 1, lengths)
        weights[:used] = inside >= np.repeat(self._skipped[pieces], lengths)
        return places, segments, weights

    def _pack(self, epoch: int) -> None:
        """Shuffles the pieces of an epoch and cuts them into rows: those of row r are ``order[row_starts[r] : row_starts[r + 1]]``."""
        order = np.random.default_rng([self._config.seed, _ORDER, epoch]).permutation(len(self._first))
        ends = np.concatenate([[0], np.cumsum(self._length[order])])
        starts = [0]
        while starts[-1] < len(order):
            starts.append(int(np.searchsorted(ends, ends[starts[-1]] + self._width, side="right")) - 1)
        self._order, self._row_starts, self._epoch = order, np.array(starts), epoch


def _pieces(histories: Histories, width: int) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Pieces that have a target: the place of their first event, how many positions they have, and how many of these come before the
    first with a target of its own."""
    lengths = np.diff(histories.row_splits)
    positions = np.maximum(lengths - 1, 0)  # the last event is a target only
    step = width - width // 2
    count = np.where(positions > width, 1 + -(-(positions - width) // step), np.minimum(positions, 1))
    user = np.repeat(np.arange(len(lengths)), count)
    number = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    begin = number * step
    length = np.minimum(positions[user] - begin, width)
    known = np.where(number > 0, width - step, 0)  # targets of the piece before
    skipped = np.minimum(np.maximum(known, histories.first_target - 1 - begin), length)
    kept = skipped < length
    return (histories.row_splits[:-1][user] + begin)[kept], length[kept].astype(np.int64), skipped[kept].astype(np.int64)
