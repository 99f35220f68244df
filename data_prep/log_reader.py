"""Reads log and item files (CSV, gzip CSV, Parquet) into Arrow columns, one per role, tolerating rows of the wrong width.

CSV ids and times are first read as 64-bit integers; a file where that fails is read again as text, block by block, and only the blocks
that really hold something else stay text (`data_prep.parsing` then decides row by row).
"""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from data_prep.bad_rows import BadRows
from data_prep.columns import Layout, decide_header, locate, usual_width
from data_prep.errors import DataError
from data_prep.parsing import narrow

SAMPLE_BYTES = 1 << 16
BLOCK_BYTES = 1 << 24
PROGRESS_SECONDS = 5.0
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


@dataclass
class _Collected:
    columns: dict[str, list[pa.Array]] = field(default_factory=dict)
    num_rows: int = 0
    timestamps: set[bool] = field(default_factory=set)


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
                collected, with_header = _read_csv(path, mapping, layout, bad, header, delimiter, skip)
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


class _Progress:
    """Logs rows and rows per second every few seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = self._next = time.monotonic()

    def rows(self, num_rows: int, *, final: bool = False) -> None:
        now = time.monotonic()
        if final or now >= self._next + PROGRESS_SECONDS:
            self._next = now
            rate = num_rows / max(now - self._start, 1e-9)
            logger.info("%s: %s rows read, %s rows/s", self._path.name, f"{num_rows:,}", f"{rate:,.0f}")


def _open_stream(path: Path) -> pa.NativeFile:
    raw = pa.OSFile(str(path))
    is_gzip = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return pa.CompressedInputStream(raw, "gzip") if is_gzip else raw


def _sample_lines(path: Path) -> list[str]:
    with _open_stream(path) as stream:
        sample = stream.read(SAMPLE_BYTES)
    if not sample:
        raise DataError(f"{path} holds no data; it needs at least one row")
    whole = sample if len(sample) < SAMPLE_BYTES or b"\n" not in sample else sample[: sample.rindex(b"\n") + 1]
    text = whole.decode("utf-8-sig", errors="replace")
    damaged = text.count("\x00") + text.count("�")
    if "\x00" in text or damaged > len(text) // 100 + 1:
        raise DataError(f"{path} is neither CSV, gzip CSV nor Parquet (its start is not text); name a log in one of these formats")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} holds only empty lines; it needs at least one row")
    return lines


def _read_csv(
    path: Path,
    mapping: Mapping[str, str],
    layout: Layout,
    bad: BadRows,
    header: Literal["auto", "yes", "no"],
    delimiter: str,
    skip: frozenset[str],
) -> tuple[_Collected, bool]:
    lines = _sample_lines(path)
    quoted = any('"' in line for line in lines)
    rows = list(csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE))
    with_header = decide_header(rows, mapping, header, layout)
    names = [name.strip() for name in rows[0]] if with_header else None
    width = len(rows[0]) if with_header else usual_width(rows)
    positions = locate(names, width, mapping, layout, str(path))
    wanted = {role: f"c{position}" for role, position in positions.items() if role not in skip}
    logger.info(
        "%s: CSV, %s header, %s",
        path.name,
        "with" if with_header else "no",
        ", ".join(f"{role} = column {position}" + (f" ({names[position]})" if names else "") for role, position in positions.items()),
    )
    read_options = pa.csv.ReadOptions(
        block_size=BLOCK_BYTES, column_names=[f"c{index}" for index in range(width)], skip_rows=1 if with_header else 0
    )
    for column_type in (pa.int64(), pa.string()):
        wrong_width: list[str] = []

        def on_invalid_row(row: pa.csv.InvalidRow, wrong: list[str] = wrong_width) -> str:
            wrong.append(row.text or "") if len(wrong) < 1 else wrong.append("")
            return "skip"

        parse_options = pa.csv.ParseOptions(
            delimiter=delimiter, quote_char='"' if quoted else False, invalid_row_handler=on_invalid_row, newlines_in_values=False
        )
        convert_options = pa.csv.ConvertOptions(
            check_utf8=False,
            column_types=dict.fromkeys(wanted.values(), column_type),
            include_columns=sorted(set(wanted.values())),
            null_values=[""],
            strings_can_be_null=True,
        )
        collected = _Collected(columns={role: [] for role in wanted}, timestamps={False})
        progress = _Progress(path)
        before = bad.total
        try:
            with _open_stream(path) as stream:
                reader = pa.csv.open_csv(stream, read_options, parse_options, convert_options)
                for batch in reader:
                    for role, column in wanted.items():
                        collected.columns[role].append(narrow(batch.column(column)))
                    collected.num_rows += batch.num_rows
                    progress.rows(collected.num_rows)
                    if before + len(wrong_width) > bad.limit:
                        break
        except pa.ArrowInvalid as error:
            if column_type == pa.int64() and "conversion error" in str(error):
                logger.info("%s: not all ids and times are integers; reading them as text", path.name)
                continue
            if "Empty CSV file" in str(error):
                return collected, with_header
            raise
        break
    collected.num_rows += len(wrong_width)
    if wrong_width:
        bad.add("wrong_number_of_columns", len(wrong_width), wrong_width[0])
        if bad.exhausted():
            bad.check(collected.num_rows, str(path))
    progress.rows(collected.num_rows, final=True)
    return collected, with_header


def _parquet_batches(file: pa.parquet.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    yield from file.iter_batches(batch_size=1 << 20, columns=columns)


def _read_parquet(path: Path, mapping: Mapping[str, str], layout: Layout, skip: frozenset[str]) -> _Collected:
    collected = _Collected()
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
        progress = _Progress(path)
        for batch in _parquet_batches(file, sorted({column.name for column in wanted.values()})):
            for role, column in wanted.items():
                collected.columns[role].append(narrow(batch.column(column.name)))
            collected.num_rows += batch.num_rows
            progress.rows(collected.num_rows)
        progress.rows(collected.num_rows, final=True)
    return collected
