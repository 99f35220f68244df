"""Users' events from per-sample records: the first history of a user, then the target of each of the user's samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]


class Rejoiner:
    """Joins samples to histories, batch by batch.

    A user's samples must follow one another in order of time. Where the records have no user ids, a sample goes on with the one before if
    its history is that one's with the target appended (and cut to ``max_length`` again).

    Args:
        max_length: longest history in the records; only read without user ids.

    Attributes:
        times: [n] int64 unix seconds of the events, a piece per batch, where they were added.
        weights: [n] float32 of the events as targets, a piece per batch, where they were added; 1 for events that are no targets.
        behaviors: [n] int64 numbers of the kinds of events, a piece per batch, where they were added.
        user_ids: [n] of the users in their order, a piece per batch, where there are any.
    """

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        self.times: list[Int64Array] = []
        self.weights: list[npt.NDArray[np.float32]] = []
        self.behaviors: list[Int64Array] = []
        self.user_ids: list[npt.NDArray[Any]] = []
        self._events: list[npt.NDArray[np.int32]] = []
        self._lengths: list[Int64Array] = []
        self._last: tuple[int, int, Any] | None = None

    def add(
        self,
        values: npt.NDArray[Any],
        row_splits: Int64Array,
        targets: npt.NDArray[Any],
        user_ids: npt.NDArray[Any] | None,
        *,
        times: tuple[Int64Array, Int64Array] | None = None,
        weights: npt.NDArray[np.float32] | None = None,
        behaviors: tuple[Int64Array, Int64Array] | None = None,
    ) -> None:
        """Adds samples.

        Args:
            values: item rows of all histories in a row.
            row_splits: [n + 1] where each history begins and ends.
            targets: [n] item rows.
            user_ids: [n], or None.
            times: times beside ``values`` and beside ``targets``, or None.
            weights: [n] weights of the targets, or None.
            behaviors: kinds beside ``values`` and beside ``targets``, or None.
        """
        num_samples = len(targets)
        if num_samples == 0:
            return
        lengths = np.diff(row_splits)
        goes_on = np.zeros(num_samples, bool)
        if user_ids is not None:
            goes_on[1:] = user_ids[1:] == user_ids[:-1]
            goes_on[0] = self._last is not None and self._last[2] == user_ids[0]
        else:
            newest = np.where(lengths > 0, values[np.maximum(row_splits[1:] - 1, 0)] if len(values) else 0, 0)
            goes_on[1:] = (lengths[1:] == np.minimum(lengths[:-1] + 1, self._max_length)) & (newest[1:] == targets[:-1])
            if self._last is not None:
                goes_on[0] = lengths[0] == min(self._last[0] + 1, self._max_length) and newest[0] == self._last[1]
        self._last = (int(lengths[-1]), int(targets[-1]), None if user_ids is None else user_ids[-1])
        user = np.cumsum(~goes_on)  # 0: the user of the batch before
        first_histories = np.repeat(~goes_on, lengths)
        owners = np.concatenate([np.repeat(user, lengths)[first_histories], user])
        order = np.argsort(owners, kind="stable")  # histories stand before targets in `owners`, so they do within a user
        self._events.append(np.concatenate([values[first_histories], targets])[order].astype(np.int32))
        if times is not None:
            self.times.append(np.concatenate([times[0][first_histories], times[1]])[order])
        if behaviors is not None:
            self.behaviors.append(np.concatenate([behaviors[0][first_histories], behaviors[1]])[order])
        if user_ids is not None:
            self.user_ids.append(user_ids[~goes_on])
        if weights is not None:
            self.weights.append(np.concatenate([np.ones(int(first_histories.sum()), np.float32), weights])[order])
        per_user = np.bincount(owners, minlength=int(user[-1]) + 1).astype(np.int64)
        if self._lengths:
            self._lengths[-1][-1] += per_user[0]
        if len(per_user) > 1:
            self._lengths.append(per_user[1:])

    def finish(self) -> tuple[npt.NDArray[np.int32], Int64Array]:
        """All users' events in a row, and [U + 1] row splits."""
        events = np.concatenate(self._events) if self._events else np.zeros(0, np.int32)
        lengths = np.concatenate(self._lengths) if self._lengths else np.zeros(0, np.int64)
        return events, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
