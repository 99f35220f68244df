"""A second file about users, joined by their ids: `users.parquet`.

`users.parquet`, ordered by user id: user_id int64 or string, split string ("train", "validate", "test"), events int64 (of the user in the
dataset), and the file's columns as they were read (null for users that it does not have).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet

from data_prep.columns import Layout
from data_prep.config import ConvertConfig
from data_prep.csv_format import inspect_csv
from data_prep.errors import DataError
from data_prep.file_options import file_options
from data_prep.json_file import is_json
from data_prep.parsing import integers_if_plain, narrow_ids, parse_ids
from data_prep.sources import TextFile, is_parquet
from data_prep.text_columns import clean_text, text_array
from data_prep.text_stream import skip_bytes
from data_prep.vocabulary import Ids, encode_ids, find_ids, take_ids, type_name
from ops.csv_text import csv_text
from ops.text_values import IdClass

OWN_COLUMNS = ("user_id", "split", "events")
logger = logging.getLogger(__name__)


def read_users(path: Path, config: ConvertConfig, *, as_text: Sequence[str] = ()) -> pa.Table:
    """The table as it is, the ids and some columns as they are written.

    Raises:
        DataError: the file cannot be read as one.
    """
    try:
        if is_parquet(path):
            return pa.parquet.read_table(path, partitioning=None)
        if is_json(path, config.encoding):
            with TextFile(path, config.encoding) as stream:
                return pa.json.read_json(pa.BufferReader(stream.read_all()))
        return _read_csv(path, config, (user_key(config), *as_text))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as a table with a header ({str(error).splitlines()[0]}); get an intact copy") from error


def _read_csv(path: Path, config: ConvertConfig, as_text: Sequence[str]) -> pa.Table:
    """Splits the text as the log is, and leaves the types of its columns to Arrow."""
    options = file_options(config, {"user": "0"}, Layout({}, {}), "yes")
    form = inspect_csv(path, options.mapping, options.layout, "yes", options.text)
    with TextFile(path, config.encoding) as stream:
        skip_bytes(stream, form.skip_bytes)
        found = csv_text(stream.read_all(), form.dialect, width=form.width, columns=range(form.width))
    if found.wrong_width:
        raise OSError(f"{found.wrong_width} lines have not {form.width} columns, the first is {found.example.decode(errors='replace')!r}")
    cleaned = [clean_text(text_array(ends, data), config.null_values) for ends, data in zip(found.offsets, found.data, strict=True)]
    whole = {name.casefold() for name in as_text}
    columns = [column[0] if name.casefold() in whole else _typed(*column) for name, column in zip(form.names, cleaned, strict=True)]
    return pa.Table.from_arrays(columns, names=list(form.names))


def _typed(text: pa.Array, classes: np.ndarray, values: np.ndarray) -> pa.Array:
    """A text column as integers or doubles if all its values are such, and none would lose a zero in front."""
    integers = integers_if_plain(text, classes, values)
    if integers is not text or np.any(classes == IdClass.LEADING_ZERO):
        return integers
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:
        return text


def user_key(config: ConvertConfig) -> str:
    """The column of the users table that holds their ids."""
    return config.user_columns.get("user", "user_id")


def column_named(table: pa.Table, name: str) -> str:
    """A column's name as the table writes it: exactly so, or else in another case."""
    others = [known for known in table.column_names if known.casefold() == name.casefold()]
    return name if name in table.column_names or len(others) != 1 else others[0]


def require_columns(path: Path, table: pa.Table, columns: Sequence[str], option: str) -> None:
    """Refuses a table that lacks a column, or has it twice.

    Raises:
        DataError: it does.
    """
    for column in (column_named(table, column) for column in columns):
        if table.column_names.count(column) != 1:
            raise DataError(f"{path} has no single column {column!r}; it has {', '.join(table.column_names)}; give {option}")


def rows_of_users(path: Path, column: pa.ChunkedArray, user_ids: Ids) -> np.ndarray:
    """[U] int64 last row of each user in a column of user ids, -1 for users that are not there.

    Args:
        path: of the file, for messages.
        column: [n] ids.
        user_ids: [U] the dataset's users.

    Raises:
        DataError: it has none of the users.
    """
    as_string = type_name(user_ids) == "string"
    ids = parse_ids([narrow_ids(chunk) for chunk in column.chunks], "string" if as_string else "int")
    rows = np.flatnonzero(~ids.bad & ~ids.missing)
    coded = encode_ids(take_ids(ids.values, rows))
    last_row = np.zeros(len(coded.ids), np.int64)
    last_row[coded.codes] = rows  # a repeated index keeps the last value
    place = find_ids(coded.ids, user_ids) if len(rows) else np.full(len(user_ids), -1, np.int64)
    found = int((place >= 0).sum())
    if not found:
        raise DataError(f"{path}: it has none of the dataset's {len(user_ids):,} users; check user_columns and the ids")
    unusable = len(column) - len(rows)
    logger.info("%s: %s rows, %s unusable; %s of %s users", path.name, len(column), unusable, f"{found:,}", f"{len(user_ids):,}")
    return np.where(place >= 0, last_row[np.maximum(place, 0)], -1)


def join_users(path: Path, user_ids: Ids, config: ConvertConfig) -> pa.Table:
    """The file's columns for every user; of a user listed several times the last line counts.

    Args:
        path: CSV (plain, gzip, zstd) with a header, or Parquet.
        user_ids: [U] the dataset's users, ascending.
        config: its `user_columns`, `delimiter` and `id_type` apply.

    Returns:
        [U] rows, null for users that are not in the file.

    Raises:
        DataError: the file cannot be used, lacks a column, or has none of the users.
    """
    table = read_users(path, config)
    key = column_named(table, user_key(config))
    wanted = {name: column_named(table, column) for name, column in config.user_columns.items() if name != "user"}
    wanted = wanted or {name: name for name in table.column_names if name != key}
    require_columns(path, table, (key, *wanted.values()), "user_columns")
    if taken := sorted(set(wanted) & set(OWN_COLUMNS)):
        raise DataError(f"{path}: users.parquet has a column {taken[0]!r} of its own; give user_columns with another name")
    last_rows = rows_of_users(path, table[key], user_ids)
    index = pa.array(last_rows, mask=last_rows < 0)
    return pa.table({name: table[column].take(index) for name, column in wanted.items()})


def write_users(path: Path, user_ids: Ids, splits: pa.Array, events: np.ndarray, columns: pa.Table) -> None:
    """Writes `users.parquet`.

    Args:
        path: file to write.
        user_ids: [U] ascending.
        splits: [U] name of each user's split.
        events: [U] int64, events of each.
        columns: [U] rows of `join_users`.
    """
    own = dict(zip(OWN_COLUMNS, (pa.array(user_ids), splits, pa.array(events, pa.int64())), strict=True))
    table = pa.table(own | {name: columns[name] for name in columns.column_names})
    pa.parquet.write_table(table.combine_chunks(), path, compression="zstd")
