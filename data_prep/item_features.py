"""Side features of the items from the items file: categorical, with any number of values per item.

`item_features.parquet`, a row per item in the order of item_row: per feature a column, list<int32> of value rows (1..K, distinct, as
listed; an empty list where the item has none). `feature_values.parquet`: `feature` string, `value_row` int64, `value` string, `items` int64
(items with it). Values go by (items descending, value ascending); those of an earlier dataset keep their rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.bad_rows import BadRows
from data_prep.columns import ITEM_CATEGORIES
from data_prep.config import ConvertConfig
from data_prep.errors import DataError
from data_prep.feature_values import FeatureFiles
from data_prep.file_options import file_options
from data_prep.log_reader import read_tables
from data_prep.parsing import parse_ids
from data_prep.vocabulary import Ids, find_ids, take_ids, type_name

FILES = FeatureFiles("items", "item_features.parquet", "feature_values.parquet")
_ROLE = "feature "  # no role of the log begins so


def write_item_features(out_dir: Path, path: Path, item_ids: Ids, config: ConvertConfig) -> dict[str, int]:
    """Reads the features of `config.item_features` and writes both files.

    Args:
        out_dir: directory to write into.
        path: CSV, gzip CSV or Parquet file; of an item listed several times the last line counts.
        item_ids: [N] the catalogue's ids, item_row 1 first.
        config: its `item_features`, `item_columns`, `delimiter`, `feature_separator`, `id_type` and limits apply.

    Returns:
        Feature -> number of its values, K.

    Raises:
        DataError: the file cannot be used, lacks a column, or its ids are of another type.
    """
    ids, texts = _read(path, item_ids, config)
    order = np.argsort(item_ids, kind="stable") if isinstance(item_ids, np.ndarray) else pc.sort_indices(item_ids).to_numpy()
    place = find_ids(take_ids(item_ids, order), ids)
    listed = np.flatnonzero(place >= 0)
    source = np.full(len(item_ids), -1)
    source[order[place[listed]]] = listed  # a repeated index keeps the last value
    return FILES.write(out_dir, texts, source, separator=config.feature_separator, base=config.base)


def _read(path: Path, item_ids: Ids, config: ConvertConfig) -> tuple[Ids, dict[str, pa.Array]]:
    """The ids of the file's usable rows, and the text of each feature beside them."""
    item = config.item_columns.get("item", ITEM_CATEGORIES.names["item"])
    roles = {name: _ROLE + name for name in config.item_features}
    mapping = {"item": item, **{roles[name]: column for name, column in config.item_features.items()}}
    bad = BadRows(config.max_bad_rows, config.max_bad_share)
    options = file_options(config, mapping, ITEM_CATEGORIES, config.items_header, text_roles=frozenset(roles.values()))
    table = read_tables([path], options, bad)
    is_string = type_name(item_ids) == "string"
    parsed = parse_ids(table.columns["item"], "string" if is_string else config.id_type_of("item"))
    if parsed.is_string != is_string:
        raise DataError(f"{path}: its item ids are strings, those of the log integers; check item_columns, or give --id-type string")
    rows = np.flatnonzero(~(parsed.bad | parsed.missing))
    taken = pa.array(rows)
    texts = {name: pa.chunked_array([chunk.cast(pa.string()) for chunk in table.columns[role]]).take(taken) for name, role in roles.items()}
    return take_ids(parsed.values, rows), {name: text.combine_chunks() for name, text in texts.items()}
