"""The training users' events, of either layout in one form.

A history costs 4 bytes an event, so 100 million events take 400 MB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nann.dataset.inputs import BEHAVIOR, TIME, FeatureLists, UserFeatures, request_names
from nann.dataset.meta import load_meta, user_id_type
from nann.dataset.record_batches import record_batches, record_files
from nann.dataset.rejoin import Rejoiner
from nann.dataset.times import times_before, times_of_steps
from nann.errors import ArtifactError


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
    """

    item_rows: npt.NDArray[np.int32]
    row_splits: npt.NDArray[np.int64]
    first_target: int
    times: npt.NDArray[np.int64] | None = None
    weights: npt.NDArray[np.float32] | None = None
    behaviors: npt.NDArray[np.int32] | None = None
    user_features: Mapping[str, FeatureLists] = field(default_factory=dict)
    user_rows: npt.NDArray[np.int64] | None = None


def load_histories(dataset: Path, *, times: bool = False, inputs: Sequence[str] = ()) -> Histories:
    """Reads the training split, of either layout.

    The `sample` layout repeats a user's history in each of the user's samples, in order of time; the first history and all targets
    together are the user's events again.

    Args:
        dataset: artifact of `convert`.
        times: read the events' times too, where the records have them.
        inputs: names of inputs of the dataset; what belongs to events and users is read, too.

    Raises:
        ArtifactError: the dataset holds no training record, or has no input of a name.
    """
    meta, sides = load_meta(dataset), request_names(dataset, inputs)
    files = record_files(dataset, "train")
    differences = "time_steps" if meta["layout"] == "user" else "seconds_to_next"
    times = (times or TIME in sides) and differences in meta["features"]["train"]
    weight_of = np.array([weight for _, weight in meta.get("behavior_weights", [])], np.float32)
    target_kind = "behavior_ids" if meta["layout"] == "user" else "gt_behavior_id"
    of_users = [name for name, side in sides.items() if side == "user"]
    wanted = {differences: times, "behavior_ids": BEHAVIOR in sides, target_kind: len(weight_of) or BEHAVIOR in sides}
    dtypes = {"item_ids": tf.int64, **{name: tf.int64 for name, asked in wanted.items() if asked}}
    stamps, weights, kinds = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
    users: list[npt.NDArray[Any]] = []
    if meta["layout"] == "user":
        dtypes |= user_id_type(meta, "train") if of_users else {}
        events, lengths = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)]
        for batch in record_batches(files, dtypes):
            events.append(batch["item_ids"].values.astype(np.int32))
            lengths.append(np.diff(batch["item_ids"].row_splits))
            if times:
                stamps.append(times_of_steps(batch[differences].values, batch[differences].row_splits))
            if len(weight_of):
                weights.append(weight_of[batch[target_kind].values])
            if BEHAVIOR in sides:
                kinds.append(batch["behavior_ids"].values)
            if of_users:
                users.append(batch["user_id"].values)
        item_rows, row_splits = np.concatenate(events), np.cumsum(np.concatenate(lengths))
    else:
        rejoiner = Rejoiner(int(meta["max_length"]))
        user_type = user_id_type(meta, "train")
        dtypes |= {"gt_item_id": tf.int64, **({"gt_time": tf.int64} if times else {}), **user_type}
        for batch in record_batches(files, dtypes):
            history, user_ids = batch["item_ids"], batch["user_id"].values if user_type else None
            own = None
            if times:
                own = (times_before(batch["gt_time"].values, history.row_splits, batch[differences].values), batch["gt_time"].values)
            some = weight_of[batch[target_kind].values] if len(weight_of) else None
            kind = (batch["behavior_ids"].values, batch[target_kind].values) if BEHAVIOR in sides else None
            rejoiner.add(history.values, history.row_splits, batch["gt_item_id"].values, user_ids, times=own, weights=some, behaviors=kind)
        item_rows, row_splits = rejoiner.finish()
        stamps += rejoiner.times
        weights += rejoiner.weights
        kinds += rejoiner.behaviors
        users += rejoiner.user_ids
    if len(row_splits) < 2:
        raise ArtifactError(f"{dataset} has no training users; convert a longer log, or hold out fewer users")
    features = UserFeatures(dataset, of_users) if of_users else None
    return Histories(
        item_rows,
        row_splits,
        int(meta["train_min_length"]),
        times=np.concatenate(stamps) if times else None,
        weights=np.concatenate(weights) if len(weight_of) else None,
        behaviors=(np.concatenate(kinds) + 1).astype(np.int32) if BEHAVIOR in sides else None,
        user_features={} if features is None else features.lists,
        user_rows=None if features is None else features.rows_of(np.concatenate(users)),
    )
