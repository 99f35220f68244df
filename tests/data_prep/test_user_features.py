"""Side features of users against dictionaries, and the kinds of events in the records against the log."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data_prep import DataError
from data_prep.config import ConvertConfig
from data_prep.convert import convert_log

USERS = "user_id,age,interests\n3,30,red|blue\n1,,\n2,40, blue | |blue\n77,50,unknown to the log\n3,20,green|red\n"
KINDS = ("buy", "fav", "cart")


def convert(directory: Path, users: str | None = None, *, prefix: str = "", **options) -> dict:
    """A log of users 1..6, five events each, of kinds that follow from user and place."""
    directory.mkdir()
    log = directory.with_suffix(".csv")
    lines = [
        f"{prefix}{user},{10 + (user + place) % 4},1,{KINDS[(user * place) % 3]},{1_511_600_000 + place}\n"
        for user in range(1, 7)
        for place in range(5)
    ]
    log.write_text("".join(lines))
    if users is not None:
        options["users"] = directory.with_suffix(".users.csv")
        options["users"].write_text(users)
        options.setdefault("user_features", {"age": "age", "likes": "interests"})
    convert_log([log], directory, ConvertConfig(**options))
    return json.loads((directory / "meta.json").read_text())


def named(directory: Path) -> dict[str, dict]:
    """Feature -> user id -> names of its values, from the files that were written."""
    values: dict[str, dict[int, str]] = {}
    for row in pq.read_table(directory / "user_feature_values.parquet").to_pylist():
        values.setdefault(row["feature"], {})[row["value_row"]] = row["value"]
    table = pq.read_table(directory / "user_features.parquet").to_pylist()
    return {name: {row["user_id"]: [values[name][number] for number in row[name]] for row in table} for name in values}


@pytest.mark.parametrize("prefix", ["", "u"])
def test_values_of_every_user(prefix: str, tmp_path: Path) -> None:
    lines = USERS.splitlines()
    users = "\n".join([lines[0], *(prefix + line for line in lines[1:])]) + "\n"
    meta = convert(tmp_path / "dataset", users, prefix=prefix)
    assert meta["inputs"] == {
        "time": {"side": "history"},
        "age": {"side": "user", "num_values": 2},
        "likes": {"side": "user", "num_values": 3},
    }
    expected = {
        "age": {3: ["20"], 1: [], 2: ["40"], 4: [], 5: [], 6: []},
        "likes": {3: ["green", "red"], 1: [], 2: ["blue"], 4: [], 5: [], 6: []},
    }
    assert named(tmp_path / "dataset") == {
        name: {(f"{prefix}{user}" if prefix else user): values for user, values in found.items()} for name, found in expected.items()
    }


def test_values_of_an_earlier_dataset_keep_their_rows(tmp_path: Path) -> None:
    convert(tmp_path / "old", USERS)
    convert(tmp_path / "new", "user_id,age,interests\n1,10,violet|red\n2,10,violet\n", base=tmp_path / "old", since="0")
    for name in ("age", "likes"):
        old, new = (
            [row["value"] for row in pq.read_table(tmp_path / which / "user_feature_values.parquet").to_pylist() if row["feature"] == name]
            for which in ("old", "new")
        )
        assert new[: len(old)] == old
    assert new[-1] == "violet"


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no single column 'size'"):
        convert(tmp_path / "size", USERS, user_features={"size": "size"})
    with pytest.raises(DataError, match="it has none of the dataset's 6 users"):
        convert(tmp_path / "none", "user_id,age,interests\n100,1,2\n")
    with pytest.raises(ValueError, match="user_features is given without a users file"):
        ConvertConfig(user_features={"age": "age"})
    with pytest.raises(ValueError, match="'time' is no name for a user feature; models and requests have it already"):
        ConvertConfig(users=tmp_path, user_features={"time": "age"})
    with pytest.raises(ValueError, match="'age' names an item feature and a user feature"):
        ConvertConfig(users=tmp_path, items=tmp_path, user_features={"age": "a"}, item_features={"age": "a"})
    with pytest.raises(ValueError, match="keep_behaviors is given without behaviors"):
        ConvertConfig(keep_behaviors=True)


def examples(path: Path) -> list[dict[str, np.ndarray]]:
    found = []
    for record in tf.data.TFRecordDataset(sorted(str(file) for file in path)):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        found.append({name: np.array(feature.int64_list.value) for name, feature in features.items() if feature.HasField("int64_list")})
    return found


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("layout", ["user", "sample"])
def test_kinds_of_all_events_are_kept(layout: str, weights: bool, tmp_path: Path) -> None:
    listed = tuple(f"{kind}:2" if weights else kind for kind in ("cart", "buy"))
    meta = convert(tmp_path / "dataset", behaviors=listed, keep_behaviors=True, layout=layout, max_length=3, test_min_length=1)
    assert meta["inputs"]["behavior"] == {"side": "history", "num_values": 2, "values": ["cart", "buy"]}
    seen = 0
    for split in ("train", "validate", "test"):
        assert meta["features"][split]["behavior_ids"] == {"dtype": "int64", "shape": [None]}
        for example in examples((tmp_path / "dataset").glob(f"{split}-*.tfrecord")):
            user = int(example["user_id"][0])
            kept = [(place, KINDS[(user * place) % 3]) for place in range(5) if KINDS[(user * place) % 3] != "fav"]
            codes = [("cart", "buy").index(kind) for _, kind in kept]
            first, last = 0, len(kept)
            if "gt_time" in example:
                last = [place for place, _ in kept].index(int(example["gt_time"][0]) - 1_511_600_000)
                first = max(0, last - 3)
                assert example["gt_behavior_id"].tolist() == codes[last : last + 1]
            assert example["behavior_ids"].tolist() == codes[first:last]
            assert len(example["behavior_ids"]) == len(example["item_ids"])
            seen += 1
    assert seen


def test_without_keeping_the_records_are_as_before(tmp_path: Path) -> None:
    meta = convert(tmp_path / "dataset", behaviors=KINDS)
    assert "behavior" not in meta["inputs"]
    assert not any("behavior_ids" in schema for schema in meta["features"].values())


def test_kinds_keep_their_numbers(tmp_path: Path) -> None:
    convert(tmp_path / "old", behaviors=("buy", "fav"), keep_behaviors=True)
    more = {"base": tmp_path / "old", "since": "0", "keep_behaviors": True}
    with pytest.raises(DataError, match="keeps the behaviors buy,fav, whose numbers its models read, but behaviors is fav,buy; list"):
        convert(tmp_path / "other", behaviors=("fav", "buy"), **more)
    meta = convert(tmp_path / "new", behaviors=("buy", "fav", "cart"), **more)
    assert meta["inputs"]["behavior"]["values"] == ["buy", "fav", "cart"]
