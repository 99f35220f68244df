"""Reads a dataset artifact into memory: training histories, held-out samples, and the items table.

Both layouts come out in one form. A history costs 4 bytes an event, so 100 million events take 400 MB.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import tensorflow as tf

from nann.errors import ArtifactError

logger = logging.getLogger(__name__)
READ_BATCH = 8192


@dataclass(frozen=True)
class Histories:
    """The training users' events (E events, U users).

    Attributes:
        item_rows: [E] int32 item rows 1..N, user after user, each in order of time.
        row_splits: [U + 1] int64; user u's events are ``item_rows[row_splits[u]:row_splits[u + 1]]``.
        first_target: positions of a history from this one on are training targets (the train_min_length).
    """

    item_rows: npt.NDArray[np.int32]
    row_splits: npt.NDArray[np.int64]
    first_target: int


@dataclass(frozen=True)
class Samples:
    """Held-out samples, one per user (S samples).

    Attributes:
        histories: [S, L] int32 item rows, oldest first, zeros at the end.
        targets: [S] int32 item rows.
        user_ids: [S] the users' ids as they stand in the log, int64 or str.
    """

    histories: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    user_ids: npt.NDArray[Any]


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


def load_histories(dataset: Path) -> Histories:
    """Reads the training split, of either layout.

    The `sample` layout repeats a user's history in each of the user's samples, in order of time; the first history and all targets
    together are the user's events again.

    Raises:
        ArtifactError: the dataset holds no training record.
    """
    meta = load_meta(dataset)
    keys: tuple[str, ...] = ("item_ids",) if meta["layout"] == "user" else ("item_ids", "gt_item_id", "user_id")
    columns = _read(dataset, "train", keys, user_id_type=meta["features"]["train"]["user_id"]["dtype"])
    item_rows, row_splits = columns["item_ids"]
    if meta["layout"] == "sample":
        item_rows, row_splits = _rejoin(item_rows, row_splits, columns["gt_item_id"][0], columns["user_id"][0])
    if len(row_splits) < 2:
        raise ArtifactError(f"{dataset} has no training users; convert a longer log, or hold out fewer users")
    return Histories(item_rows.astype(np.int32), row_splits, int(meta["train_min_length"]))


def load_samples(dataset: Path, split: str) -> Samples:
    """Reads the held-out samples of split "validate" or "test"."""
    meta = load_meta(dataset)
    columns = _read(dataset, split, ("item_ids", "gt_item_id", "user_id"), user_id_type=meta["features"][split]["user_id"]["dtype"])
    values, row_splits = columns["item_ids"]
    length = int(meta["max_length"])
    histories = np.zeros((len(row_splits) - 1, length), np.int32)
    lengths = np.diff(row_splits)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    histories[rows, np.arange(len(values)) - row_splits[rows]] = values
    return Samples(histories, columns["gt_item_id"][0].astype(np.int32), columns["user_id"][0])


def _rejoin(
    values: npt.NDArray[Any], row_splits: npt.NDArray[np.int64], targets: npt.NDArray[Any], user_ids: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Events per user from samples: the history of a user's first sample, then the target of each."""
    if len(targets) == 0:
        return values, np.zeros(1, np.int64)
    is_first = np.concatenate([[True], user_ids[1:] != user_ids[:-1]])
    user = np.cumsum(is_first) - 1
    lengths = np.diff(row_splits)
    first_lengths = lengths[is_first]
    history = np.repeat(is_first, lengths)
    owners = np.concatenate([np.repeat(np.arange(len(first_lengths)), first_lengths), user])
    order = np.argsort(owners, kind="stable")  # histories stand before targets in `owners`, so they do within a user
    events = np.concatenate([values[history], targets])[order]
    per_user = np.bincount(owners, minlength=len(first_lengths))
    return events, np.concatenate([[0], np.cumsum(per_user)]).astype(np.int64)


def _read(
    dataset: Path, split: str, keys: tuple[str, ...], *, user_id_type: str
) -> dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
    """Flat values and row splits per feature of one split, over its shards in order of name."""
    files = sorted(str(path) for path in dataset.glob(f"{split}-*.tfrecord*"))
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    user_type = tf.int64 if user_id_type == "int64" else tf.string
    features = {key: tf.io.RaggedFeature(user_type if key == "user_id" else tf.int64, row_splits_dtype=tf.int64) for key in keys}
    records = tf.data.TFRecordDataset(files, compression_type=compression).batch(READ_BATCH)
    parsed = records.map(lambda batch: tf.io.parse_example(batch, features), num_parallel_calls=2, deterministic=True).prefetch(2)
    values: dict[str, list[npt.NDArray[Any]]] = {key: [] for key in keys}
    lengths: dict[str, list[npt.NDArray[np.int64]]] = {key: [] for key in keys}
    for batch in parsed:
        for key in keys:
            flat = batch[key].values.numpy()
            flat = (flat.astype(str) if flat.dtype == object else flat) if key == "user_id" else flat.astype(np.int32)
            values[key].append(flat)
            lengths[key].append(np.diff(batch[key].row_splits.numpy()))
    return {
        key: (
            np.concatenate(values[key]) if values[key] else np.zeros(0, np.int32),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths[key]))]) if lengths[key] else np.zeros(1, np.int64),
        )
        for key in keys
    }
