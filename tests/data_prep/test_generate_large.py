"""The large generated log: its size, its shape, the same bytes again."""

from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest

from data_prep.generate_large import ROWS_PER_ITEM, ROWS_PER_USER, write_large_log


def test_shape_and_reproducibility(tmp_path: Path) -> None:
    rows = write_large_log(tmp_path / "a.csv", 200_000)
    assert write_large_log(tmp_path / "b.csv", 200_000) == rows
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    table = pyarrow.csv.read_csv(tmp_path / "a.csv", pyarrow.csv.ReadOptions(column_names=["u", "i", "c", "b", "t"]))
    assert table.num_rows == rows
    assert 200_000 <= rows < 201_000
    assert len(table["u"].unique()) == pytest.approx(rows / ROWS_PER_USER, rel=0.1)
    assert len(table["i"].unique()) <= round(rows / ROWS_PER_ITEM)
    assert set(table["b"].unique().to_pylist()) == {"pv", "fav", "cart", "buy"}
    assert (np.diff(table["u"].to_numpy()) >= 0).all()
    with pytest.raises(ValueError, match="at least 100 rows"):
        write_large_log(tmp_path / "c.csv", 10)
