"""Going on from an earlier dataset: rows are kept, new ones come after, only new events are converted."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data_prep import DataError
from data_prep.config import ConvertConfig
from data_prep.convert import convert_log

DAY = 86_400
START = 1_511_544_070


def make_rows(seed: int, items: range, begin: int) -> list[tuple]:
    rng = np.random.default_rng(seed)
    return [
        (user, int(rng.choice(items)), 0, "pv", begin + int(rng.integers(DAY - 100)))
        for user in range(40)
        for _ in range(int(rng.integers(3, 12)))
    ]


def with_categories(rows: list[tuple], category_of: dict) -> list[tuple]:
    return [(user, item, category_of.get(item, item % 5), kind, time) for user, item, _, kind, time in rows]


def convert(rows: list[tuple], directory: Path, prefix: str = "", **options) -> list[dict]:
    log = directory.with_suffix(".csv")
    log.write_text("".join(f"{u},{prefix}{i},{c},{k},{t}\n" for u, i, c, k, t in rows))
    directory.mkdir()
    convert_log([log], directory, ConvertConfig(**options))
    return pq.read_table(directory / "items.parquet").to_pylist()


def events(directory: Path) -> Counter:
    found: Counter = Counter()
    for path in directory.glob("train-*"):
        for record in tf.data.TFRecordDataset(str(path)):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            found.update(features["item_ids"].int64_list.value)
    return found


@pytest.mark.parametrize("prefix", ["", "item-"])
def test_rows_are_kept_and_new_ones_come_after(prefix: str, tmp_path: Path) -> None:
    old = with_categories(make_rows(1, range(0, 30), START), {})
    new = with_categories(make_rows(2, range(10, 60), START + DAY), {12: 77, 13: 78, 50: 77})
    before = convert(old, tmp_path / "old", prefix)
    after = convert(old + new, tmp_path / "new", prefix, base=tmp_path / "old", test_users=0, validate_users=0)
    assert [(row["item_row"], row["item_id"]) for row in after[: len(before)]] == [(row["item_row"], row["item_id"]) for row in before]
    counts = Counter(f"{prefix}{row[1]}" if prefix else row[1] for row in new)
    known = {row["item_id"] for row in before}
    fresh = sorted((item for item in counts if item not in known), key=lambda item: (-counts[item], item))
    assert [row["item_id"] for row in after[len(before) :]] == fresh
    assert {row["item_id"]: row["count"] for row in after} == {row["item_id"]: counts[row["item_id"]] for row in after}
    rows_of_category = {row["category_id"]: row["category_row"] for row in before}
    assert all(rows_of_category.get(row["category_id"], row["category_row"]) == row["category_row"] for row in after)
    latest = {(f"{prefix}{row[1]}" if prefix else row[1]): row[2] for row in sorted(old + new, key=lambda row: row[4])}
    assert {row["item_id"]: row["category_id"] for row in after} == {row["item_id"]: latest[row["item_id"]] for row in after}
    assert events(tmp_path / "new") == Counter({row["item_row"]: row["count"] for row in after if row["count"]})
    meta = json.loads((tmp_path / "new" / "meta.json").read_text())
    assert meta["num_events"] == len(new)
    assert meta["filtered_rows"] == {"outside_time_window": len(old)}
    assert meta["num_categories"] == max(row["category_row"] for row in after)


def test_a_third_conversion_keeps_both(tmp_path: Path) -> None:
    parts = [with_categories(make_rows(day, range(20 * day, 20 * day + 30), START + day * DAY), {20: day}) for day in range(3)]
    tables = []
    for day, part in enumerate(parts):
        tables.append(convert(part, tmp_path / f"day{day}", **({"base": tmp_path / f"day{day - 1}"} if day else {})))
    for earlier, later in pairwise(tables):
        assert [row["item_id"] for row in later[: len(earlier)]] == [row["item_id"] for row in earlier]


def test_what_cannot_be_continued_is_refused(tmp_path: Path) -> None:
    rows = with_categories(make_rows(1, range(30), START), {})
    convert(rows, tmp_path / "old")
    with pytest.raises(DataError, match="item ids are string in the log but int64 in the earlier dataset"):
        convert(rows, tmp_path / "strings", prefix="x", base=tmp_path / "old", since="0")
    with pytest.raises(DataError, match="no usable row is left after outside_time_window"):
        convert(rows, tmp_path / "again", base=tmp_path / "old")
    with pytest.raises(DataError, match=r"is not the (description of a dataset|table of items)"):
        convert(rows, tmp_path / "nowhere", base=tmp_path / "no")
