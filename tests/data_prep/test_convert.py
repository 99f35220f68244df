"""Conversion as a whole: against a straightforward converter in Python loops, on damaged input, and on real logs."""

import csv
import gzip
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data_prep import DataError
from data_prep.config import SPLIT_FIELDS, ConvertConfig
from data_prep.convert import convert_log
from data_prep.report import ConvertReport
from data_prep.splits import draw_splits


def make_rows(seed: int = 0, users: int = 60, items: int = 30, spread: int = 400) -> list[list]:
    """Rows in random order, with ties in time, items of changing category, and users of 1..12 events."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in rng.permutation(users) * 7 - 50:
        for _ in range(rng.integers(1, 13)):
            item = int(rng.zipf(1.5)) % items
            category = item % 7 + int(rng.random() < 0.05)
            rows.append([int(user), item * 1_000_003, category, "pv", 1_511_544_070 + int(rng.integers(spread))])
    rng.shuffle(rows)
    return rows


def write_csv(path: Path, rows: list[list]) -> Path:
    text = "".join(",".join(map(str, row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read_split(directory: Path, split: str) -> list[dict]:
    records = []
    for path in sorted(directory.glob(f"{split}-*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            records.append({name: list(getattr(value, value.WhichOneof("kind")).value) for name, value in features.items()})
    return records


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def convert(rows: list[list], directory: Path, **options) -> ConvertReport:
    directory.mkdir(parents=True, exist_ok=True)
    return convert_log([write_csv(directory.parent / f"{directory.name}.csv", rows)], directory, ConvertConfig(**options))


def expected_dataset(rows: list[list], config: ConvertConfig) -> dict:
    """The same dataset in Python loops."""
    counts = Counter(row[1] for row in rows)
    row_of_item = {item: row for row, item in enumerate(sorted(counts, key=lambda item: (-counts[item], item)), 1)}
    category_of_item = {row[1]: row[2] for row in sorted(rows, key=lambda row: row[4])}
    category_counts = Counter(category_of_item[row[1]] for row in rows)
    order = sorted(category_counts, key=lambda category: (-category_counts[category], category))
    row_of_category = {category: row for row, category in enumerate(order, 1)}
    histories: dict = {}
    for row in sorted(rows, key=lambda row: row[4]):
        histories.setdefault(row[0], []).append((row_of_item[row[1]], row_of_category[category_of_item[row[1]]], row[4]))
    users = sorted(histories)
    splits = draw_splits(np.array([len(histories[user]) for user in users]), **config.model_dump(include=set(SPLIT_FIELDS)))
    weight_of_row = {row_of_item[item]: np.float32(count / len(rows)) for item, count in counts.items()}

    def sample(user: int, position: int) -> dict:
        history = histories[user][max(0, position - config.max_length) : position]
        item, category, time = histories[user][position]
        return {
            "user_id": [user],
            "item_ids": [event[0] for event in history],
            "cate_ids": [event[1] for event in history],
            "seconds_to_next": [after[2] - event[2] for event, after in itertools.pairwise([*history, histories[user][position]])],
            "gt_item_id": [item],
            "gt_cate_id": [category],
            "gt_time": [time],
            "weight_tag": [weight_of_row[item]],
        }

    def held_out(codes: np.ndarray) -> list[dict]:
        m = config.test_min_length
        return [sample(users[code], m + (len(histories[users[code]]) - m) // 2) for code in codes]

    train_users = [users[code] for code in splits.train]
    if config.layout == "user":
        train = [
            {
                "user_id": [user],
                "item_ids": [event[0] for event in histories[user]],
                "cate_ids": [event[1] for event in histories[user]],
                "time_steps": [
                    event[2] - before for event, before in zip(histories[user], [0, *(e[2] for e in histories[user])], strict=False)
                ],
            }
            for user in train_users
        ]
    else:
        train = [sample(user, place) for user in train_users for place in range(config.train_min_length, len(histories[user]))]
    train_counts = Counter(event[0] for user in train_users for event in histories[user])
    items = [
        {
            "item_row": row_of_item[item],
            "item_id": item,
            "category_row": row_of_category[category_of_item[item]],
            "category_id": category_of_item[item],
            "count": counts[item],
            "weight": counts[item] / len(rows),
            "train_count": train_counts[row_of_item[item]],
        }
        for item in row_of_item
    ]
    return {"train": train, "validate": held_out(splits.validate), "test": held_out(splits.test), "items": items}


@pytest.mark.parametrize("layout", ["user", "sample"])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"max_length": 3, "train_min_length": 2, "test_min_length": 5, "shards": 7, "test_users": 5}])
def test_equal_to_a_straightforward_converter(layout: str, seed: int, options: dict, tmp_path: Path) -> None:
    config = ConvertConfig(layout=layout, **options)
    rows = make_rows(seed, spread=40 if seed == 2 else 400)
    report = convert(rows, tmp_path / "dataset", layout=layout, **options)
    expected = expected_dataset(rows, config)
    for split in ("train", "validate", "test"):
        assert read_split(tmp_path / "dataset", split) == expected[split]
    assert pq.read_table(tmp_path / "dataset" / "items.parquet").to_pylist() == expected["items"]
    meta = json.loads((tmp_path / "dataset" / "meta.json").read_text())
    assert meta["num_events"] == len(rows) == report.num_events
    assert meta["num_users"] == len({row[0] for row in rows})
    assert meta["num_items"] == len(expected["items"])
    assert meta["num_samples"]["train"] == sum(
        1 if layout == "sample" else max(0, len(record["time_steps"]) - config.train_min_length) for record in expected["train"]
    )
    assert meta["items_with_changed_category"] == sum(len({row[2] for row in rows if row[1] == item}) > 1 for item in {r[1] for r in rows})
    assert set(meta["features"]["train"]) == set(expected["train"][0])


def test_equal_input_gives_equal_bytes_whatever_the_format(tmp_path: Path) -> None:
    rows = make_rows()
    convert(rows, tmp_path / "first")
    expected = contents(tmp_path / "first")
    columns = ["user_id", "item_id", "category_id", "behavior_type", "timestamp"]
    table = pa.table({name: [row[place] for row in rows] for place, name in enumerate(columns)})
    pq.write_table(table, tmp_path / "log.parquet")
    stamps = table.set_column(4, "timestamp", table["timestamp"].cast(pa.timestamp("s")))
    pq.write_table(stamps, tmp_path / "stamps.parquet")
    half = len(rows) // 2
    inputs = {
        "again": [tmp_path / "first.csv"],
        "gzip": [write_csv(tmp_path / "log.csv.gz", rows)],
        "parts": [write_csv(tmp_path / "a.csv", rows[:half]), write_csv(tmp_path / "b.csv.gz", rows[half:])],
        "header": [write_csv(tmp_path / "named.csv", [columns, *rows])],
        "milliseconds": [write_csv(tmp_path / "ms.csv", [[*row[:4], row[4] * 1000 + 7] for row in rows])],
        "parquet": [tmp_path / "log.parquet"],
        "timestamps": [tmp_path / "stamps.parquet"],
    }
    for name, paths in inputs.items():
        (tmp_path / name).mkdir()
        convert_log(paths, tmp_path / name, ConvertConfig())
        found = contents(tmp_path / name)
        if name in {"header", "milliseconds", "parquet", "timestamps", "parts"}:
            metas = [json.loads(files.pop("meta.json")) for files in (found, dict(expected))]
            for meta in metas:
                del meta["headers"], meta["time_unit"]
            assert metas[0] == metas[1]
        assert found == {file: expected[file] for file in found}


def test_string_ids_keep_their_names(tmp_path: Path) -> None:
    rows = [[f"u{row[0]}", f"i{row[1]}", f"ç{row[2]}", row[3], row[4]] for row in make_rows()]
    report = convert(rows, tmp_path / "dataset")
    assert (report.user_id_type, report.item_id_type, report.category_id_type) == ("string", "string", "string")
    assert report.features["train"]["user_id"]["dtype"] == "bytes"
    items = pq.read_table(tmp_path / "dataset" / "items.parquet")
    counts = Counter(row[1] for row in rows)
    assert items["item_id"].to_pylist() == sorted(counts, key=lambda item: (-counts[item], item))
    lengths = Counter(row[0] for row in rows)
    for record in read_split(tmp_path / "dataset", "train"):
        assert len(record["item_ids"]) == lengths[record["user_id"][0].decode()]


def test_hexadecimal_ids_keep_their_spelling(tmp_path: Path) -> None:
    rows = [[row[0], f"0x{row[1]:04x}", *row[2:]] for row in make_rows()]
    report = convert(rows, tmp_path / "dataset")
    assert report.item_id_type == "string"
    assert set(pq.read_table(tmp_path / "dataset" / "items.parquet")["item_id"].to_pylist()) == {row[1] for row in rows}


def test_the_order_within_a_second_is_that_of_the_milliseconds(tmp_path: Path) -> None:
    rows = [[user, item, 1, "pv", 1_511_544_070_000 + 999 - item] for user in range(20) for item in range(5)]
    convert(rows, tmp_path / "dataset", duplicates="drop")
    rows_by_age = {tuple(record["item_ids"]) for record in read_split(tmp_path / "dataset", "train")}
    assert rows_by_age == {(5, 4, 3, 2, 1)}


def test_categories_may_be_absent_or_mean_none(tmp_path: Path) -> None:
    rows = make_rows()
    report = convert(rows, tmp_path / "none", columns="user=0,item=1,time=4")
    assert report.num_categories == 0
    assert pq.read_table(tmp_path / "none" / "items.parquet")["category_id"].null_count == report.num_items
    report = convert(rows, tmp_path / "zero", missing_category="3")
    items = pq.read_table(tmp_path / "zero" / "items.parquet")
    assert 3 not in items["category_id"].to_pylist()
    assert (items["category_row"].to_numpy() == 0).sum() == report.items_without_category > 0
    assert report.num_categories == items["category_row"].to_numpy().max()


def test_categories_come_from_a_second_file(tmp_path: Path) -> None:
    rows = make_rows()
    ids = sorted({row[1] for row in rows})
    listed = [["article", "group"], *[[item, f"g{item % 3}"] for item in [*ids[2:], -5]], [ids[2], "g9"]]
    path = write_csv(tmp_path / "articles.csv.gz", listed)
    report = convert(rows, tmp_path / "dataset", items=path, item_columns="item=article,category=group")
    items = pq.read_table(tmp_path / "dataset" / "items.parquet").to_pylist()
    expected = {item: f"g{item % 3}" for item in ids[2:]} | {ids[0]: None, ids[1]: None, ids[2]: "g9"}
    assert {item["item_id"]: item["category_id"] for item in items} == expected
    assert report.items_without_category == 2
    assert report.items_with_changed_category == 1
    headless = write_csv(tmp_path / "articles_only.csv", listed[1:])
    convert(rows, tmp_path / "headless", items=headless, items_header="no")
    assert contents(tmp_path / "headless")["items.parquet"] == contents(tmp_path / "dataset")["items.parquet"]
    with pytest.raises(DataError, match="a category for none of the log's"):
        convert(rows, tmp_path / "other", items=write_csv(tmp_path / "foreign.csv", [["1", "2"]]), items_header="no")
    with pytest.raises(DataError, match="item should be column 'x', but the columns are article, group"):
        convert(rows, tmp_path / "other", items=path, item_columns="item=x,category=group")
    with pytest.raises(DataError, match="its item ids are strings"):
        convert(rows, tmp_path / "other", items=write_csv(tmp_path / "s.csv", [["a", "b"], ["c", "d"]]), items_header="no")


def test_bad_rows_are_counted_and_the_good_ones_kept(tmp_path: Path) -> None:
    rows = make_rows(users=200)
    damaged = [
        ["x", 1, 1, "pv", 1_511_544_070],
        ["", 1, 1, "pv", 1_511_544_070],
        [1, "", 1, "pv", 1_511_544_070],
        [1, "1.5", 1, "pv", 1_511_544_070],
        [1, 1, "blue", "pv", 1_511_544_070],
        [1, 1, 1, "pv", ""],
        [1, 1, 1, "pv", "yesterday"],
        [1, 1, 1, "pv", -1_511_544_070],
        [1, 1, 1, "pv", 99_999_999_999],
        [1, 1, 1],
        [1, 1, 1, "pv", 1_511_544_070, 6],
        ['"1', 1, 1, "pv", 1_511_544_070],
    ]
    mixed = list(rows)
    for place, row in enumerate(damaged):
        mixed.insert(place * 90 + 1, row)
    report = convert(mixed, tmp_path / "mixed")
    assert report.dropped_rows == {
        "wrong_number_of_columns": 2,
        "user_not_an_integer": 2,
        "user_missing": 1,
        "item_missing": 1,
        "item_not_an_integer": 1,
        "category_not_an_integer": 1,
        "time_missing": 1,
        "time_not_a_number": 1,
        "time_out_of_range": 2,
    }
    assert report.num_rows == len(mixed)
    convert(rows, tmp_path / "clean")
    mixed_files, clean_files = contents(tmp_path / "mixed"), contents(tmp_path / "clean")
    assert mixed_files.keys() == clean_files.keys()
    assert all(mixed_files[name] == clean_files[name] for name in clean_files if name != "meta.json")
    with pytest.raises(DataError, match=r"12 of .* rows read are bad, more than max_bad_rows 11 allows: .*first: 'blue'"):
        convert(mixed, tmp_path / "limited", max_bad_rows=11)
    with pytest.raises(DataError, match=r"max_bad_share 0\.001"):
        convert(mixed, tmp_path / "limited", max_bad_share=0.001)


def test_repeated_events_are_counted_and_dropped_on_demand(tmp_path: Path) -> None:
    rows = make_rows(spread=10**6)
    twice = [row for row in rows for _ in range(2)]
    assert convert(twice, tmp_path / "kept").num_events == 2 * len(rows)
    report = convert(twice, tmp_path / "dropped", duplicates="drop")
    assert (report.num_events, report.duplicate_events, report.dropped_rows) == (len(rows), len(rows), {"duplicate": len(rows)})
    convert(rows, tmp_path / "once")
    assert contents(tmp_path / "dropped")["train-00000-of-00004.tfrecord"] == contents(tmp_path / "once")["train-00000-of-00004.tfrecord"]


GOOD = "".join(",".join(map(str, row)) + "\n" for row in make_rows()).encode()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, {}, "log.csv does not exist"),
        (b"", {}, "log.csv is empty"),
        (b"\n\n", {}, "only empty lines"),
        (gzip.compress(b"", mtime=0), {}, "holds no data"),
        (np.random.default_rng(0).bytes(5000), {}, "neither CSV, gzip CSV nor Parquet"),
        (gzip.compress(GOOD, mtime=0)[:-60], {}, "damaged .*Truncated"),
        (gzip.compress(GOOD, mtime=0)[:500] + b"zzz" + gzip.compress(GOOD, mtime=0)[503:], {}, "log.csv"),
        (b"PAR1" + b"junk" * 99, {}, "damaged"),
        (b"<html><body>404</body></html>\n", {}, "but the file has 1 columns"),
        (b"user_id,item_id,category_id,behavior_type,timestamp\n", {}, "no rows"),
        (b"a,b,c,d,e\n" + GOOD, {}, "user should be column 'user_id'"),
        (GOOD, {"columns": "user=uid,item=iid,time=t"}, "should be column 'uid'"),
        (GOOD, {"delimiter": ";"}, "but the file has 1 columns|should be column"),
        (b"1,2,3,pv,5\n" * 20, {}, "time_out_of_range 20"),
        (b"1,2,3\n" * 5 + GOOD, {"max_bad_rows": 3}, "wrong_number_of_columns"),
        (b"".join(b"%d,7,3,pv,1511544070\n" % user for user in range(50)), {}, "only one item .7."),
        (b"".join(b"1,%d,3,pv,1511544070\n" % item for item in range(50)), {}, "only 1 of 1 users"),
        (b"".join(b"%d,%d,3,pv,1511544070\n" % (user, user) for user in range(50)), {}, "none of the 50 users has more"),
        (GOOD.replace(b"1000003", b"abc"), {}, "item_not_an_integer .*first: 'abc'"),
        (GOOD, {"test_users": 59, "validate_users": 59}, "hold out fewer"),
    ],
)
def test_unusable_logs_are_refused_with_a_reason(content: bytes | None, options: dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_bytes(content)
    out = tmp_path / "dataset"
    out.mkdir()
    with pytest.raises(DataError, match=message):
        convert_log([path], out, ConvertConfig(**options))


def test_no_input_and_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no input file"):
        convert_log([], tmp_path, ConvertConfig())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is a directory without log files"):
        convert_log([tmp_path / "empty"], tmp_path, ConvertConfig())
    with pytest.raises(DataError, match="not a regular file"):
        convert_log([Path("/dev/null")], tmp_path, ConvertConfig())


def test_columns_of_other_types_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user_id": [[1]], "item_id": [2], "timestamp": [3]}), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"'user_id' \(user\) is of type list"):
        convert_log([tmp_path / "log.parquet"], tmp_path, ConvertConfig())


@pytest.mark.parametrize(
    ("log", "options", "expected"),
    [
        ("taobao_userbehavior_head.csv.gz", {"validate_users": 0, "test_users": 150}, (84_475, 815, 55_368, 2_914)),
        (
            "taobao_userbehavior_buycartfav.csv.gz",
            {"validate_users": 4000, "test_users": 4000, "missing_category": "0"},
            (310_509, 27_230, 42_271, 2_070),
        ),
        (
            "globo_clicks.csv.gz",
            {
                "columns": "user=user_id,item=click_article_id,time=click_timestamp",
                "items": "globo_articles.csv.gz",
                "item_columns": "item=article_id,category=category_id",
            },
            (2_096_722, 226_022, 38_076, None),
        ),
    ],
)
def test_counts_of_real_logs(log: str, options: dict, expected: tuple, shared_data: Path, tmp_path: Path) -> None:
    if "items" in options:
        options = {**options, "items": shared_data / options["items"]}
    report = convert_log([shared_data / log], tmp_path, ConvertConfig(**options))
    assert (report.num_rows, report.num_users, report.num_items) == expected[:3]
    assert report.num_events == report.num_rows
    assert expected[3] in (None, report.num_categories)


def test_a_real_log_equals_a_straightforward_converter(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "taobao_userbehavior_head.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = [[int(user), int(item), int(category), kind, int(time)] for user, item, category, kind, time in csv.reader(file)]
    config = ConvertConfig(test_users=100)
    convert_log([path], tmp_path, config)
    expected = expected_dataset(rows, config)
    for split in ("train", "validate", "test"):
        assert read_split(tmp_path, split) == expected[split]
    assert pq.read_table(tmp_path / "items.parquet").to_pylist() == expected["items"]
