"""The held-out samples of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nann.dataset.inputs import BEHAVIOR, TIME, UserFeatures
from nann.dataset.record_batches import record_batches, user_id_type
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


def read_samples(
    files: Sequence[Path], meta: Mapping[str, Any], split: str, *, of_events: Sequence[str], users: UserFeatures | None
) -> Samples:
    """Reads records of a held-out split.

    Args:
        files: of the split.
        meta: the description of the dataset.
        split: "validate" or "test".
        of_events: what to read of events, of `TIME` and `BEHAVIOR`.
        users: features of users, all of which are read; None: none.
    """
    length = int(meta["max_length"])
    user_type = user_id_type(meta, split)
    histories, targets = [np.zeros((0, length), np.int32)], [np.zeros(0, np.int32)]
    ids: list[npt.NDArray[Any]] = []
    last_times: list[npt.NDArray[np.int64]] = []
    found: dict[str, list[npt.NDArray[np.int64]]] = {name: [np.zeros((0, length), np.int64)] for name in of_events}
    dtypes = {"item_ids": "int64", "gt_item_id": "int64", **user_type, **({"behavior_ids": "int64"} if BEHAVIOR in of_events else {})}
    if has_times := "seconds_to_next" in meta["features"][split]:
        dtypes |= {"seconds_to_next": "int64", "gt_time": "int64"}
    for batch in record_batches(files, dtypes):
        values, row_splits = batch["item_ids"].values, batch["item_ids"].row_splits
        histories.append(_padded(values, row_splits, length).astype(np.int32))
        targets.append(batch["gt_item_id"].values.astype(np.int32))
        count = len(row_splits) - 1
        ids.append(batch["user_id"].values if user_type else np.arange(count) + sum(map(len, ids)))
        if BEHAVIOR in of_events:
            found[BEHAVIOR].append(_padded(batch["behavior_ids"].values + 1, row_splits, length))
        if has_times:
            times = times_before(batch["gt_time"].values, row_splits, batch["seconds_to_next"].values)
            last_times.append(np.where(np.diff(row_splits) > 0, np.append(times, 0)[np.maximum(row_splits[1:] - 1, 0)], 0))
            if TIME in of_events:
                found[TIME].append(_padded(times, row_splits, length))
    user_ids = np.concatenate(ids) if ids else np.zeros(0, np.int64)
    chosen = {name: np.concatenate(parts) for name, parts in found.items()}
    if users is not None:
        rows = users.rows_of(user_ids)
        chosen |= {name: lists.dense(rows).astype(np.int64) for name, lists in users.lists.items()}
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
