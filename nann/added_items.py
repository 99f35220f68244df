"""Items that a trained model has not met: a file of their ids, categories and features, checked against the dataset they are added to.

A file is Parquet (``.parquet``) or CSV with a header: ``item_id``; ``category_id``, empty for an item without one; and by its name in the
dataset each feature of the items, values separated as in the file that `nann convert` read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_prep.feature_values import known_values
from data_prep.opening import opening
from nann.dataset import Dataset, Items
from nann.errors import ArtifactError

ITEM, CATEGORY = "item_id", "category_id"
SEPARATOR = "|"
EXACT_FLOATS = 2**53
_SHOWN = 3
_INTEGER = re.compile(r"-?[0-9]{1,19}")


@dataclass(frozen=True)
class AddedItems:
    """n items, none of which is in the dataset.

    Attributes:
        item_ids: [n] int64, or str objects, as the dataset's; distinct.
        category_ids: [n] int64 or str objects, as the dataset's; of no meaning where the row is 0.
        category_rows: [n] int32, 0 without a category.
        features: name -> [n] lists of the rows of an item's values, each once.
    """

    item_ids: NDArray[Any]
    category_ids: NDArray[Any]
    category_rows: NDArray[np.int32]
    features: Mapping[str, list[list[int]]]

    def __len__(self) -> int:
        return len(self.item_ids)


def read_added_items(path: Path, data: Dataset, *, read_by_model: Sequence[str], separator: str = SEPARATOR) -> AddedItems:
    """Reads a file of items.

    Args:
        path: of the file.
        data: the dataset they are added to.
        read_by_model: names of the items' features that the model reads; the file must have these.
        separator: between two values of a feature.

    Raises:
        ArtifactError: it cannot be read or holds no item, a column is missing or unknown, an id is missing, no id of the dataset's type,
            there twice or in the dataset already, a category or a value is none of the dataset's, or nothing is known of an item.
    """
    path, items = Path(path), data.items()
    features = [name for name, entry in data.inputs.items() if entry["side"] == "item"]
    table = _read(path, features)
    _require_columns(path, table, features, read_by_model, has_categories=bool(items.num_categories))
    item_ids = _item_ids(path, table[ITEM], items)
    category_ids, category_rows = _categories(path, table, items)
    values = known_values(data.path / "feature_values.parquet")
    found = {
        name: _values(path, name, table[name].to_pylist(), values.get(name, []), separator) if name in table.column_names else []
        for name in features
    }
    lists = {name: rows or [[] for _ in item_ids] for name, rows in found.items()}
    told = (category_rows > 0) | np.array([any(lists[name][place] for name in read_by_model) for place in range(len(item_ids))], bool)
    if not told.all():
        raise ArtifactError(
            f"a new item is known by its category{' and features' if read_by_model else ''} alone, but {path} names none for "
            f"{_listed(item_ids[~told])}; give one, or leave such items out until a training has met them"
        )
    return AddedItems(item_ids, category_ids, category_rows, lists)


def _read(path: Path, features: Iterable[str]) -> pa.Table:
    remedy = f"give CSV with a header, or Parquet, with the columns {ITEM} and {CATEGORY}"
    with opening(path, "a table of items", remedy=remedy, error=ArtifactError):
        if path.suffix == ".parquet":
            return pq.read_table(path)
        as_text = dict.fromkeys((ITEM, CATEGORY, *features), pa.string())  # not as numbers: they lose zeros and digits
        options = pyarrow.csv.ConvertOptions(
            column_types=as_text, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=True
        )
        return pyarrow.csv.read_csv(path, convert_options=options)


def _require_columns(path: Path, table: pa.Table, features: Sequence[str], needed: Sequence[str], *, has_categories: bool) -> None:
    names = table.column_names
    if not has_categories and not needed:
        raise ArtifactError(
            "a new item is known by its category and features, but the dataset has no categories and the model reads no features; convert "
            "with a category, or train with --inputs that name features of the items"
        )
    missing = [name for name in (ITEM, *((CATEGORY,) if has_categories else ()), *needed) if name not in names]
    unknown = [name for name in names if name not in (ITEM, CATEGORY, *features)]
    if missing:
        read, remedy = (
            ("", "; name one so") if missing[0] not in needed else (", which the model reads", "; add it, empty where it is unknown")
        )
        raise ArtifactError(f"{path} has no column {missing[0]}{read}, it has {', '.join(names)}{remedy}")
    if len(set(names)) < len(names):
        raise ArtifactError(f"{path} has two columns of one name, {', '.join(names)}; leave one out")
    if unknown:
        there = f"the features {', '.join(features)}" if features else "no features"
        raise ArtifactError(f"{path} has a column {unknown[0]!r}, but the dataset has {there} of items; leave it out, or name it as there")
    if not len(table):
        raise ArtifactError(f"{path} holds no items, at least 1 is needed; write a line per item below the header")


def _item_ids(path: Path, column: Any, items: Items) -> NDArray[Any]:
    texts = _texts(path, ITEM, column)
    if empty := [place for place, text in enumerate(texts) if not text]:
        raise ArtifactError(f"{path}: item {empty[0] + 1} of {len(texts)} has no {ITEM}; give each item one")
    found = _as(texts, items.item_ids, path, ITEM)
    ids, counts = np.unique(found, return_counts=True)
    if len(ids) < len(found):
        raise ArtifactError(f"{path} names {_listed(ids[counts > 1])} more than once; give each item one line")
    known = set(items.item_ids[1:].tolist())
    there = np.array([item_id in known for item_id in found.tolist()], bool)
    if there.any():
        raise ArtifactError(
            f"{int(there.sum()):,} of the {len(found):,} items of {path} are in the catalogue already, such as {_listed(found[there])}; "
            "leave them out: what changes of an item is learned by a training"
        )
    return found


def _categories(path: Path, table: pa.Table, items: Items) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Ids and rows [n] of the items' categories."""
    texts = _texts(path, CATEGORY, table[CATEGORY]) if CATEGORY in table.column_names else [""] * len(table)
    of_row = np.zeros(0, np.int64) if items.category_ids is None else items.category_ids
    rows = np.unique(items.category_rows[items.category_rows > 0]) if len(of_row) else np.zeros(0, np.int32)
    row_of = {of_row[row]: int(row) for row in rows.tolist()}
    filled = [place for place, text in enumerate(texts) if text]
    ids = np.zeros(len(texts), of_row.dtype) if of_row.dtype.kind == "i" else np.full(len(texts), "", object)
    ids[filled] = _as([texts[place] for place in filled], of_row, path, CATEGORY)
    unknown = [place for place in filled if ids[place] not in row_of]
    if unknown:
        raise ArtifactError(
            f"{path}: {len({ids[place] for place in unknown}):,} categories are not in the catalogue, such as "
            f"{_listed(np.unique(ids[unknown]))}; give one of its {len(row_of):,} categories, or leave these items out until a training "
            "has met the category"
        )
    return ids, np.array([row_of[ids[place]] if text else 0 for place, text in enumerate(texts)], np.int32)


def _values(path: Path, name: str, texts: Sequence[Any], known: Sequence[str], separator: str) -> list[list[int]]:
    """Rows of every item's values, each once, in their order."""
    row_of = {value: row for row, value in enumerate(known, 1)}
    split = [[part.strip() for part in str(text).split(separator) if part.strip()] if text is not None else [] for text in texts]
    unknown = sorted({value for values in split for value in values if value not in row_of})
    if unknown:
        raise ArtifactError(
            f"{path}: {len(unknown):,} values of the feature {name} are not in the dataset, such as {_listed(unknown)}; leave them out "
            "until a training has met them"
        )
    return [list(dict.fromkeys(row_of[value] for value in values)) for values in split]


def _texts(path: Path, name: str, column: Any) -> list[str]:
    """The column as text, trimmed; "" for what is not there."""
    with opening(path, f"a table of items with text or integers as {name}", remedy="write ids as the log has them", error=ArtifactError):
        if pa.types.is_floating(column.type):  # integers of which some are missing, as pandas writes them
            column = pc.if_else(pc.is_nan(column), None, column).cast(pa.int64())
            if pc.any(pc.greater_equal(pc.abs(column), EXACT_FLOATS)).as_py():
                raise ValueError(f"{name} holds integers of more than 53 bits as floating point numbers")
        return [str(text) for text in pc.fill_null(pc.utf8_trim_whitespace(column.cast(pa.string())), "").to_pylist()]


def _as(texts: Sequence[str], catalogue: NDArray[Any], path: Path, name: str) -> NDArray[Any]:
    """Ids [n] of texts as a catalogue has them."""
    if catalogue.dtype.kind not in "iu":
        return np.array(texts, object)
    wrong = [text for text in texts if not _INTEGER.fullmatch(text) or not -(2**63) <= int(text) < 2**63]
    if wrong:
        raise ArtifactError(f"the catalogue's {name} are 64-bit integers, but {path} has {_listed(wrong)}; give integers")
    return np.array([int(text) for text in texts], np.int64)


def _listed(values: Iterable[Any]) -> str:
    """The first few of them."""
    given = [str(value) for value in values]
    return ", ".join(map(repr, given[:_SHOWN])) + (f" and {len(given) - _SHOWN:,} more" if len(given) > _SHOWN else "")
