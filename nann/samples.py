"""Reads a dataset artifact into memory: training histories, held-out samples, and the items table.

Both layouts come out in one form. A history costs 4 bytes an event, so 100 million events take 400 MB.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import tensorflow as tf

from nann.errors import ArtifactError
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
    """

    item_rows: npt.NDArray[np.int32]
    row_splits: npt.NDArray[np.int64]
    first_target: int
    times: npt.NDArray[np.int64] | None = None
    weights: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Samples:
    """Held-out samples, one per user (S samples).

    Attributes:
        histories: [S, L] int32 item rows, oldest first, zeros at the end.
        targets: [S] int32 item rows.
        user_ids: [S] the users' ids as they stand in the log, int64 or str.
        last_times: [S] int64 unix seconds of the newest event of each history (0 where the history is empty), or None where the records
            have no times.
    """

    histories: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    user_ids: npt.NDArray[Any]
    last_times: npt.NDArray[np.int64] | None = None

    def take(self, rows: npt.NDArray[np.integer]) -> Samples:
        """The samples at the given places."""
        last_times = None if self.last_times is None else self.last_times[rows]
        return Samples(self.histories[rows], self.targets[rows], self.user_ids[rows], last_times)

    def draw(self, count: int, *, seed: int) -> Samples:
        """``count`` samples drawn at random, in their order; all where there are no more than that."""
        if count >= len(self.targets):
            return self
        return self.take(np.sort(np.random.default_rng(seed).choice(len(self.targets), count, replace=False)))


@dataclass(frozen=True)
class FeatureLists:
    """One feature of N items.

    Attributes:
        values: [V] int32 value rows 1..num_values, item after item.
        row_splits: [N + 2] int64; item row r has ``values[row_splits[r]:row_splits[r + 1]]``, row 0 none.
        num_values: K.
    """

    values: npt.NDArray[np.int32]
    row_splits: npt.NDArray[np.int64]
    num_values: int

    @classmethod
    def unknown(cls, *, num_items: int, num_entries: int, num_values: int) -> FeatureLists:
        """Of the right sizes, to be filled from a checkpoint."""
        return cls(np.zeros(num_entries, np.int32), np.zeros(num_items + 2, np.int64), num_values)


@dataclass(frozen=True)
class Items:
    """The catalogue (N items); arrays of size N + 1 are indexed by item row and hold a neutral entry at row 0.

    Attributes:
        item_ids: [N + 1] catalogue ids (int64, or str objects); entry 0 is 0 or "".
        category_rows: [N + 1] int32; 0 where the category is missing.
        weights: [N + 1] float64 share of all events.
        train_counts: [N + 1] int64 events of training users.
        num_categories: C, category rows are 1..C.
        features: side features by name.
    """

    item_ids: npt.NDArray[Any]
    category_rows: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float64]
    train_counts: npt.NDArray[np.int64]
    num_categories: int
    features: dict[str, FeatureLists] = field(default_factory=dict)

    def chosen_features(self, names: tuple[str, ...]) -> dict[str, FeatureLists]:
        """Some of the features.

        Raises:
            ValueError: there is none of that name.
        """
        for name in names:
            if name not in self.features:
                raise ValueError(
                    f"there is no item feature {name!r}, there are {', '.join(self.features) or 'none'}; "
                    "run `nann convert` with --item-features, or leave it out of --inputs"
                )
        return {name: self.features[name] for name in names}


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
        features=_load_features(dataset),
    )


def _load_features(dataset: Path) -> dict[str, FeatureLists]:
    """Reads ``item_features.parquet``, where there is one."""
    path = dataset / "item_features.parquet"
    if not path.is_file():
        return {}
    sizes, table = load_meta(dataset)["item_features"], pq.read_table(path)
    features = {}
    for name in table.column_names:
        lists = table[name].combine_chunks()
        row_splits = np.concatenate([[0], lists.offsets.to_numpy()]).astype(np.int64)
        features[name] = FeatureLists(lists.flatten().to_numpy().astype(np.int32), row_splits, int(sizes[name]))
    return features


def load_histories(dataset: Path, *, times: bool = False) -> Histories:
    """Reads the training split, of either layout.

    The `sample` layout repeats a user's history in each of the user's samples, in order of time; the first history and all targets
    together are the user's events again.

    Args:
        dataset: artifact of `convert`.
        times: read the events' times too, where the records have them.

    Raises:
        ArtifactError: the dataset holds no training record.
    """
    meta = load_meta(dataset)
    files = record_files(dataset, "train")
    differences = "time_steps" if meta["layout"] == "user" else "seconds_to_next"
    times = times and differences in meta["features"]["train"]
    weight_of = np.array([weight for _, weight in meta.get("behavior_weights", [])], np.float32)
    behaviors = "behavior_ids" if meta["layout"] == "user" else "gt_behavior_id"
    stamps, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    dtypes = {"item_ids": tf.int64, **({differences: tf.int64} if times else {}), **({behaviors: tf.int64} if len(weight_of) else {})}
    if meta["layout"] == "user":
        events, lengths = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)]
        for batch in record_batches(files, dtypes):
            events.append(batch["item_ids"].values.astype(np.int32))
            lengths.append(np.diff(batch["item_ids"].row_splits))
            if times:
                stamps.append(times_of_steps(batch[differences].values, batch[differences].row_splits))
            if len(weight_of):
                weights.append(weight_of[batch[behaviors].values])
        item_rows, row_splits = np.concatenate(events), np.cumsum(np.concatenate(lengths))
    else:
        rejoiner = Rejoiner(int(meta["max_length"]))
        user_type = _user_type(meta, "train")
        dtypes |= {"gt_item_id": tf.int64, **({"gt_time": tf.int64} if times else {}), **user_type}
        for batch in record_batches(files, dtypes):
            history, users = batch["item_ids"], batch["user_id"].values if user_type else None
            own = None
            if times:
                own = (times_before(batch["gt_time"].values, history.row_splits, batch[differences].values), batch["gt_time"].values)
            some = weight_of[batch[behaviors].values] if len(weight_of) else None
            rejoiner.add(history.values, history.row_splits, batch["gt_item_id"].values, users, times=own, weights=some)
        item_rows, row_splits = rejoiner.finish()
        stamps += rejoiner.times
        weights += rejoiner.weights
    if len(row_splits) < 2:
        raise ArtifactError(f"{dataset} has no training users; convert a longer log, or hold out fewer users")
    return Histories(
        item_rows,
        row_splits,
        int(meta["train_min_length"]),
        times=np.concatenate(stamps) if times else None,
        weights=np.concatenate(weights) if len(weight_of) else None,
    )


def load_samples(dataset: Path, split: str) -> Samples:
    """Reads the held-out samples of split "validate" or "test"; where the records have no user ids the users are numbered from 0."""
    meta = load_meta(dataset)
    length = int(meta["max_length"])
    user_type = _user_type(meta, split)
    histories, targets = [np.zeros((0, length), np.int32)], [np.zeros(0, np.int32)]
    users: list[npt.NDArray[Any]] = []
    last_times: list[npt.NDArray[np.int64]] = []
    dtypes = {"item_ids": tf.int64, "gt_item_id": tf.int64, **user_type}
    if has_times := "seconds_to_next" in meta["features"][split]:
        dtypes |= {"seconds_to_next": tf.int64, "gt_time": tf.int64}
    for batch in record_batches(record_files(dataset, split), dtypes):
        values, row_splits = batch["item_ids"].values, batch["item_ids"].row_splits
        lengths = np.diff(row_splits)
        filled = np.zeros((len(lengths), length), np.int32)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        filled[rows, np.arange(len(values)) - row_splits[rows]] = values
        histories.append(filled)
        targets.append(batch["gt_item_id"].values.astype(np.int32))
        users.append(batch["user_id"].values if user_type else np.arange(len(lengths)) + sum(map(len, users)))
        if has_times:
            times = np.append(times_before(batch["gt_time"].values, row_splits, batch["seconds_to_next"].values), 0)
            last_times.append(np.where(lengths > 0, times[np.maximum(row_splits[1:] - 1, 0)], 0))
    return Samples(
        np.concatenate(histories),
        np.concatenate(targets),
        np.concatenate(users) if users else np.zeros(0, np.int64),
        np.concatenate([np.zeros(0, np.int64), *last_times]) if has_times else None,
    )


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
