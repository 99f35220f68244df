"""Side features of items against dictionaries."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import DataError
from data_prep.config import ConvertConfig
from data_prep.convert import convert_log

ITEMS = [
    ("7", "1", "acme", "red|blue"),
    ("8", "1", "", " blue | | blue|red"),
    ("9", "2", "zoo", ""),
    ("99", "2", "unknown to the log", "red"),
    ("10", "2", "acme", "green"),
    ("10", "2", "zoo", "red"),  # listed again: the last line counts
]


def convert(directory: Path, items: Path, items_of_log: list[str], **options) -> dict:
    directory.mkdir()
    log = directory.with_suffix(".csv")
    log.write_text("".join(f"{user},{item},1,pv,{1_511_600_000 + place}\n" for user in range(6) for place, item in enumerate(items_of_log)))
    options = {"items": items, "item_features": {"brand": "brand", "colors": "colors"}, **options}
    convert_log([log], directory, ConvertConfig(**options))
    return json.loads((directory / "meta.json").read_text())


def write_items(path: Path, rows: list[tuple] = ITEMS, prefix: str = "") -> Path:
    if path.suffix == ".parquet":
        columns = [list(column) for column in zip(*rows, strict=True)]
        pq.write_table(
            pa.table({"item_id": [int(i) for i in columns[0]], "category_id": columns[1], "brand": columns[2], "colors": columns[3]}), path
        )
    else:
        head = "item_id,category_id,brand,colors\n"
        path.write_text(head + "".join(f"{prefix}{i},{c},{b},{k}\n" for i, c, b, k in rows))
    return path


def named(directory: Path) -> dict[str, dict[str, list[str]]]:
    """Feature -> item id -> names of its values, from the files that were written."""
    values: dict[str, dict[int, str]] = {}
    for row in pq.read_table(directory / "feature_values.parquet").to_pylist():
        values.setdefault(row["feature"], {})[row["value_row"]] = row["value"]
    ids = [str(value) for value in pq.read_table(directory / "items.parquet")["item_id"].to_pylist()]
    table = pq.read_table(directory / "item_features.parquet")
    assert all(table.schema.field(name).type == pa.list_(pa.int32()) for name in table.schema.names)
    return {
        name: {item: [values[name][row] for row in rows] for item, rows in zip(ids, table[name].to_pylist(), strict=True)}
        for name in table.schema.names
    }


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("prefix", ["", "item-"])
def test_values_of_every_item(suffix: str, prefix: str, tmp_path: Path) -> None:
    if prefix and suffix == ".parquet":
        pytest.skip("the Parquet file of this test has integer ids")
    items = write_items(tmp_path / f"items{suffix}", prefix=prefix)
    log_items = [f"{prefix}{item}" for item in ("7", "8", "9", "10", "11")]
    meta = convert(tmp_path / "dataset", items, log_items)
    assert [meta["inputs"][name] for name in ("brand", "colors")] == [{"side": "item", "num_values": 2}] * 2
    expected = {
        "brand": {"7": ["acme"], "8": [], "9": ["zoo"], "10": ["zoo"], "11": []},
        "colors": {"7": ["red", "blue"], "8": ["blue", "red"], "9": [], "10": ["red"], "11": []},
    }
    assert named(tmp_path / "dataset") == {n: {f"{prefix}{i}": v for i, v in found.items()} for n, found in expected.items()}
    rows = pq.read_table(tmp_path / "dataset" / "feature_values.parquet").to_pylist()
    assert [(row["feature"], row["value"], row["items"]) for row in rows] == [
        ("brand", "zoo", 2),
        ("brand", "acme", 1),
        ("colors", "red", 3),
        ("colors", "blue", 2),
    ]


def test_many_random_items(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        (str(item), "1", f"b{rng.integers(5)}", ";".join(f"c{k}" for k in rng.integers(0, 30, rng.integers(0, 6)))) for item in range(200)
    ]
    meta = convert(tmp_path / "dataset", write_items(tmp_path / "items.csv", rows), [str(i) for i in range(200)], feature_separator=";")
    found = named(tmp_path / "dataset")
    for item, _, brand, colors in rows:
        assert found["brand"][item] == [brand]
        assert found["colors"][item] == list(dict.fromkeys(filter(None, colors.split(";"))))
    counts = Counter(value for _, _, _, colors in rows for value in set(filter(None, colors.split(";"))))
    assert meta["inputs"]["colors"]["num_values"] == len(counts)
    table = [row for row in pq.read_table(tmp_path / "dataset" / "feature_values.parquet").to_pylist() if row["feature"] == "colors"]
    assert [row["value"] for row in table] == sorted(counts, key=lambda value: (-counts[value], value))
    assert {row["value"]: row["items"] for row in table} == counts


def test_values_of_an_earlier_dataset_keep_their_rows(tmp_path: Path) -> None:
    convert(tmp_path / "old", write_items(tmp_path / "items.csv"), ["7", "8", "9", "9", "7"])
    later = write_items(tmp_path / "later.csv", [("7", "1", "acme", "violet|red"), ("12", "1", "new", "violet")])
    convert(tmp_path / "new", later, ["7", "8", "12", "7", "12"], base=tmp_path / "old", since="0")
    rows = pq.read_table(tmp_path / "new" / "feature_values.parquet").to_pylist()
    before = pq.read_table(tmp_path / "old" / "feature_values.parquet").to_pylist()
    for name in ("brand", "colors"):
        old, new = ([row["value"] for row in table if row["feature"] == name] for table in (before, rows))
        assert new[: len(old)] == old
    assert [row["value"] for row in rows if row["feature"] == "colors"][-1] == "violet"
    assert named(tmp_path / "new")["colors"]["7"] == ["violet", "red"]


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    items = write_items(tmp_path / "items.csv")
    with pytest.raises(DataError, match="feature size should be column 'size'"):
        convert(tmp_path / "dataset", items, ["7", "8", "9", "7", "8"], item_features={"size": "size"})
    with pytest.raises(ValueError, match="item_features is given without an items file"):
        ConvertConfig(item_features={"brand": "brand"})
    with pytest.raises(ValueError, match="'a brand' is no name for an item feature"):
        ConvertConfig(items=items, item_features={"a brand": "brand"})
