"""Reads log and item files (CSV, gzip CSV, Parquet) into Arrow columns, one per role."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet

from data_prep.bad_rows import BadRows
from data_prep.columns import Layout, locate
from data_prep.csv_file import Collected, Progress, read_csv
from data_prep.errors import DataError
from data_prep.parsing import narrow

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawTable:
    """The columns of all files, in file order.

    Attributes:
        columns: role -> chunks, each int64, double, or string; equal numbers of rows per role.
        num_rows: rows read, including those of the wrong width, which `columns` lacks.
        headers: per file whether it started with a header (always true of Parquet).
        has_timestamps: whether the time column is a Parquet timestamp, converted to milliseconds.
    """

    columns: dict[str, list[pa.Array]]
    num_rows: int
    headers: list[bool]
    has_timestamps: bool


def require_files(paths: Sequence[Path]) -> None:
    """Refuses a path that is no readable, non-empty file.

    Raises:
        DataError: there is no path at all, or one does not exist, is a directory, is empty or cannot be opened.
    """
    if not paths:
        raise DataError("no input file is given; name at least one log")
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist; check the path of the input")
        if not path.is_file():
            raise DataError(f"{path} is not a regular file; name the log files one by one")
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty; it needs at least one row")
        try:
            path.open("rb").close()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from error


def read_tables(
    paths: Sequence[Path],
    mapping: Mapping[str, str],
    layout: Layout,
    bad: BadRows,
    *,
    header: Literal["auto", "yes", "no"] = "auto",
    delimiter: str = ",",
    skip: frozenset[str] = frozenset(),
) -> RawTable:
    """Reads files of one kind one after the other.

    Args:
        paths: the files; Parquet is recognised by its first bytes, gzip by its own.
        mapping: role -> column name or position; empty for ``layout``.
        layout: the default layout.
        bad: counter, which receives rows of the wrong width and limits them.
        header: whether CSV files start with a header.
        delimiter: character between CSV columns.
        skip: roles that need not be read.

    Raises:
        DataError: a file is missing, empty, no text, damaged, lacks a column, or has too many rows of the wrong width.
    """
    require_files(paths)
    columns: dict[str, list[pa.Array]] = {}
    headers: list[bool] = []
    timestamps: set[bool] = set()
    num_rows = 0
    for path in paths:
        with path.open("rb") as file:
            magic = file.read(4)
        try:
            if magic == b"PAR1":
                headers.append(True)
                collected = _read_parquet(path, mapping, layout, skip)
            else:
                collected, with_header = read_csv(path, mapping, layout, bad, header, delimiter, skip)
                headers.append(with_header)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} is damaged or not what its format says ({str(error).splitlines()[0]}); get an intact copy") from error
        if columns and set(collected.columns) != set(columns):
            raise DataError(
                f"{path} has the columns {sorted(collected.columns)}, the files before it {sorted(columns)}; convert like files only"
            )
        for role, chunks in collected.columns.items():
            columns.setdefault(role, []).extend(chunks)
        timestamps |= collected.timestamps
        num_rows += collected.num_rows
    if num_rows == 0:
        raise DataError(f"{', '.join(str(path) for path in paths)}: no rows; the log needs at least one")
    if len(timestamps) > 1:
        raise DataError("some files hold the time as Parquet timestamps, others as numbers; convert like files only")
    return RawTable(columns, num_rows, headers, has_timestamps=True in timestamps)


def _parquet_batches(file: pa.parquet.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    yield from file.iter_batches(batch_size=1 << 20, columns=columns)


def _read_parquet(path: Path, mapping: Mapping[str, str], layout: Layout, skip: frozenset[str]) -> Collected:
    collected = Collected()
    with pa.parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        positions = locate(schema.names, len(schema.names), mapping, layout, str(path))
        wanted = {role: schema.field(position) for role, position in positions.items() if role not in skip}
        logger.info("%s: Parquet, %s", path.name, ", ".join(f"{role} = {column.name}" for role, column in wanted.items()))
        for role, column in wanted.items():
            kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
            usable = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
            if not (usable or (role == "time" and pa.types.is_timestamp(kind))):
                raise DataError(f"{path}: column {column.name!r} ({role}) is of type {column.type}; it must hold integers or strings")
        collected.columns = {role: [] for role in wanted}
        collected.timestamps = {"time" in wanted and pa.types.is_timestamp(wanted["time"].type)}
        progress = Progress(path)
        for batch in _parquet_batches(file, sorted({column.name for column in wanted.values()})):
            for role, column in wanted.items():
                collected.columns[role].append(narrow(batch.column(column.name)))
            collected.num_rows += batch.num_rows
            progress.rows(collected.num_rows)
        progress.rows(collected.num_rows, final=True)
    return collected
