"""Tables of items: what a file may hold, and what is refused by name."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nann.errors import ArtifactError
from nann.item_tables import read_item_tables


@pytest.mark.parametrize(
    ("text", "ids", "available", "prior"),
    [
        ("item_id,available,prior\n7,true,0.5\n9,false,-1\n", [7, 9], [True, False], [0.5, -1.0]),
        ("item_id,available\n7,1\n9,0\n", [7, 9], [True, False], [0.0, 0.0]),
        ("prior,item_id\n2,tea\n3,books\n", ["tea", "books"], [True, True], [2.0, 3.0]),
        ("item_id\n5\n", [5], [True], [0.0]),
        ("item_id,available\n007,1\n12,0\n1e5,1\n", ["007", "12", "1e5"], [True, False, True], [0.0, 0.0, 0.0]),
        ("item_id\n99999999999999999999\n", ["99999999999999999999"], [True], [0.0]),
        ("item_id,prior\n", [], [], []),
        ("item_id,available,prior\n", [], [], []),
    ],
)
def test_files_of_both_kinds(tmp_path: Path, text: str, ids: list, available: list, prior: list) -> None:
    (tmp_path / "tables.csv").write_text(text)
    found = read_item_tables(tmp_path / "tables.csv")
    for _ in range(2):  # as given, and as written again
        assert found.item_ids.tolist() == ids
        assert found.available.tolist() == available
        assert found.prior.tolist() == prior
        found.write(tmp_path / "tables.parquet")
        found = read_item_tables(tmp_path / "tables.parquet")
    assert found.available.dtype == bool
    assert found.prior.dtype == np.float32


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id,available\n7,true\n", "must have the columns item_id and available or prior, it has id, available"),
        ("item_id,price\n7,3\n", "it has item_id, price"),
        ("item_id,prior\n7,1\n7,2\n", "names an item twice"),
        ("item_id,prior\n7,much\n", "prior numbers"),
        ("item_id,available\n7,perhaps\n", "available true or false"),
        ("item_id,prior\n7,\n8,1\n", "nothing in a column"),
        ("item_id,prior\n7,1\n8,nan\n", "nothing in a column"),
        ("item_id,prior\n7,1\n8,-inf\n", "the prior of item 8 is not finite"),
        ("item_id,prior\n7,1e39\n", "the prior of item 7 is not finite"),
        ("", "is not a table of items"),
        ("item_id,available\n7,2\n", "another number than 1 or 0"),
        ("item_id,available\n7,0.5\n", "available true or false"),
        ("item_id,prior\n7,2020-01-01\n", "prior numbers"),
        ("item_id,available\n7,2020-01-01 00:00:00\n", "available true or false"),
        ("item_id,item_id,prior\n7,7,1\n", "it has item_id, item_id, prior"),
        ("item_id,prior\n,1\n7,1\n", "an item_id is empty"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "tables.csv").write_text(text)
    with pytest.raises(ArtifactError, match=problem):
        read_item_tables(tmp_path / "tables.csv")


def test_a_file_that_is_not_there_or_no_parquet(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no such file"):
        read_item_tables(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and more")
    with pytest.raises(ArtifactError, match="is not a table of items"):
        read_item_tables(tmp_path / "bad.parquet")
    pq.write_table(pa.table({"item_id": [1], "prior": [[1.0]]}), tmp_path / "lists.parquet")
    with pytest.raises(ArtifactError, match="prior numbers"):
        read_item_tables(tmp_path / "lists.parquet")
    pq.write_table(pa.table({"item_id": pa.array([True, False])}), tmp_path / "bools.parquet")
    assert read_item_tables(tmp_path / "bools.parquet").item_ids.tolist() == ["true", "false"]
