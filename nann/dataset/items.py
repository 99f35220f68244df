"""The catalogue of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nann.contents import opening
from nann.errors import ArtifactError


@dataclass(frozen=True)
class Items:
    """The catalogue (N items); arrays of size N + 1 are indexed by item row and hold a neutral entry at row 0.

    Attributes:
        item_ids: [N + 1] catalogue ids (int64, or str objects); entry 0 is 0 or "".
        category_rows: [N + 1] int32; 0 where the category is missing.
        weights: [N + 1] float64 share of all events.
        train_counts: [N + 1] int64 events of training users.
        num_categories: C, category rows are 1..C.
        category_ids: [C + 1] catalogue ids (int64, or str objects) by category row; 0 or "" at row 0 and where no item has the category.
            None: not known.
    """

    item_ids: npt.NDArray[Any]
    category_rows: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float64]
    train_counts: npt.NDArray[np.int64]
    num_categories: int
    category_ids: npt.NDArray[Any] | None = None


def read_items(path: Path, num_categories: int) -> Items:
    """Reads ``items.parquet``.

    Raises:
        ArtifactError: it is damaged, its rows are not 1..N in order, or a value is out of range.
    """
    with opening(path, "the table of items", step="convert"):
        table = pq.read_table(path)
        rows = table["item_row"].to_numpy()
        items = _items(table, num_categories)
    if not np.array_equal(rows, np.arange(1, len(rows) + 1)):
        raise ArtifactError(f"{path} must hold item rows 1..{len(rows)} in order; run `nann convert` again")
    if len(rows) and not 0 <= items.category_rows.min() <= items.category_rows.max() <= num_categories:
        raise ArtifactError(
            f"{path} must hold category rows 0..{num_categories}, got {items.category_rows.min()}..{items.category_rows.max()}; "
            "run `nann convert` again"
        )
    if items.train_counts.min() < 0 or not np.isfinite(items.weights).all() or items.weights.min() < 0:
        raise ArtifactError(f"{path} must hold counts and weights from 0 up; run `nann convert` again")
    return items


def _items(table: Any, num_categories: int) -> Items:
    def column(name: str, neutral: Any) -> npt.NDArray[Any]:
        values = np.asarray(table[name].to_numpy(zero_copy_only=False))
        return np.concatenate([np.asarray([neutral], dtype=values.dtype), values])

    item_ids = table["item_id"]
    neutral_id: int | str = "" if str(item_ids.type) in {"string", "large_string"} else 0
    return Items(
        item_ids=column("item_id", neutral_id),
        category_rows=column("category_row", 0).astype(np.int32),
        weights=column("weight", 0.0).astype(np.float64),
        train_counts=column("train_count", 0).astype(np.int64),
        num_categories=num_categories,
        category_ids=_category_ids(table, num_categories),
    )


def _category_ids(table: Any, num_categories: int) -> npt.NDArray[Any]:
    of_items = table.filter(pc.greater(table["category_row"], 0))
    rows, first = np.unique(of_items["category_row"].to_numpy(), return_index=True)
    if len(rows) and not 0 < rows[0] <= rows[-1] <= num_categories:
        return np.zeros(num_categories + 1, np.int64)  # refused below
    as_text = str(table["category_id"].type) not in {"int64", "null"}
    ids: npt.NDArray[Any] = np.full(num_categories + 1, "", object) if as_text else np.zeros(num_categories + 1, np.int64)
    ids[rows] = of_items["category_id"].take(pa.array(first)).to_numpy(zero_copy_only=False)
    return ids
