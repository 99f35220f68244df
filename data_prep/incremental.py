"""Conversion for retraining: an earlier dataset's rows are kept, new items and categories get the rows after them.

A model trained on the earlier dataset then means the same items by the same rows. Counts and weights are those of the new events alone; an
earlier item without new events stays in the table with count 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from data_prep.config import ConvertConfig
from data_prep.errors import DataError
from data_prep.items_table import Categories, ItemsTable
from data_prep.meta import read_meta
from data_prep.opening import opening
from data_prep.vocabulary import Ids, find_ids, popularity_rows, take_ids, type_name


@dataclass(frozen=True)
class Base:
    """An earlier dataset.

    Attributes:
        item_ids: [N] ids, item_row 1 first.
        category_rows: [N] int64, 0 without a category.
        category_ids: [C] ids, category row 1 first; rows that no item has any more hold a neutral value.
        categories_in_use: [C] bool, false for those.
        last_time: its last event, unix seconds.
        behaviors: kinds of events that its records keep, in the order of their numbers.
    """

    item_ids: Ids
    category_rows: np.ndarray
    category_ids: Ids
    categories_in_use: np.ndarray
    last_time: int
    behaviors: tuple[str, ...] = ()


def _ids(column: pa.ChunkedArray) -> Ids:
    array = column.combine_chunks()
    return array if pa.types.is_string(array.type) else array.fill_null(0).to_numpy(zero_copy_only=False)


def read_base(dataset: Path) -> Base:
    """Reads what is needed of an earlier dataset.

    Raises:
        DataError: it is none.
    """
    meta = read_meta(dataset)
    with opening(dataset / "items.parquet", "the table of items of a dataset to go on from", remedy="name a directory made by convert"):
        return _read_base(pa.parquet.read_table(dataset / "items.parquet"), meta)


def _read_base(table: pa.Table, meta: dict[str, Any]) -> Base:
    rows = table["category_row"].to_numpy()
    num_categories = int(meta["num_categories"])
    with_category = np.flatnonzero(rows)
    if len(rows) and not 0 <= rows.min() <= rows.max() <= num_categories:
        raise ValueError(f"category rows must be 0..{num_categories}, got {rows.min()}..{rows.max()}")
    item_of_row = np.full(num_categories, -1)
    item_of_row[rows[with_category] - 1] = with_category
    in_use = item_of_row >= 0
    ids = take_ids(_ids(table["category_id"]), np.maximum(item_of_row, 0)) if len(rows) else np.zeros(0, np.int64)
    behaviors = tuple(meta.get("inputs", {}).get("behavior", {}).get("values", ()))
    return Base(_ids(table["item_id"]), rows, ids, in_use, int(meta["time_range"][1]), behaviors)


def require_behaviors(base: Base, config: ConvertConfig) -> None:
    """Refuses to give a kind of event another number than it has in the earlier dataset.

    Raises:
        DataError: it would.
    """
    if config.keep_behaviors and config.behavior_names[: len(base.behaviors)] != base.behaviors:
        raise DataError(
            f"the earlier dataset keeps the behaviors {','.join(base.behaviors)}, whose numbers its models read, but behaviors is "
            f"{','.join(config.behavior_names)}; list the earlier ones first, in their order"
        )


def _joined(first: Ids, second: Ids) -> Ids:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.concatenate([first, second])
    return pa.concat_arrays([pa.array(first), pa.array(second)])


def _rows(known: Ids, usable: np.ndarray, ids: Ids, counts: np.ndarray, what: str) -> tuple[np.ndarray, Ids]:
    """Row per id (ascending, distinct, [k] events each): the known one, or the next by (count descending, id ascending); and all ids."""
    if len(known) and len(ids) and type_name(known) != type_name(ids):
        raise DataError(f"{what} ids are {type_name(ids)} in the log but {type_name(known)} in the earlier dataset; set id_type to fit")
    order = np.argsort(known, kind="stable") if isinstance(known, np.ndarray) else _string_order(known)
    order = order[usable[order]]
    place = find_ids(take_ids(known, order), ids) if len(order) and len(ids) else np.full(len(ids), -1, np.int64)
    rows = np.zeros(len(ids), np.int32)
    rows[place >= 0] = order[place[place >= 0]] + 1
    new = np.flatnonzero(place < 0)
    new_order, new_rows = popularity_rows(counts[new])
    rows[new] = len(known) + new_rows
    return rows, (_joined(known, take_ids(ids, new[new_order])) if len(new) else known)


def _string_order(ids: pa.Array) -> np.ndarray:
    order: np.ndarray = pa.compute.sort_indices(ids.cast(pa.binary())).to_numpy(zero_copy_only=False).astype(np.int64)
    return order


def extend_catalogue(base: Base, item_ids: Ids, item_counts: np.ndarray, categories: Categories) -> ItemsTable:
    """Gives rows to the items and categories of new events.

    Args:
        base: the earlier dataset.
        item_ids: [k] distinct ids of the new events, ascending.
        item_counts: [k] int64, new events per item code.
        categories: category per item code; an item without one keeps that of the earlier dataset.

    Raises:
        DataError: ids are integers here and strings there.
    """
    item_rows, all_items = _rows(base.item_ids, np.ones(len(base.item_ids), bool), item_ids, item_counts, "item")
    counts = np.zeros(len(all_items), np.int64)
    counts[item_rows - 1] = item_counts
    has_category = np.flatnonzero(categories.code_of_item >= 0)
    used = np.zeros(len(categories.ids), np.int64)
    np.add.at(used, categories.code_of_item[has_category], item_counts[has_category])
    seen = np.flatnonzero(used)
    rows_of_seen, all_categories = _rows(base.category_ids, base.categories_in_use, take_ids(categories.ids, seen), used[seen], "category")
    row_of_category = np.zeros(len(categories.ids), np.int32)
    row_of_category[seen] = rows_of_seen
    category_rows = np.zeros(len(all_items) + 1, np.int32)
    category_rows[1 : len(base.category_rows) + 1] = base.category_rows
    category_rows[item_rows[has_category]] = row_of_category[categories.code_of_item[has_category]]
    return ItemsTable(all_items, item_rows, counts, category_rows, all_categories)
