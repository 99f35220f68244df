"""The category of every item, from the log or from a second file, and the catalogue `items.parquet`.

`items.parquet`, ordered by item_row: item_row int64 (1..N), item_id int64 or string, category_row int64 (0: no category), category_id
int64 or string (null: no category), count int64 (all events), weight float64 (count / sum of counts), train_count int64 (events of
training users). Rows go by (count descending, id ascending); a category's count is that of its items.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from data_prep.bad_rows import BadRows
from data_prep.columns import ITEM_CATEGORIES
from data_prep.config import ConvertConfig
from data_prep.errors import DataError
from data_prep.file_options import file_options
from data_prep.log_reader import read_tables
from data_prep.parsing import drop_bad, parse_ids
from data_prep.vocabulary import Ids, encode_ids, find_ids, popularity_rows, take_ids, type_name, without_value
from ops.id_columns import note_categories

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Categories:
    """Category per item.

    Attributes:
        ids: [c] distinct category ids, ascending.
        code_of_item: [k] int32, category code per item code, -1 without.
        changed: items seen with more than one category; the latest counts.
        notes: further counters for the report.
    """

    ids: Ids
    code_of_item: np.ndarray
    changed: int
    notes: dict[str, int]


@dataclass(frozen=True)
class ItemsTable:
    """Items and categories in row order.

    Attributes:
        item_ids: [N] ids, item_row 1 first.
        row_of_code: [N] int32, item row per item code.
        counts: [N] int64, events per item, item_row 1 first.
        category_rows: [N + 1] int32, category row per item row; 0 for row 0 and for items without a category.
        category_ids: [C] ids, category row 1 first.
    """

    item_ids: Ids
    row_of_code: np.ndarray
    counts: np.ndarray
    category_rows: np.ndarray
    category_ids: Ids


def no_categories(num_items: int) -> Categories:
    """Every item without a category."""
    return Categories(np.zeros(0, np.int64), np.full(num_items, -1, np.int32), 0, {})


class CategoryTracker:
    """The category of every item from its events, batch by batch in file order.

    Of an item with several categories the latest by time counts, on a tie the later line. Times matter for those items only, which are
    few, so that they are found by a first pass (`add`) and resolved by a second over their events (`add_latest`).

    Args:
        num_items: number of item codes.
    """

    def __init__(self, num_items: int) -> None:
        self.code_of_item = np.full(num_items, -1, np.int32)
        self._times = np.full(num_items, np.iinfo(np.int64).min)
        self.changed = np.zeros(num_items, bool)

    def add(self, items: np.ndarray, categories: np.ndarray) -> None:
        """Takes notice of [n] int32 item codes and their category codes; -1 for events without."""
        note_categories(items, categories, self.code_of_item, self.changed)

    def add_latest(self, items: np.ndarray, categories: np.ndarray, times: np.ndarray) -> None:
        """The same events again, those of `changed` items: [n] item codes, category codes and times."""
        np.maximum.at(self._times, items, times)
        latest = times == self._times[items]
        self.code_of_item[items[latest]] = categories[latest]  # a repeated index keeps the last value

    def categories(self, ids: Ids) -> Categories:
        """The outcome; ``ids`` are the distinct category ids in the order of their codes."""
        return Categories(ids, self.code_of_item, int(self.changed.sum()), {})


def categories_of_file(path: Path, item_ids: Ids, config: ConvertConfig) -> Categories:
    """Takes the categories from a second file; of an item listed several times the last line counts.

    Args:
        path: CSV, gzip CSV or Parquet file.
        item_ids: [k] the log's distinct item ids, ascending.
        config: its `item_columns`, `delimiter`, `id_type`, `missing_category` and limits apply.

    Raises:
        DataError: the file cannot be used, its ids are of another type, or none of the log's items is in it.
    """
    bad = BadRows(config.max_bad_rows, config.max_bad_share)
    options = file_options(config, config.item_columns, ITEM_CATEGORIES, config.items_header)
    table = read_tables([path], options, bad)
    if not sum(len(chunk) for chunk in table.columns["item"]):
        bad.check(table.num_rows, str(path))
        raise DataError(f"{path}: no usable row; the items file needs at least one")
    id_type = "string" if type_name(item_ids) == "string" else config.id_type_of("item")
    columns = {
        "item": parse_ids(table.columns["item"], id_type),
        "category": parse_ids(table.columns["category"], config.id_type_of("category"), "category"),
    }
    if columns["item"].is_string != (type_name(item_ids) == "string"):
        raise DataError(f"{path}: its item ids are strings, those of the log integers; check item_columns, or give --id-type string")
    types = [f"{role} ids are {'strings' if column.is_string else 'integers'}" for role, column in columns.items()]
    logger.info("%s: %s", path.name, ", ".join(types))
    keep = drop_bad(columns, table.columns, bad, {})
    bad.check(table.num_rows, str(path))
    keep &= ~columns["category"].missing
    if config.missing_category is not None:
        keep &= ~without_value(columns["category"], config.missing_category)
    rows = np.flatnonzero(keep)
    position = find_ids(item_ids, take_ids(columns["item"].values, rows))
    rows, position = rows[position >= 0], position[position >= 0]
    if len(rows) == 0:
        raise DataError(f"{path}: it holds a category for none of the log's {len(item_ids):,} items; check item_columns and the ids")
    coded = encode_ids(take_ids(columns["category"].values, rows))
    tracker = CategoryTracker(len(item_ids))
    tracker.add(position.astype(np.int32), coded.codes)
    tracker.add_latest(position, coded.codes, np.zeros(len(position), np.int64))
    code_of_item, changed = tracker.code_of_item, int(tracker.changed.sum())
    logger.info(
        "%s: %s rows, categories for %s of %s items",
        path.name,
        f"{table.num_rows:,}",
        f"{(code_of_item >= 0).sum():,}",
        f"{len(item_ids):,}",
    )
    return Categories(coded.ids, code_of_item, changed, {"items_file_bad_rows": bad.total})


def make_catalogue(item_ids: Ids, item_counts: np.ndarray, categories: Categories) -> ItemsTable:
    """Orders items and categories by popularity.

    Args:
        item_ids: [N] distinct ids, ascending.
        item_counts: [N] int64, events per item code.
        categories: category per item code.
    """
    order, row_of_code = popularity_rows(item_counts)
    has_category = categories.code_of_item >= 0
    used = np.bincount(categories.code_of_item[has_category], weights=item_counts[has_category], minlength=len(categories.ids)).astype(
        np.int64
    )
    # A category may be left with events of items whose latest category is another: it gets no row. One whose items have no counted event
    # (they come after the moment of a split by time) has a row, after all others.
    owned = np.bincount(categories.code_of_item[has_category], minlength=len(categories.ids)) > 0
    category_order, category_row_of_code = popularity_rows(2 * used + owned)
    num_categories = int(owned.sum())
    category_rows = np.zeros(len(order) + 1, np.int32)
    codes = categories.code_of_item[order]
    category_rows[1:][codes >= 0] = category_row_of_code[codes[codes >= 0]]
    return ItemsTable(
        take_ids(item_ids, order), row_of_code, item_counts[order], category_rows, take_ids(categories.ids, category_order[:num_categories])
    )


def write_items(path: Path, catalogue: ItemsTable, train_counts: np.ndarray) -> None:
    """Writes `items.parquet`.

    Args:
        path: file to write.
        catalogue: items in row order.
        train_counts: [N] int64, events of training users per item, item_row 1 first.
    """
    num_items = len(catalogue.counts)
    rows = catalogue.category_rows[1:].astype(np.int64)
    ids = catalogue.category_ids
    arrow_ids = ids if not isinstance(ids, np.ndarray) else pa.array(ids, pa.int64())
    category_ids = arrow_ids.take(pa.array(rows - 1, mask=rows == 0))
    table = pa.table(
        {
            "item_row": pa.array(np.arange(1, num_items + 1), pa.int64()),
            "item_id": pa.array(catalogue.item_ids),
            "category_row": pa.array(rows),
            "category_id": category_ids,
            "count": pa.array(catalogue.counts, pa.int64()),
            "weight": pa.array(catalogue.counts / catalogue.counts.sum(), pa.float64()),
            "train_count": pa.array(train_counts, pa.int64()),
        }
    )
    repeated = ["category_row", "category_id", "count", "weight", "train_count"]  # a dictionary of distinct values costs time only
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=repeated)
