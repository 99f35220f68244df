"""Reads one CSV file, plain or gzip, into Arrow columns, tolerating rows of the wrong width.

Ids and times are first read as 64-bit integers; a file where that fails is read again as text, block by block, and only the blocks that
really hold something else stay text (`data_prep.parsing` then decides row by row).
"""

from __future__ import annotations

import contextlib
import csv
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv

from data_prep.bad_rows import BadRows
from data_prep.columns import Layout, decide_header, locate, usual_width
from data_prep.errors import DataError
from data_prep.parsing import narrow
from data_prep.text_stream import Utf8Repair, open_stream, sample_lines

BLOCK_BYTES = 1 << 24
PROGRESS_SECONDS = 5.0
_LONE_QUOTE = "a quote character without its partner swallows lines, so quotes are taken as ordinary characters"
logger = logging.getLogger(__name__)


@dataclass
class Collected:
    """Columns of one file so far: role -> chunks, the rows read, and whether the time column holds Parquet timestamps."""

    columns: dict[str, list[pa.Array]] = field(default_factory=dict)
    num_rows: int = 0
    timestamps: set[bool] = field(default_factory=set)


class Progress:
    """Logs rows and rows per second every few seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = self._next = time.monotonic()

    def rows(self, num_rows: int, *, final: bool = False) -> None:
        """Takes notice of the rows read so far."""
        now = time.monotonic()
        if final or now >= self._next + PROGRESS_SECONDS:
            self._next = now
            rate = num_rows / max(now - self._start, 1e-9)
            logger.info("%s: %s rows read, %s rows/s", self._path.name, f"{num_rows:,}", f"{rate:,.0f}")


@contextlib.contextmanager
def _decode_errors_silenced() -> Iterator[None]:
    """Arrow prints, and cannot raise, the error of decoding a row for `on_invalid_row`; it is handled where the read then fails."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda event: None if isinstance(event.exc_value, UnicodeDecodeError) else hook(event)
    try:
        yield
    finally:
        sys.unraisablehook = hook


def read_csv(
    path: Path,
    mapping: Mapping[str, str],
    layout: Layout,
    bad: BadRows,
    header: Literal["auto", "yes", "no"],
    delimiter: str,
    skip: frozenset[str],
) -> tuple[Collected, bool]:
    """Reads the mapped columns of a file.

    Args:
        path: the file; gzip is recognised by its first bytes.
        mapping: role -> column name or position; empty for ``layout``.
        layout: the default layout.
        bad: counter, which receives rows of the wrong width and limits them.
        header: whether there is a header.
        delimiter: character between columns.
        skip: roles that need not be read.

    Returns:
        The columns, and whether there was a header.

    Raises:
        DataError: the file is no text, lacks a column, or has too many rows of the wrong width.
        pa.ArrowInvalid, OSError: it is damaged.
    """
    lines = sample_lines(path)
    quoted = any('"' in line for line in lines)
    # Line by line, so that a lone quote costs only its own line.
    rows = [next(csv.reader([line], delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)) for line in lines]
    with_header = decide_header(rows, mapping, header, layout)
    names = [name.strip() for name in rows[0]] if with_header else None
    width = len(rows[0]) if with_header else usual_width(rows)
    positions = locate(names, width, mapping, layout, str(path))
    wanted = {role: position for role, position in positions.items() if role not in skip}
    logger.info(
        "%s: CSV, %s header, %s",
        path.name,
        "with" if with_header else "no",
        ", ".join(f"{role} = column {position}" + (f" ({names[position]})" if names else "") for role, position in positions.items()),
    )
    columns = _CsvColumns(wanted, width, with_header, delimiter)
    hexadecimal = any("0x" in line or "0X" in line for line in lines)  # which Arrow would read as integers, but an id keeps its spelling
    kinds = [pa.string()] if hexadecimal else [pa.int64(), pa.string()]
    attempts = [(quoting, kind, False) for quoting in ([True, False] if quoted else [False]) for kind in kinds]
    for quoting, kind, repair in [*attempts, (attempts[-1][0], pa.string(), True)]:
        attempt = _try_csv(path, columns, quoting, kind, bad.limit - bad.total, repair)
        if isinstance(attempt, str):
            logger.info("%s: %s; reading it again", path.name, attempt)
            continue
        collected, wrong_width = attempt
        collected.num_rows += len(wrong_width)
        if wrong_width:
            bad.add("wrong_number_of_columns", len(wrong_width), wrong_width[0])
            if bad.exhausted():
                bad.check(collected.num_rows, str(path))
        return collected, with_header
    raise DataError(f"{path} cannot be read as CSV; check its delimiter and quotes")


@dataclass(frozen=True)
class _CsvColumns:
    """What to read: role -> position, of a file of ``width`` columns."""

    positions: dict[str, int]
    width: int
    with_header: bool
    delimiter: str


def _try_csv(
    path: Path, columns: _CsvColumns, quoting: bool, kind: pa.DataType, max_wrong: int, repair: bool
) -> tuple[Collected, list[str]] | str:
    """Reads a CSV file with ids and times as ``kind``.

    Returns:
        The columns and the rows of the wrong width (the text of the first, empty strings for the others), or the reason why the next
        attempt should be made: a value is no integer, a lone quote character swallows lines, or a row of the wrong width is not UTF-8
        (Arrow cannot hand it over; with ``repair`` the stream is made UTF-8 first, at the cost of speed).

    Raises:
        pa.ArrowInvalid, OSError: the file is damaged.
    """
    wrong_width: list[str] = []
    swallowed = False

    def on_invalid_row(row: pa.csv.InvalidRow) -> str:
        nonlocal swallowed
        text = row.text or ""
        swallowed = swallowed or (quoting and "\n" in text.strip())
        wrong_width.append("" if wrong_width else text)
        return "skip"

    names = {role: f"c{position}" for role, position in columns.positions.items()}
    read_options = pa.csv.ReadOptions(
        block_size=BLOCK_BYTES, column_names=[f"c{index}" for index in range(columns.width)], skip_rows=int(columns.with_header)
    )
    parse_options = pa.csv.ParseOptions(
        delimiter=columns.delimiter, quote_char='"' if quoting else False, invalid_row_handler=on_invalid_row, newlines_in_values=False
    )
    convert_options = pa.csv.ConvertOptions(
        check_utf8=False,
        column_types=dict.fromkeys(names.values(), kind),
        include_columns=sorted(set(names.values())),
        null_values=[""],
        strings_can_be_null=True,
    )
    collected = Collected(columns={role: [] for role in names}, timestamps={False})
    progress = Progress(path)
    try:
        with open_stream(path) as raw, _decode_errors_silenced():
            stream = pa.PythonFile(Utf8Repair(raw), mode="r") if repair else raw
            for batch in pa.csv.open_csv(stream, read_options, parse_options, convert_options):
                for role, name in names.items():
                    collected.columns[role].append(narrow(batch.column(name)))
                collected.num_rows += batch.num_rows
                progress.rows(collected.num_rows)
                if len(wrong_width) > max_wrong and not swallowed:
                    break
    except pa.ArrowInvalid as error:
        text = str(error)
        if quoting and ("out of sync" in text or swallowed):
            return _LONE_QUOTE
        if kind == pa.int64() and "conversion error" in text:
            return "not all ids and times are integers"
        if not repair and "parse error: Expected" in text:
            return "it is not UTF-8 throughout"
        if "Empty CSV file" not in text:
            raise
    if swallowed:
        return _LONE_QUOTE
    progress.rows(collected.num_rows, final=True)
    return collected, wrong_width
