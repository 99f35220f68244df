"""The held-out samples of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nann.dataset.inputs import BEHAVIOR, TIME, UserFeatures, request_names
from nann.dataset.meta import load_meta, user_id_type
from nann.dataset.record_batches import record_batches, record_files
from nann.dataset.times import times_before


@dataclass(frozen=True)
class Samples:
    """Held-out samples, one per user (S samples).

    Attributes:
        histories: [S, L] int32 item rows, oldest first, zeros at the end.
        targets: [S] int32 item rows.
        user_ids: [S] the users' ids as they stand in the log, int64 or str.
        last_times: [S] int64 unix seconds of the newest event of each history (0 where the history is empty), or None where the records
            have no times.
        inputs: by name what was asked for beside the items, int64: [S, L] of side "history", [S, V] of side "user" (see
            `nann.dataset.inputs`).
    """

    histories: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    user_ids: npt.NDArray[Any]
    last_times: npt.NDArray[np.int64] | None = None
    inputs: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)

    def take(self, rows: npt.NDArray[np.integer] | slice) -> Samples:
        """The samples at the given places."""
        last_times = None if self.last_times is None else self.last_times[rows]
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        return Samples(self.histories[rows], self.targets[rows], self.user_ids[rows], last_times, inputs)

    def draw(self, count: int, *, seed: int) -> Samples:
        """``count`` samples drawn at random, in their order; all where there are no more than that."""
        if count >= len(self.targets):
            return self
        return self.take(np.sort(np.random.default_rng(seed).choice(len(self.targets), count, replace=False)))


def load_samples(dataset: Path, split: str, *, inputs: Sequence[str] = ()) -> Samples:
    """Reads the held-out samples of split "validate" or "test"; where the records have no user ids the users are numbered from 0.

    Args:
        dataset: artifact of `convert`.
        split: "validate" or "test".
        inputs: names of inputs of the dataset; what belongs to events and users is read, too.

    Raises:
        ArtifactError: the dataset has no input of a name.
    """
    meta, sides = load_meta(dataset), request_names(dataset, inputs)
    length = int(meta["max_length"])
    user_type = user_id_type(meta, split)
    histories, targets = [np.zeros((0, length), np.int32)], [np.zeros(0, np.int32)]
    users: list[npt.NDArray[Any]] = []
    last_times: list[npt.NDArray[np.int64]] = []
    found: dict[str, list[npt.NDArray[np.int64]]] = {name: [np.zeros((0, length), np.int64)] for name in (TIME, BEHAVIOR) if name in sides}
    dtypes = {"item_ids": tf.int64, "gt_item_id": tf.int64, **user_type, **({"behavior_ids": tf.int64} if BEHAVIOR in sides else {})}
    if has_times := "seconds_to_next" in meta["features"][split]:
        dtypes |= {"seconds_to_next": tf.int64, "gt_time": tf.int64}
    for batch in record_batches(record_files(dataset, split), dtypes):
        values, row_splits = batch["item_ids"].values, batch["item_ids"].row_splits
        histories.append(_padded(values, row_splits, length).astype(np.int32))
        targets.append(batch["gt_item_id"].values.astype(np.int32))
        count = len(row_splits) - 1
        users.append(batch["user_id"].values if user_type else np.arange(count) + sum(map(len, users)))
        if BEHAVIOR in sides:
            found[BEHAVIOR].append(_padded(batch["behavior_ids"].values + 1, row_splits, length))
        if has_times:
            times = times_before(batch["gt_time"].values, row_splits, batch["seconds_to_next"].values)
            last_times.append(np.where(np.diff(row_splits) > 0, np.append(times, 0)[np.maximum(row_splits[1:] - 1, 0)], 0))
            if TIME in sides:
                found[TIME].append(_padded(times, row_splits, length))
    user_ids = np.concatenate(users) if users else np.zeros(0, np.int64)
    chosen = {name: np.concatenate(parts) for name, parts in found.items()}
    if of_users := [name for name, side in sides.items() if side == "user"]:
        features = UserFeatures(dataset, of_users)
        rows = features.rows_of(user_ids)
        chosen |= {name: features.lists[name].dense(rows).astype(np.int64) for name in of_users}
    return Samples(
        np.concatenate(histories),
        np.concatenate(targets),
        user_ids,
        np.concatenate([np.zeros(0, np.int64), *last_times]) if has_times else None,
        chosen,
    )


def _padded(values: npt.NDArray[np.int64], row_splits: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """[n, length] int64 lists with zeros at the end."""
    lengths = np.diff(row_splits)
    filled = np.zeros((len(lengths), length), np.int64)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    filled[rows, np.arange(len(values)) - row_splits[rows]] = values
    return filled
