"""The straightforward converter: a UserBehavior log into a dataset of the `sample` layout, with csv, dictionaries, an Example a sample.

It does what `nann convert` does with the default options on such a log, and nothing that would slow it down otherwise: bad rows are left
out and counted, repeated events counted, users held out, samples, items table, description and digests written. That the outcomes are equal
is tested (`tests/benchmarks/test_python_converter.py`). The whole log is in memory.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import tensorflow as tf

from data_prep.config import SPLIT_FIELDS, ConvertConfig
from data_prep.splits import draw_splits

Event = tuple[int, int, int]  # item row, category row, time


def convert_in_python(log: Path, out: Path, config: ConvertConfig | None = None) -> dict[str, int]:
    """Converts ``log`` into the existing directory ``out``; returns what was counted."""
    config = config or ConvertConfig()
    log_sha256 = sha256(log)
    rows, dropped = read_rows(log, config)
    rows.sort(key=lambda row: row[3])
    counts = Counter(item for _, item, _, _ in rows)
    row_of_item = {item: row for row, item in enumerate(sorted(counts, key=lambda item: (-counts[item], item)), 1)}
    category_of_item = {item: category for _, item, category, _ in rows}
    changed = {item for _, item, category, _ in rows if category_of_item[item] != category}
    category_counts = Counter(category_of_item[item] for _, item, _, _ in rows)
    row_of_category = {c: row for row, c in enumerate(sorted(category_counts, key=lambda c: (-category_counts[c], c)), 1)}
    histories: dict[int, list[Event]] = {}
    for user, item, _, moment in rows:
        histories.setdefault(user, []).append((row_of_item[item], row_of_category[category_of_item[item]], moment))
    repeated = len(rows) - len({(user, item, moment) for user, item, _, moment in rows})
    users = sorted(histories)
    splits = draw_splits(np.array([len(histories[user]) for user in users]), **config.model_dump(include=set(SPLIT_FIELDS)))
    weights = {row_of_item[item]: count / len(rows) for item, count in counts.items()}
    samples = {}
    least = config.test_min_length
    for split, codes in (("train", splits.train), ("validate", splits.validate), ("test", splits.test)):
        samples[split] = 0
        with tf.io.TFRecordWriter(str(out / f"{split}.tfrecord")) as writer:
            for user in (users[code] for code in codes):
                events = histories[user]
                places = range(config.train_min_length, len(events)) if split == "train" else [least + (len(events) - least) // 2]
                for place in places:
                    writer.write(example(user, events, place, config.max_length, weights))
                    samples[split] += 1
    train_counts = Counter(event[0] for code in splits.train for event in histories[users[code]])
    items = [
        {
            "item_row": row,
            "item_id": item,
            "category_row": row_of_category[category_of_item[item]],
            "category_id": category_of_item[item],
            "count": counts[item],
            "weight": counts[item] / len(rows),
            "train_count": train_counts[row],
        }
        for item, row in row_of_item.items()
    ]
    pa.parquet.write_table(pa.Table.from_pylist(items), out / "items.parquet")
    found = {
        "num_events": len(rows),
        "num_users": len(users),
        "num_items": len(items),
        "num_categories": len(row_of_category),
        "duplicate_events": repeated,
        "items_with_changed_category": len(changed),
        "num_dropped_rows": sum(dropped.values()),
        **{f"num_samples_{split}": number for split, number in samples.items()},
    }
    (out / "meta.json").write_text(json.dumps({**found, "dropped_rows": dropped}))
    digests = {path.name: sha256(path) for path in sorted(out.iterdir())}
    (out / "manifest.json").write_text(json.dumps({"log": log_sha256, "files": digests}))
    return found


def read_rows(log: Path, config: ConvertConfig) -> tuple[list[tuple[int, int, int, int]], Counter[str]]:
    """(user, item, category, time) of the good rows in file order, and the number of the others by reason."""
    rows, dropped = [], Counter[str]()
    with log.open(newline="", errors="replace") as file:
        for row in csv.reader(file):
            if len(row) != 5:
                dropped["wrong_number_of_columns"] += 1
                continue
            try:
                user, item, category = int(row[0]), int(row[1]), int(row[2])
                moment = int(float(row[4]))
            except (ValueError, OverflowError):
                dropped["not_a_number"] += 1
                continue
            if not config.min_time <= moment < config.max_time:
                dropped["time_out_of_range"] += 1
                continue
            rows.append((user, item, category, moment))
    return rows, dropped


def example(user: int, events: list[Event], place: int, max_length: int, weights: dict[int, float]) -> bytes:
    """The record of one sample: the event at ``place`` and those before it."""
    before, (item, category, moment) = events[max(0, place - max_length) : place], events[place]
    feature = {
        "user_id": ints([user]),
        "item_ids": ints([event[0] for event in before]),
        "cate_ids": ints([event[1] for event in before]),
        "seconds_to_next": ints([after[2] - event[2] for event, after in pairwise([*before, events[place]])]),
        "gt_item_id": ints([item]),
        "gt_cate_id": ints([category]),
        "gt_time": ints([moment]),
        "weight_tag": tf.train.Feature(float_list=tf.train.FloatList(value=[weights[item]])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def ints(values: list[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
