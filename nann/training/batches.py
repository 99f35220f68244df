"""Training batches as a pure function of the step number: what makes resuming exact and runs repeatable.

Histories stay in memory as one flat array (4 bytes an event); a batch cuts its windows from it with vectorised indexing. Sample order and
negatives are keyed by (seed, epoch) and (seed, step), so step s is the same batch whether or not the run was interrupted before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nann.config import TrainConfig
from nann.dataset import Histories
from nann.dataset.inputs import BEHAVIOR, INPUT_PREFIX, TIME

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
_ORDER, _NEGATIVES = 0, 1  # streams of random numbers


@dataclass(frozen=True)
class Batch:
    """One training batch (B samples, L history positions, S negatives).

    Attributes:
        histories: [B, L] int32 item rows, oldest first, zeros at the end.
        targets: [B] int32 item rows.
        negatives: [B, S] int32 item rows, or [1, S] when the batch shares them.
        inputs: by name int64 [B, L] of side "history", [B, V] of side "user" (see `nann.dataset.inputs`).
    """

    histories: Int32Array
    targets: Int32Array
    negatives: Int32Array
    inputs: Mapping[str, Int64Array] = field(default_factory=dict)


class Batches(Protocol):
    """What a training needs of its batches.

    Attributes:
        num_samples: samples of an epoch.
        batch_size: samples of the global batch; in the mean, where they vary.
        steps: batches of the whole training.
        wanted_steps: those that the passes come to, more than `steps` where a limit cuts them short.
    """

    num_samples: int
    batch_size: int
    steps: int
    wanted_steps: int

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Shapes and types of `parts`."""
        ...

    def parts(self, step: int) -> dict[str, npt.NDArray[Any]]:
        """The batch of a step, from 0 on, by names; the same whenever it is asked for. Replicas split every part along its first axis."""
        ...


def parts_of(batch: Batch, *, shared_by: int) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a batch by the names of `Batch`, inputs after ``INPUT_PREFIX``; what all samples share stands there once for each of
    ``shared_by`` replicas."""
    shared = len(batch.negatives) == 1
    negatives = np.repeat(batch.negatives, shared_by, axis=0) if shared else batch.negatives
    inputs = {INPUT_PREFIX + name: values for name, values in batch.inputs.items()}
    return {"histories": batch.histories, "targets": batch.targets, "negatives": negatives, **inputs}


def signature_of(batch: Batch) -> dict[str, tf.TensorSpec]:
    """Shapes and types of the parts of batches like this one."""
    spec = {name: tf.TensorSpec([None, *part.shape[1:]], part.dtype) for name, part in parts_of(batch, shared_by=1).items()}
    return {name: tf.TensorSpec([None, None], part.dtype) if name.startswith(INPUT_PREFIX) else part for name, part in spec.items()}


class NoiseSampler:
    """Draws items from the unigram distribution of the training events.

    Args:
        counts: [num_items + 1] training events per item row; row 0 must be 0.

    Raises:
        ValueError: no item has an event.
    """

    def __init__(self, counts: npt.NDArray[np.integer]) -> None:
        total = int(counts.sum())
        if total <= 0:
            raise ValueError("the noise distribution needs at least one training event, all counts are 0")
        self._cumulative = np.cumsum(counts, dtype=np.int64)
        share = np.maximum(counts, 1).astype(np.float64) / total
        self.log_probability: Float32Array = np.log(share).astype(np.float32)
        self._total = total

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Int32Array:
        """Item rows of the given shape, drawn independently with replacement."""
        draws = rng.integers(0, self._total, size=shape)
        return np.searchsorted(self._cumulative, draws, side="right").astype(np.int32)


class HistoryWindows:
    """What came before positions of training users' events.

    Args:
        histories: the users' events, with the inputs that are asked for.
        max_length: L, newest items of a window.
        inputs: names of inputs that the histories have.
    """

    def __init__(self, histories: Histories, *, max_length: int, inputs: Sequence[str] = ()) -> None:
        self._inputs, self._max_length = tuple(inputs), max_length
        self._of_events = {TIME: histories.times, BEHAVIOR: histories.behaviors}
        self._of_users, self._user_rows = histories.user_features, histories.user_rows
        self._item_rows, self._row_splits = histories.item_rows, histories.row_splits

    def items(self, positions: Int64Array) -> Int32Array:
        """Histories [len(positions), L] before the given positions of ``item_rows``."""
        places, inside = self._places(positions)
        return np.where(inside, self._item_rows[places], 0).astype(np.int32)

    def _places(self, positions: Int64Array) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
        """Where the events before some positions lie [n, L], and whether there are that many."""
        starts = self._row_splits[self.users(positions)]
        first = np.maximum(starts, positions - self._max_length)
        columns = first[:, np.newaxis] + np.arange(self._max_length)
        return np.minimum(columns, len(self._item_rows) - 1), columns < positions[:, np.newaxis]

    def input_values(self, positions: Int64Array) -> dict[str, Int64Array]:
        """The inputs of the histories before the given positions, by name."""
        if not self._inputs:
            return {}
        places, inside = self._places(positions)
        of_user = self._of_user(positions)
        return {
            name: of_user[name] if name in of_user else np.where(inside, self._event_input(name)[places], 0).astype(np.int64)
            for name in self._inputs
        }

    def of_positions(self, positions: Int64Array) -> dict[str, Int64Array]:
        """The inputs at the given positions [n] themselves, by name: [n] of the events, [n, V] of their users."""
        of_user = self._of_user(positions)
        return {name: of_user[name] if name in of_user else self._event_input(name)[positions].astype(np.int64) for name in self._inputs}

    def _of_user(self, positions: Int64Array) -> dict[str, Int64Array]:
        if self._user_rows is None:
            return {}
        rows = self._user_rows[self.users(positions)]
        return {name: lists.dense(rows).astype(np.int64) for name, lists in self._of_users.items() if name in self._inputs}

    def _event_input(self, name: str) -> npt.NDArray[np.integer]:
        values = self._of_events.get(name)
        if values is None:
            raise ValueError(f"the histories were read without the input {name!r}; read them with it")
        return values

    def users(self, positions: Int64Array) -> Int64Array:
        """The users [n] whose events the positions [n] are."""
        return np.searchsorted(self._row_splits, positions, side="right") - 1


class BatchSource:
    """Batches of one training run.

    Args:
        histories: the training users' events, the first position that is a target, and the weights of targets where these differ: an
            epoch then has as many samples as the weights sum to.
        max_length: L.
        sampler: of the negatives.
        config: batch size, number of negatives, seed, epochs.
        replicas: the global batch is ``config.batch_size * replicas``.
        inputs: names of inputs that the histories have, for the batches.

    Attributes:
        num_samples: samples of an epoch.
        batch_size: of all replicas together.
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
        self.inputs, self._replicas = tuple(inputs), replicas
        self.windows = HistoryWindows(histories, max_length=max_length, inputs=inputs)
        self._item_rows = histories.item_rows
        self.max_length, self._sampler, self._config = max_length, sampler, config
        starts = np.repeat(histories.row_splits[:-1], np.diff(histories.row_splits))
        self._positions = np.flatnonzero(np.arange(len(starts)) - starts >= histories.first_target)
        self._weights = None if histories.weights is None else histories.weights[self._positions].astype(np.float64)
        total = len(self._positions) if self._weights is None else float(self._weights.sum())
        self.num_samples = max(1, round(total)) if len(self._positions) else 0
        if self.num_samples == 0:
            raise ValueError(f"no training user has more than {histories.first_target} events, so there is no sample to train on")
        self.batch_size = config.batch_size * replicas
        self.wanted_steps = int(np.ceil(config.epochs * self.num_samples / self.batch_size))
        self.steps = min(self.wanted_steps, config.max_steps or self.wanted_steps)
        self._order_epoch = -1
        self._order: Int64Array = np.zeros(0, np.int64)

    def _samples(self, first: int, last: int) -> Int64Array:
        """Positions of samples first..last-1 of the endless sequence of shuffled epochs."""
        parts = []
        while first < last:
            epoch, start = divmod(first, self.num_samples)
            if epoch != self._order_epoch:
                rng = np.random.default_rng([self._config.seed, _ORDER, epoch])
                self._order, self._order_epoch = self._epoch(rng), epoch
            stop = min(self.num_samples, start + last - first)
            parts.append(self._order[start:stop])
            first += stop - start
        return np.concatenate(parts)

    def _epoch(self, rng: np.random.Generator) -> Int64Array:
        """The samples of an epoch in random order. With weights each occurs in proportion to its own: that number rounded up or down at
        random, by systematic sampling (Madow, Annals of Mathematical Statistics 1949), so that their expected loss is the weighted one."""
        if self._weights is None:
            return rng.permutation(self._positions)
        mixed = rng.permutation(len(self._positions))
        sums = np.cumsum(self._weights[mixed])
        points = (np.arange(self.num_samples) + rng.random()) * (sums[-1] / self.num_samples)
        drawn = mixed[np.minimum(np.searchsorted(sums, points, side="right"), len(mixed) - 1)]
        return self._positions[rng.permutation(drawn)]

    def batch(self, step: int) -> Batch:
        """The batch of a step, from 0 on; always full (the end of an epoch is filled up from the next)."""
        positions = self._samples(step * self.batch_size, (step + 1) * self.batch_size)
        rng = np.random.default_rng([self._config.seed, _NEGATIVES, step])
        rows = 1 if self._config.negatives == "shared" else self.batch_size
        targets, negatives = self._item_rows[positions], self._sampler.sample(rng, (rows, self._config.num_neg))
        return Batch(self.windows.items(positions), targets, negatives, self.windows.input_values(positions))

    @property
    def signature(self) -> dict[str, tf.TensorSpec]:
        """Shapes and types of `parts`."""
        return signature_of(self.batch(0))

    def parts(self, step: int) -> dict[str, npt.NDArray[Any]]:
        """The batch of a step by names."""
        return parts_of(self.batch(step), shared_by=self._replicas)
