"""Reads TFRecord files of `tf.train.Example` in batches of flat columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

READ_BATCH = 8192
HISTORIES = ("item_ids", "cate_ids", "seconds_to_next", "behavior_ids")


@dataclass(frozen=True)
class Column:
    """One feature of n records: flat ``values`` [v] (int64, float32, or str objects), record i's in [row_splits[i], row_splits[i + 1])."""

    values: npt.NDArray[Any]
    row_splits: npt.NDArray[np.int64]


def record_batches(files: Sequence[Path], dtypes: Mapping[str, Any]) -> Iterator[dict[str, Column]]:
    """Batches of records, in the order of the files.

    Zeros at the end of histories are padding, which some writers store, and are cut off.

    Args:
        files: TFRecord files; those that end in `.gz` are gzip, the others plain, all alike.
        dtypes: feature -> TensorFlow dtype, or its name; a feature that a record lacks is empty there.

    Raises:
        tf.errors.DataLossError: a file is damaged.
        tf.errors.InvalidArgumentError: a record is no Example, or a feature has another dtype.
    """
    import tensorflow as tf  # when records are read: what looks at a dataset's description alone starts without it

    compression = "GZIP" if files and files[0].suffix == ".gz" else ""
    features = {name: tf.io.RaggedFeature(tf.as_dtype(dtype), row_splits_dtype=tf.int64) for name, dtype in dtypes.items()}
    records = tf.data.TFRecordDataset([str(file) for file in files], compression_type=compression).batch(READ_BATCH)
    parsed = records.map(lambda batch: tf.io.parse_example(batch, features), num_parallel_calls=2, deterministic=True).prefetch(2)
    for batch in parsed:
        columns = {name: _column(batch[name]) for name in dtypes}
        if "item_ids" in columns and len(columns["item_ids"].values) and not columns["item_ids"].values.all():
            padding = columns["item_ids"]
            columns.update({name: _without_padding(columns[name], padding) for name in HISTORIES if name in columns})
        yield columns


def _column(ragged: Any) -> Column:
    values = ragged.values.numpy()
    return Column(values.astype(str) if values.dtype == object else values, ragged.row_splits.numpy())


def _without_padding(column: Column, items: Column) -> Column:
    """Leaves out what stands after the last item of each record; a column of other lengths than the items is kept as it is."""
    if not np.array_equal(column.row_splits, items.row_splits):
        return column
    lengths = np.diff(items.row_splits)
    place = np.arange(len(items.values)) - np.repeat(items.row_splits[:-1], lengths)
    used = np.zeros(len(lengths), np.int64)
    np.maximum.at(used, np.repeat(np.arange(len(lengths)), lengths), np.where(items.values != 0, place + 1, 0))
    keep = place < np.repeat(used, lengths)
    return Column(column.values[keep], np.concatenate([np.zeros(1, np.int64), np.cumsum(used)]))


def user_id_type(meta: Mapping[str, Any], split: str) -> dict[str, str]:
    """The `user_id` feature of a split's records and its dtype; empty where they have none."""
    feature = meta["features"][split].get("user_id")
    return {} if feature is None else {"user_id": "int64" if feature["dtype"] == "int64" else "string"}
