"""The users table: joined by id, kept as it is, refused where it cannot be."""

import gzip
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from data_prep import DataError
from data_prep.config import ConvertConfig
from data_prep.convert import convert_log
from data_prep.users_table import join_users

EVENTS = [(user, item, 1_511_600_000 + 10 * place) for user in (3, 5, 8, 11, 40) for place, item in enumerate((1, 2, 3, 2, 1, 4))]


def convert(directory: Path, prefix: str = "", **options: object) -> pa.Table:
    directory.mkdir()
    lines = [f"{prefix}{user},{item},{time}" for user, item, time in EVENTS]
    (directory / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
    (directory / "dataset").mkdir()
    convert_log([directory / "log.csv"], directory / "dataset", ConvertConfig(test_users=1, validate_users=1, **options))
    return pq.read_table(directory / "dataset" / "users.parquet")


def test_columns_are_joined_by_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = ["user_id,age,city", "40,30,Ulm", "5,,Wien", "x,9,Rom", "7,1,Bern", "40,31,Linz", ",2,Graz"]
    with gzip.open(tmp_path / "users.csv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    with caplog.at_level(logging.INFO):
        table = convert(tmp_path / "run", users=tmp_path / "users.csv.gz")
    assert "6 rows, 2 unusable; 2 of 5 users" in caplog.text
    assert table.column_names == ["user_id", "split", "events", "age", "city"]
    assert table["user_id"].to_pylist() == [3, 5, 8, 11, 40]
    assert table["events"].to_pylist() == [6] * 5
    assert sorted(table["split"].to_pylist()) == ["test", "train", "train", "train", "validate"]
    assert table["age"].to_pylist() == [None, None, None, None, 31]  # of a user listed twice the last line
    assert table["city"].to_pylist() == [None, "Wien", None, None, "Linz"]


def test_strings_parquet_and_other_names(tmp_path: Path) -> None:
    users = pa.table({"uid": ["u8", "u3", "z"], "height": [1.5, 1.75, 2.0], "other": [True, False, True]})
    pq.write_table(users, tmp_path / "users.parquet")
    options = {"users": tmp_path / "users.parquet", "user_columns": "user=uid,tall=height"}
    table = convert(tmp_path / "run", prefix="u", **options)
    assert table.column_names == ["user_id", "split", "events", "tall"]
    assert dict(zip(table["user_id"].to_pylist(), table["tall"].to_pylist(), strict=True)) == {
        "u11": None,
        "u3": 1.75,
        "u40": None,
        "u5": None,
        "u8": 1.5,
    }


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("uid,age\n3,1\n", {}, "no single column 'user_id'; it has uid, age"),
        ("user_id,age\n99,1\n", {}, "has none of the dataset's 5 users"),
        ("user_id,age\n", {}, "has none of the dataset's 5 users"),
        ("user_id,split\n3,a\n", {}, "has a column 'split' of its own"),
        ("user_id,age\n3,1\n", {"user_columns": {"user": "user_id", "size": "length"}}, "no single column 'length'"),
        ("user_id,age\n3\n", {}, "cannot be read as a table with a header"),
    ],
)
def test_unusable_tables_are_refused(content: str, options: dict, message: str, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        convert(tmp_path / "run", users=tmp_path / "users.csv", **options)


def test_columns_without_a_table_are_refused() -> None:
    with pytest.raises(ValueError, match="without a users file"):
        ConvertConfig(user_columns="user=uid")


USERS = [(str(user), "café" if user % 2 else "thé", f"{user:05d}", 20 + user) for user in range(6)]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("\n".join(["user_id::name::zip::age", *("::".join(map(str, row)) for row in USERS)]).encode(), {"delimiter": "::"}),
        ("\n".join(["User_ID,name,zip,age", *(",".join(map(str, row)) for row in USERS)]).encode("latin-1"), {"encoding": "latin-1"}),
        ("\n".join(["# users", "user_id,name,zip,age", *(f'{u},"{n}",{z},{a}' for u, n, z, a in USERS)]).encode(), {}),
        ("\n".join(f'{{"user_id": "{u}", "name": "{n}", "zip": "{z}", "age": {a}}}' for u, n, z, a in USERS).encode(), {}),
    ],
    ids=["delimiter", "encoding", "comment", "json"],
)
def test_a_users_table_is_read_as_the_log_is(content: bytes, options: dict, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_bytes(content)
    table = join_users(tmp_path / "users.csv", np.arange(6), ConvertConfig(users=tmp_path / "users.csv", **options))
    assert table.to_pylist() == [{"name": name, "zip": code, "age": age} for _, name, code, age in USERS]


def test_users_with_zeros_in_front_are_joined_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user_id,age\n007,1\n7,2\n")
    table = join_users(tmp_path / "users.csv", pa.array(["007", "7"]), ConvertConfig(users=tmp_path / "users.csv"))
    assert table["age"].to_pylist() == [1, 2]
