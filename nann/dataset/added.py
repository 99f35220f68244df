"""A dataset whose catalogue has more items: the records are those of the earlier one, which new items do not occur in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.durable import link_or_copy
from data_prep.json_text import write_json
from data_prep.meta import META_NAME
from nann.contents import opening
from nann.dataset.dataset import Dataset

ITEMS, FEATURES, VALUES = "items.parquet", "item_features.parquet", "feature_values.parquet"


def link_files(source: Path, names: Iterable[str], directory: Path) -> None:
    """Hard links, or copies where the file system has none."""
    for name in names:
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(source / name, target)


def write_with_items(data: Dataset, added: Any, directory: Path) -> None:
    """Writes ``items.parquet``, ``meta.json`` and the tables of features, where there are any; new items get the rows after all others.

    Args:
        data: the earlier dataset.
        added: the items, as `nann.added_items.AddedItems`.
        directory: to write into.
    """
    with opening(data.path / ITEMS, "the table of items", step="convert"):
        items = pq.read_table(data.path / ITEMS)
        _write(directory / ITEMS, pa.concat_tables([items, _rows_of(items, added)]))
    if added.features:
        with opening(data.path / FEATURES, "the table of items' features", step="convert"):
            features, values = pq.read_table(data.path / FEATURES), pq.read_table(data.path / VALUES)
            lists = {name: pa.array(added.features[name], features[name].type) for name in features.column_names}
            _write(directory / FEATURES, pa.concat_tables([features, pa.table(lists, features.schema)]))
            _write(directory / VALUES, _counted(values, added.features))
    counts = {"num_items": len(items) + len(added)}
    if "items_without_category" in data.meta:
        counts["items_without_category"] = data.meta["items_without_category"] + int((added.category_rows == 0).sum())
    write_json(directory / META_NAME, {**data.meta, **counts})


def _rows_of(items: pa.Table, added: Any) -> pa.Table:
    count = len(added)
    columns = {
        "item_row": pa.array(np.arange(len(items) + 1, len(items) + 1 + count)),
        "item_id": pa.array(added.item_ids),
        "category_row": pa.array(added.category_rows),
        "category_id": pa.array(added.category_ids, mask=added.category_rows == 0),
        **{name: pa.array(np.zeros(count, np.int64)) for name in ("count", "train_count")},
        "weight": pa.array(np.zeros(count)),
    }
    return pa.table([columns[field.name].cast(field.type) for field in items.schema], items.schema)


def _counted(values: pa.Table, features: Any) -> pa.Table:
    """The table of values with the new items counted."""
    column, names, rows = values["items"].to_numpy().copy(), values["feature"].to_pylist(), values["value_row"].to_pylist()
    place_of = {value: place for place, value in enumerate(zip(names, rows, strict=True))}
    for name, lists in features.items():
        for row in (row for of_item in lists for row in of_item):
            column[place_of[name, row]] += 1
    return values.set_column(values.column_names.index("items"), "items", pa.array(column, values["items"].type))


def _write(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="zstd")
