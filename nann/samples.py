"""Reads a dataset artifact into memory: training histories, held-out samples, and the items table.

Both layouts come out in one form. A history costs 4 bytes an event, so 100 million events take 400 MB.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import tensorflow as tf

from nann.errors import ArtifactError
from nann.inputs import BEHAVIOR, TIME, FeatureLists, UserFeatures, request_names
from nann.record_batches import record_batches, record_files
from nann.rejoin import Rejoiner

logger = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Samples:
    """Held-out samples, one per user (S samples).

    Attributes:
        histories: [S, L] int32 item rows, oldest first, zeros at the end.
        targets: [S] int32 item rows.
        user_ids: [S] the users' ids as they stand in the log, int64 or str.
        last_times: [S] int64 unix seconds of the newest event of each history (0 where the history is empty), or None where the records
            have no times.
        inputs: by name what was asked for beside the items, int64: [S, L] of side "history", [S, V] of side "user" (see `nann.inputs`).
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


@dataclass(frozen=True)
class Items:
    """The catalogue (N items); arrays of size N + 1 are indexed by item row and hold a neutral entry at row 0.

    Attributes:
        item_ids: [N + 1] catalogue ids (int64, or str objects); entry 0 is 0 or "".
        category_rows: [N + 1] int32; 0 where the category is missing.
        weights: [N + 1] float64 share of all events.
        train_counts: [N + 1] int64 events of training users.
        num_categories: C, category rows are 1..C.
    """

    item_ids: npt.NDArray[Any]
    category_rows: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float64]
    train_counts: npt.NDArray[np.int64]
    num_categories: int


def load_meta(dataset: Path) -> dict[str, Any]:
    """The dataset's ``meta.json``."""
    return dict(json.loads((dataset / "meta.json").read_text(encoding="utf-8")))


def load_items(dataset: Path) -> Items:
    """Reads ``items.parquet``.

    Raises:
        ArtifactError: its rows are not 1..N in order.
    """
    table = pq.read_table(dataset / "items.parquet")
    rows = table["item_row"].to_numpy()
    if not np.array_equal(rows, np.arange(1, len(rows) + 1)):
        raise ArtifactError(f"{dataset / 'items.parquet'} must hold item rows 1..{len(rows)} in order; run `nann convert` again")

    def column(name: str, neutral: Any) -> npt.NDArray[Any]:
        values = np.asarray(table[name].to_numpy(zero_copy_only=False))
        return np.concatenate([np.asarray([neutral], dtype=values.dtype), values])

    item_ids = table["item_id"]
    neutral_id: int | str = "" if str(item_ids.type) in {"string", "large_string"} else 0
    return Items(
        item_ids=column("item_id", neutral_id),
        category_rows=column("category_row", 0).astype(np.int32),
        weights=column("weight", 0.0),
        train_counts=column("train_count", 0),
        num_categories=int(load_meta(dataset)["num_categories"]),
    )


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
        dtypes |= _user_type(meta, "train") if of_users else {}
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
        user_type = _user_type(meta, "train")
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
    user_type = _user_type(meta, split)
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


def times_of_steps(steps: npt.NDArray[np.int64], row_splits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Times [E] from `time_steps` [E] of users with the given row splits [U + 1]: running sums within each user."""
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(steps)])
    times: npt.NDArray[np.int64] = sums[1:] - np.repeat(sums[row_splits[:-1]], np.diff(row_splits))
    return times


def times_before(
    target_times: npt.NDArray[np.int64], row_splits: npt.NDArray[np.int64], seconds_to_next: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Times [v] of the histories of samples: the target's time less all seconds from the event on.

    Args:
        target_times: [n] `gt_time`.
        row_splits: [n + 1] of the histories.
        seconds_to_next: [v].
    """
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(seconds_to_next)])
    times: npt.NDArray[np.int64] = np.repeat(target_times - sums[row_splits[1:]], np.diff(row_splits)) + sums[:-1]
    return times


def _user_type(meta: dict[str, Any], split: str) -> dict[str, Any]:
    """The `user_id` feature and its dtype; empty where the records have none."""
    feature = meta["features"][split].get("user_id")
    return {} if feature is None else {"user_id": tf.int64 if feature["dtype"] == "int64" else tf.string}
