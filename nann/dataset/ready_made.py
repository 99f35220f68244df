"""Ready-made records of the `sample` layout become a dataset as they are: checked, counted, described, not rewritten.

The records hold item and category *rows* (from 1; 0 pads or means "none"), as `docs/data.md` says of the layout; `user_id` and `gt_time`
may be absent. A file belongs to the split that its name or its directory's names: train, val(idate/idation), test.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import tensorflow as tf

from data_prep.config import ConvertConfig
from data_prep.durable import link_or_copy
from data_prep.errors import DataError
from data_prep.json_text import write_json
from data_prep.opening import opening
from data_prep.report import ConvertReport
from data_prep.shards import SPLITS, shard_path
from nann.dataset.record_batches import Column, record_batches
from nann.dataset.rejoin import Rejoiner

DTYPES = {"item_ids": tf.int64, "cate_ids": tf.int64, "gt_item_id": tf.int64, "gt_cate_id": tf.int64, "weight_tag": tf.float32}
ONE_VALUE = ("gt_item_id", "gt_cate_id", "weight_tag")
_SPLIT_WORDS = {"train": "train", "valid": "validate", "val": "validate", "validate": "validate", "validation": "validate", "test": "test"}
logger = logging.getLogger(__name__)


@dataclass
class _Found:
    """What the records hold: arrays by item row, grown as rows appear, and numbers per split."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    train_counts: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    categories: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    weights: np.ndarray = field(default_factory=lambda: np.zeros(1))
    changed: np.ndarray = field(default_factory=lambda: np.zeros(1, bool))
    num_samples: dict[str, int] = field(default_factory=dict)
    longest: int = 0
    shortest_train: int = 1 << 62

    def fit(self, row: int) -> None:
        """Makes room for an item row."""
        if row >= len(self.counts):
            for name in ("counts", "train_counts", "categories", "weights", "changed"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros(max(row + 1, 2 * len(array)) - len(array), array.dtype)]))

    def see(self, items: np.ndarray, categories: np.ndarray) -> None:
        """Takes notice of items and their categories; the last one counts."""
        known = self.categories[items]
        self.changed[items[(known != 0) & (known != categories)]] = True
        self.categories[items] = categories


def split_of(path: Path) -> str:
    """The split that a file's name, or else its directory's, names.

    Raises:
        DataError: it names none.
    """
    for part in (path.name, path.parent.name):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLIT_WORDS:
                return _SPLIT_WORDS[word]
    raise DataError(f"{path} names no split; its name, or its directory's, must have one of the words {', '.join(_SPLIT_WORDS)}")


def _user_dtype(path: Path) -> Any:
    """tf.int64 or tf.string as the first record has it, None without user ids."""
    compression = "GZIP" if path.suffix == ".gz" else ""
    with opening(path, "a whole file of records of the sample layout", remedy="convert the log itself, or leave it out"):
        first = next(iter(tf.data.TFRecordDataset(str(path), compression_type=compression).take(1)), None)
        kind = "" if first is None else tf.train.Example.FromString(first.numpy()).features.feature["user_id"].WhichOneof("kind")
    if first is not None:
        return {"int64_list": tf.int64, "bytes_list": tf.string}.get(kind or "")
    raise DataError(f"{path} holds no record; leave it out")


def _check(batch: dict[str, Column], path: Path) -> None:
    for name in ONE_VALUE:
        if len(np.unique(np.diff(batch[name].row_splits))) != 1 or batch[name].row_splits[1] != 1:
            raise DataError(
                f"{path}: feature {name!r} must have exactly one value in every record; these are no records of the sample layout"
            )
    if not np.array_equal(batch["item_ids"].row_splits, batch["cate_ids"].row_splits):
        raise DataError(f"{path}: item_ids and cate_ids of a record must have the same length")
    lowest = min(int(batch[name].values.min(initial=1)) for name in ("item_ids", "gt_item_id"))
    if lowest < 1 or int(min(batch[name].values.min(initial=0) for name in ("cate_ids", "gt_cate_id"))) < 0:
        raise DataError(f"{path}: item rows must be 1 or more and category rows 0 or more, but {lowest} occurs; 0 may only pad at the end")


def _read_split(split: str, files: Sequence[Path], user_dtype: Any, found: _Found) -> tuple[np.ndarray, np.ndarray] | None:
    """Checks and counts a split; of training also the users' events and their row splits."""
    dtypes = DTYPES | ({"user_id": user_dtype} if user_dtype is not None else {})
    rejoiner, samples = None, 0
    for attempt in ("measure", "join") if split == "train" and user_dtype is None else ("join",):
        rejoiner = Rejoiner(found.longest) if split == "train" and attempt == "join" else None
        for path in files:
            try:
                for batch in record_batches([path], dtypes):
                    _check(batch, path)
                    lengths = np.diff(batch["item_ids"].row_splits)
                    found.longest = max(found.longest, int(lengths.max(initial=0)))
                    if attempt == "measure":
                        continue
                    samples += len(lengths)
                    _count(split, batch, lengths, found, rejoiner)
            except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
                raise DataError(
                    f"{path} is damaged or holds other records than the sample layout: {error.message.splitlines()[0]}"
                ) from error
    found.num_samples[split] = samples
    return rejoiner.finish() if rejoiner is not None else None


def _count(split: str, batch: dict[str, Column], lengths: np.ndarray, found: _Found, rejoiner: Rejoiner | None) -> None:
    history, target = batch["item_ids"], batch["gt_item_id"].values
    found.fit(int(max(history.values.max(initial=0), target.max())))
    found.see(history.values, batch["cate_ids"].values)
    found.see(target, batch["gt_cate_id"].values)
    found.weights[target] = batch["weight_tag"].values
    if split == "train":
        found.shortest_train = min(found.shortest_train, int(lengths.min()))
    if rejoiner is not None:
        rejoiner.add(history.values, history.row_splits, target, batch["user_id"].values if "user_id" in batch else None)
    else:
        np.add.at(found.counts, history.values, 1)
        np.add.at(found.counts, target, 1)


def _side_table(path: Path | None, num_items: int) -> pa.Table | None:
    """`item_id` per item row, from a table with the columns item_row and item_id (Parquet, or CSV with a header)."""
    if path is None:
        return None
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    with opening(path, "a table with the columns item_row and item_id", remedy="give one that has a row per item"):
        table = pa.parquet.read_table(path) if is_parquet else pa.csv.read_csv(path)
        rows, ids = table["item_row"].to_numpy(), table["item_id"].combine_chunks()
    order = np.full(num_items, -1)
    inside = (rows >= 1) & (rows <= num_items)
    order[rows[inside] - 1] = np.flatnonzero(inside)
    if (order < 0).any():
        raise DataError(
            f"{path} has no item_id for {int((order < 0).sum()):,} of {num_items:,} item rows, such as {int(np.argmin(order)) + 1}"
        )
    return ids.take(pa.array(order))


def adopt_records(files: Sequence[Path], out_dir: Path, config: ConvertConfig) -> ConvertReport:
    """Makes a dataset of ready-made records: the files themselves (hard links, or copies), `items.parquet` and `meta.json`.

    Args:
        files: TFRecord files of the sample layout; training files in the order of their paths.
        out_dir: existing directory to write into.
        config: of its fields only `items` counts: a table with the columns item_row and item_id, joined by row; without it an item's id is
            its row.

    Raises:
        DataError: a file is damaged, holds other records, or names no split; there is no training or test file; files differ in
            compression; the training samples are not whole users in order.
    """
    by_split: dict[str, list[Path]] = {split: [path for path in files if split_of(path) == split] for split in SPLITS}
    for split in ("train", "test"):
        if not by_split[split]:
            raise DataError(f"there is no {split} file among the {len(files)} record files; a dataset needs one")
    if len({path.suffix == ".gz" for path in files}) > 1:
        raise DataError("some record files are gzip (.gz), others are not; bring all in one form")
    user_dtype, found = _user_dtype(by_split["train"][0]), _Found()
    histories = None
    for split in SPLITS:
        histories = _read_split(split, by_split[split], user_dtype, found) or histories
        logger.info("%s: %s samples in %d files checked", split, f"{found.num_samples[split]:,}", len(by_split[split]))
    if histories is None:
        raise DataError("the training files hold no record")
    events, row_splits = histories
    lengths = np.diff(row_splits)
    whole = int(np.maximum(lengths - found.shortest_train, 0).sum())
    if whole != found.num_samples["train"]:
        raise DataError(
            f"the {found.num_samples['train']:,} training samples are not whole users in order of time (which would be {whole:,} of "
            f"{len(lengths):,} users from {found.shortest_train} events on); convert the log instead, or write the records in order"
        )
    num_items = int(np.flatnonzero(found.categories + found.weights + np.bincount(events, minlength=len(found.counts)))[-1])
    train_counts = np.bincount(events, minlength=len(found.counts))[1 : num_items + 1]
    _write_items(out_dir / "items.parquet", found, train_counts, num_items, config.items)
    for split, paths in by_split.items():
        for number, path in enumerate(paths):
            target = shard_path(out_dir, split, number, len(paths))
            link_or_copy(path.resolve(), target.with_name(target.name + (".gz" if path.suffix == ".gz" else "")))
    report = _report(found, lengths, num_items, user_dtype, by_split, pa.parquet.read_table(out_dir / "items.parquet"))
    write_json(out_dir / "meta.json", asdict(report))
    return report


def _write_items(path: Path, found: _Found, train_counts: np.ndarray, num_items: int, side: Path | None) -> None:
    rows = np.arange(1, num_items + 1)
    counts = found.counts[1 : num_items + 1] + train_counts
    weights = found.weights[1 : num_items + 1]
    weights = np.where(weights > 0, weights, counts / max(int(counts.sum()), 1))
    categories = found.categories[1 : num_items + 1]
    ids = _side_table(side, num_items)
    table = {
        "item_row": pa.array(rows, pa.int64()),
        "item_id": pa.array(rows, pa.int64()) if ids is None else ids,
        "category_row": pa.array(categories, pa.int64()),
        "category_id": pa.array(categories, pa.int64(), mask=categories == 0),
        "count": pa.array(counts, pa.int64()),
        "weight": pa.array(weights, pa.float64()),
        "train_count": pa.array(train_counts, pa.int64()),
    }
    pa.parquet.write_table(pa.table(table), path, compression="zstd")


def _report(
    found: _Found, lengths: np.ndarray, num_items: int, user_dtype: Any, by_split: dict[str, list[Path]], items: pa.Table
) -> ConvertReport:
    one, many = {"dtype": "int64", "shape": [1]}, {"dtype": "int64", "shape": [None]}
    features: dict[str, Any] = {"item_ids": many, "cate_ids": many, "gt_item_id": one, "gt_cate_id": one}
    features["weight_tag"] = {"dtype": "float32", "shape": [1]}
    if user_dtype is not None:
        features["user_id"] = {"dtype": "int64" if user_dtype == tf.int64 else "bytes", "shape": [1]}
    held_out = {split: found.num_samples[split] for split in SPLITS[1:]}
    return ConvertReport(
        layout="sample",
        max_length=found.longest,
        train_min_length=found.shortest_train,
        test_min_length=0,
        num_rows=sum(found.num_samples.values()),
        num_events=int(np.sum(items["count"].to_numpy())),
        num_users=len(lengths) + sum(held_out.values()),
        num_items=num_items,
        num_categories=int(found.categories.max()),
        num_samples=dict(found.num_samples),
        num_users_per_split={"train": len(lengths), **held_out},
        user_id_type="string" if user_dtype == tf.string else "int64",
        item_id_type="string" if pa.types.is_string(items["item_id"].type) else "int64",
        category_id_type="int64",
        time_unit="s",
        time_range=(0, 0),
        headers=[],
        dropped_rows={},
        filtered_rows={},
        duplicate_events=0,
        items_with_changed_category=int(found.changed.sum()),
        items_without_category=int((found.categories[1 : num_items + 1] == 0).sum()),
        inputs={},
        notes={"record_files": sum(map(len, by_split.values()))},
        features=dict.fromkeys(SPLITS, features),
        compression="gzip" if any(path.suffix == ".gz" for path in by_split["train"]) else "none",
        behavior_weights=[],
    )
