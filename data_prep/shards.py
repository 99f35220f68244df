"""The feature schema, and the TFRecord shards of both layouts.

`user` layout, one Example per training user: `user_id` [1], `item_ids`, `cate_ids`, `times` [len].
`sample` layout, one Example per target: `user_id` [1], `item_ids`, `cate_ids` [<= max_length] (the events right before the target, oldest
first), `gt_item_id`, `gt_cate_id`, `gt_time` [1] int64, `weight_tag` [1] float32 (the target item's share of all events).
Validation and test are always of the `sample` layout. Item and category features hold rows (0: no category), times are unix seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from data_prep.histories import Histories
from data_prep.items_table import Catalogue
from data_prep.splits import Splits, held_out_targets, train_targets
from data_prep.vocabulary import Ids, take_ids
from ops.records import Feature, scalar_feature, write_records

BLOCK_ROWS = 1 << 15
logger = logging.getLogger(__name__)


def feature_schema(layout: Literal["user", "sample"], user_id_type: str) -> dict[str, dict[str, Any]]:
    """Feature name -> dtype and shape (null: varying) of one layout."""
    user_id = {"user_id": {"dtype": "int64" if user_id_type == "int64" else "bytes", "shape": [1]}}
    varying, one = {"dtype": "int64", "shape": [None]}, {"dtype": "int64", "shape": [1]}
    if layout == "user":
        return {**user_id, "item_ids": varying, "cate_ids": varying, "times": varying}
    return {
        **user_id,
        "item_ids": varying,
        "cate_ids": varying,
        "gt_item_id": one,
        "gt_cate_id": one,
        "gt_time": one,
        "weight_tag": {"dtype": "float32", "shape": [1]},
    }


def shard_path(directory: Path, split: str, shard: int, shards: int) -> Path:
    """`SPLIT-00000-of-00004.tfrecord`."""
    return directory / f"{split}-{shard:05d}-of-{shards:05d}.tfrecord"


def gather_ranges(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of many ranges in a row.

    Args:
        starts: [n] int64, first index of each range.
        lengths: [n] int64, >= 0.

    Returns:
        index: [sum(lengths)] int64; row_splits: [n + 1] int64.
    """
    row_splits = np.zeros(len(starts) + 1, np.int64)
    np.cumsum(lengths, out=row_splits[1:])
    index = np.arange(row_splits[-1])
    index += np.repeat(starts - row_splits[:-1], lengths)
    return index, row_splits


def _user_feature(ids: Ids) -> Feature:
    if isinstance(ids, np.ndarray):
        return scalar_feature(ids)
    return scalar_feature(ids.cast(pa.binary()).to_numpy(zero_copy_only=False))


def user_blocks(histories: Histories, catalogue: Catalogue, users: np.ndarray) -> Iterator[dict[str, Feature]]:
    """Features of the `user` layout, some ten thousand users at a time.

    Args:
        histories: all users.
        catalogue: for the categories.
        users: [n] user codes.
    """
    for first in range(0, len(users), BLOCK_ROWS):
        some = users[first : first + BLOCK_ROWS]
        starts = histories.row_splits[some]
        index, row_splits = gather_ranges(starts, histories.row_splits[some + 1] - starts)
        item_rows = histories.item_rows[index]
        yield {
            "user_id": _user_feature(take_ids(histories.user_ids, some)),
            "item_ids": Feature(item_rows.astype(np.int64), row_splits),
            "cate_ids": Feature(catalogue.category_rows[item_rows].astype(np.int64), row_splits),
            "times": Feature(histories.times[index], row_splits),
        }


def sample_blocks(
    histories: Histories, catalogue: Catalogue, targets: np.ndarray, starts: np.ndarray, max_length: int
) -> Iterator[dict[str, Feature]]:
    """Features of the `sample` layout, some ten thousand samples at a time.

    Args:
        histories: all users.
        catalogue: for categories and weights.
        targets: [S] event indices of the targets.
        starts: [S] event index at which each target's user starts.
        max_length: history items at most.
    """
    weights = np.concatenate([[0.0], catalogue.counts / catalogue.counts.sum()]).astype(np.float32)
    for first in range(0, len(targets), BLOCK_ROWS):
        target = targets[first : first + BLOCK_ROWS]
        length = np.minimum(target - starts[first : first + BLOCK_ROWS], max_length)
        index, row_splits = gather_ranges(target - length, length)
        item_rows, target_rows = histories.item_rows[index], histories.item_rows[target]
        users = np.searchsorted(histories.row_splits, target, side="right") - 1
        yield {
            "user_id": _user_feature(take_ids(histories.user_ids, users)),
            "item_ids": Feature(item_rows.astype(np.int64), row_splits),
            "cate_ids": Feature(catalogue.category_rows[item_rows].astype(np.int64), row_splits),
            "gt_item_id": scalar_feature(target_rows.astype(np.int64)),
            "gt_cate_id": scalar_feature(catalogue.category_rows[target_rows].astype(np.int64)),
            "gt_time": scalar_feature(histories.times[target]),
            "weight_tag": scalar_feature(weights[target_rows]),
        }


def write_splits(
    directory: Path,
    histories: Histories,
    catalogue: Catalogue,
    splits: Splits,
    *,
    layout: Literal["user", "sample"],
    max_length: int,
    train_min_length: int,
    test_min_length: int,
    shards: int,
) -> dict[str, int]:
    """Writes all TFRecord files.

    Training users lie in ascending order of their ids, cut into shards of equal numbers of users (fewer shards than asked for if there are
    fewer users); validation and test are one file each.

    Returns:
        Split -> number of samples; of training in the `user` layout those that a reader will cut.
    """
    begin = time.monotonic()
    parts = np.array_split(splits.train, min(shards, len(splits.train)))
    num_samples = {"train": 0}
    size_bytes = 0
    for shard, users in enumerate(parts):
        targets, starts = train_targets(histories.row_splits, users, train_min_length)
        num_samples["train"] += len(targets)
        blocks = (
            user_blocks(histories, catalogue, users)
            if layout == "user"
            else sample_blocks(histories, catalogue, targets, starts, max_length)
        )
        size_bytes += write_records(shard_path(directory, "train", shard, len(parts)), blocks)
        logger.info("training shard %d of %d written, %.1f MB so far", shard + 1, len(parts), size_bytes / 1e6)
    for split, users in (("validate", splits.validate), ("test", splits.test)):
        targets = held_out_targets(histories.row_splits, users, test_min_length)
        num_samples[split] = len(targets)
        blocks = sample_blocks(histories, catalogue, targets, histories.row_splits[users], max_length)
        size_bytes += write_records(shard_path(directory, split, 0, 1), blocks)
    logger.info("%.1f MB of records written in %.1f s", size_bytes / 1e6, time.monotonic() - begin)
    return num_samples
