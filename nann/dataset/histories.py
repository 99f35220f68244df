"""The training users' events, of either layout in one form.

A history costs 4 bytes an event, so 100 million events take 400 MB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nann.dataset.inputs import FeatureLists, UserFeatures
from nann.dataset.record_batches import Column, record_batches, user_id_type
from nann.dataset.rejoin import Rejoiner
from nann.dataset.times import times_before, times_of_steps


@dataclass(frozen=True)
class Histories:
    """The training users' events (E events, U users).

    Attributes:
        item_rows: [E] int32 item rows 1..N, user after user, each in order of time.
        row_splits: [U + 1] int64; user u's events are ``item_rows[row_splits[u]:row_splits[u + 1]]``.
        first_target: positions of a history from this one on are training targets (the train_min_length).
        times: [E] int64 unix seconds; None where they were not asked for, or the records have none.
        weights: [E] float32, how much each event counts as a training target; None where all count alike.
        behaviors: [E] int32 rows 1..K of the kinds of events; None where they were not asked for.
        user_features: values of the users' features by name, those of user u in row ``user_rows[u]``.
        user_rows: [U] int64; None without user features.
        user_ids: [U] int64 or str as in the log; None where they were not asked for, or the records have none.
    """

    item_rows: npt.NDArray[np.int32]
    row_splits: npt.NDArray[np.int64]
    first_target: int
    times: npt.NDArray[np.int64] | None = None
    weights: npt.NDArray[np.float32] | None = None
    behaviors: npt.NDArray[np.int32] | None = None
    user_features: Mapping[str, FeatureLists] = field(default_factory=dict)
    user_rows: npt.NDArray[np.int64] | None = None
    user_ids: npt.NDArray[Any] | None = None


def read_histories(
    files: Sequence[Path], meta: Mapping[str, Any], *, times: bool, behaviors: bool, users: UserFeatures | None, user_ids: bool = False
) -> Histories:
    """Reads records of the training split, of either layout.

    The `sample` layout repeats a user's history in each of the user's samples, in order of time; the first history and all targets
    together are the user's events again.

    Args:
        files: of the split, in order.
        meta: the description of the dataset.
        times: read the events' times, where the records have them.
        behaviors: read the events' kinds.
        users: features of users, all of which are read; None: none.
        user_ids: keep the users' ids.
    """
    of_users = meta["layout"] == "user"
    differences, kind = ("time_steps", "behavior_ids") if of_users else ("seconds_to_next", "gt_behavior_id")
    times = times and differences in meta["features"]["train"]
    weight_of = np.array([weight for _, weight in meta.get("behavior_weights", [])], np.float32)
    wanted = {differences: times, "behavior_ids": behaviors, kind: len(weight_of) or behaviors}
    dtypes = {"item_ids": "int64", **{name: "int64" for name, asked in wanted.items() if asked}}
    user_type = user_id_type(meta, "train")
    if of_users:
        batches = record_batches(files, dtypes | (user_type if users is not None or user_ids else {}))
        events = _whole_users(batches, weight_of, times=times, behaviors=behaviors)
    else:
        batches = record_batches(files, dtypes | {"gt_item_id": "int64", **({"gt_time": "int64"} if times else {}), **user_type})
        events = _rejoined(batches, weight_of, int(meta["max_length"]), times=times, behaviors=behaviors)
    return Histories(
        events.item_rows,
        events.row_splits,
        int(meta["train_min_length"]),
        times=np.concatenate([np.zeros(0, np.int64), *events.times]) if times else None,
        weights=np.concatenate([np.zeros(0, np.float32), *events.weights]) if len(weight_of) else None,
        behaviors=(np.concatenate([np.zeros(0, np.int64), *events.behaviors]) + 1).astype(np.int32) if behaviors else None,
        user_features={} if users is None else users.lists,
        user_rows=users.rows_of(np.concatenate(events.user_ids)) if users is not None and events.user_ids else None,
        user_ids=np.concatenate(events.user_ids) if user_ids and events.user_ids else None,
    )


class _Events(NamedTuple):
    """What the records hold: users' events, and a piece per batch of what was asked for beside."""

    item_rows: npt.NDArray[np.int32]
    row_splits: npt.NDArray[np.int64]
    times: list[npt.NDArray[np.int64]]
    weights: list[npt.NDArray[np.float32]]
    behaviors: list[npt.NDArray[np.int64]]
    user_ids: list[npt.NDArray[Any]]


def _whole_users(batches: Iterator[dict[str, Column]], weight_of: npt.NDArray[np.float32], *, times: bool, behaviors: bool) -> _Events:
    """Of records of a user each."""
    rows, lengths = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)]
    found = _Events(rows[0], lengths[0], [], [], [], [])
    for batch in batches:
        rows.append(batch["item_ids"].values.astype(np.int32))
        lengths.append(np.diff(batch["item_ids"].row_splits))
        if times:
            found.times.append(times_of_steps(batch["time_steps"].values, batch["time_steps"].row_splits))
        if len(weight_of):
            found.weights.append(weight_of[batch["behavior_ids"].values])
        if behaviors:
            found.behaviors.append(batch["behavior_ids"].values)
        if "user_id" in batch:
            found.user_ids.append(batch["user_id"].values)
    return found._replace(item_rows=np.concatenate(rows), row_splits=np.cumsum(np.concatenate(lengths)))


def _rejoined(
    batches: Iterator[dict[str, Column]], weight_of: npt.NDArray[np.float32], max_length: int, *, times: bool, behaviors: bool
) -> _Events:
    """Of records of a sample each."""
    rejoiner = Rejoiner(max_length)
    for batch in batches:
        history, user_ids = batch["item_ids"], batch["user_id"].values if "user_id" in batch else None
        stamps = None
        if times:
            target_times = batch["gt_time"].values
            stamps = (times_before(target_times, history.row_splits, batch["seconds_to_next"].values), target_times)
        weights = weight_of[batch["gt_behavior_id"].values] if len(weight_of) else None
        kinds = (batch["behavior_ids"].values, batch["gt_behavior_id"].values) if behaviors else None
        rejoiner.add(
            history.values, history.row_splits, batch["gt_item_id"].values, user_ids, times=stamps, weights=weights, behaviors=kinds
        )
    return _Events(*rejoiner.finish(), rejoiner.times, rejoiner.weights, rejoiner.behaviors, rejoiner.user_ids)
