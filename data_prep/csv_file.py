"""Reads CSV text into Arrow columns, block by block, so that damage costs time only where it is.

A block of whole lines is parsed at once, ids and times as 64-bit integers where the file's first lines have integers. When that fails (a
value is no integer, a lone quote character swallows lines, a row is not UTF-8) the block is halved until the damage is alone in a
small piece, and only that piece is read the patient way: as text, without quotes, bytes that are not UTF-8 replaced.
`data_prep.parsing` then decides row by row.
"""

from __future__ import annotations

import contextlib
import csv
import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv

from data_prep.columns import Layout, decide_header, is_number, locate, usual_width
from data_prep.errors import DataError
from data_prep.parsing import narrow
from data_prep.text_stream import sample_lines
from ops.csv_integers import csv_integers

BLOCK_BYTES = 1 << 22  # with its columns it fits into the caches
PIECE_BYTES = 1 << 14
TEXT_SHARE = 0.1  # a column is first read as text if more of the sampled values than this are no integers
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CsvFormat:
    """How to read one file.

    Attributes:
        source: the file, for messages.
        positions: role -> column.
        width: number of columns.
        with_header: whether the first line holds names.
        delimiter: character between columns.
        quoted: whether fields may be quoted.
        text_roles: roles that are read as text at once.
    """

    source: str
    positions: dict[str, int]
    width: int
    with_header: bool
    delimiter: str
    quoted: bool
    text_roles: frozenset[str]


@dataclass
class ParsedBlock:
    """Columns of a block of lines: role -> chunks, and the rows of another width (``example``: the first of them)."""

    columns: dict[str, list[pa.Array]] = field(default_factory=dict)
    num_rows: int = 0
    wrong_width: int = 0
    example: str = ""

    def extend(self, other: ParsedBlock) -> None:
        """Appends the rows of a block that follows."""
        for role, chunks in other.columns.items():
            self.columns.setdefault(role, []).extend(chunks)
        if not self.wrong_width:
            self.example = other.example
        self.num_rows += other.num_rows
        self.wrong_width += other.wrong_width


@contextlib.contextmanager
def decode_errors_silenced() -> Iterator[None]:
    """Arrow prints, and cannot raise, the error of decoding a row for `on_invalid_row`; it is handled where the read then fails."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda event: None if isinstance(event.exc_value, UnicodeDecodeError) else hook(event)
    try:
        yield
    finally:
        sys.unraisablehook = hook


def inspect_csv(
    path: Path,
    mapping: Mapping[str, str],
    layout: Layout,
    header: Literal["auto", "yes", "no"],
    delimiter: str,
    skip: frozenset[str],
    text_roles: frozenset[str] = frozenset(),
) -> CsvFormat:
    """Decides from a file's first lines how to read it.

    Args:
        path: the file; gzip and zstd are recognised by their first bytes.
        mapping: role -> column name or position; empty for ``layout``.
        layout: the default layout.
        header: whether there is a header.
        delimiter: character between columns.
        skip: roles that need not be read.
        text_roles: roles that are text whatever they look like.

    Raises:
        DataError: the file is no text, or lacks a column.
        OSError: it is damaged.
    """
    lines = sample_lines(path)
    quoted = any('"' in line for line in lines)
    # Line by line, so that a lone quote costs only its own line.
    rows = [next(csv.reader([line], delimiter=delimiter)) if quoted else line.split(delimiter) for line in lines]
    with_header = decide_header(rows, mapping, header, layout)
    names = [name.strip() for name in rows[0]] if with_header else None
    width = len(rows[0]) if with_header else usual_width(rows)
    positions = locate(names, width, mapping, layout, str(path))
    wanted = {role: position for role, position in positions.items() if role not in skip}
    logger.info(
        "%s: CSV, %s header, %s",
        path.name,
        "with" if with_header else "no",
        ", ".join(f"{role} = column {position}" + (f" ({names[position]})" if names else "") for role, position in wanted.items()),
    )
    body = [row for row in rows[int(with_header) :] if len(row) == width]
    text = {role for role, position in wanted.items() if sum(not _integral(row[position]) for row in body) > TEXT_SHARE * len(body)}
    return CsvFormat(str(path), wanted, width, with_header, delimiter, quoted, frozenset(text | (text_roles & set(wanted))))


def _integral(text: str) -> bool:
    return (text.isascii() and text.isdigit()) or (is_number(text) and not set(text) & set(".eE"))


def parse_block(block: bytes | memoryview, form: CsvFormat, *, first: bool) -> ParsedBlock:
    """Reads a block of whole lines.

    Args:
        block: the text.
        form: how to read it.
        first: whether the file starts with this block (and so its header).

    Raises:
        DataError: nothing can be made of it.
    """
    skip_rows = int(first and form.with_header)
    if (quick := _parse_natively(block, form, skip_rows)) is not None:
        return quick
    block = bytes(block)
    hexadecimal = b"0x" in block or b"0X" in block  # which Arrow would read as integers, but an id keeps its spelling
    alone = len(block) <= PIECE_BYTES or bool(form.text_roles)
    parsed = _parse(block, form, skip_rows, quoted=form.quoted, as_text=hexadecimal) if alone or not hexadecimal else None
    if parsed is not None:
        return parsed
    half = len(block) // 2
    cut = block.rfind(b"\n", 0, half)
    cut = cut if cut > 0 else block.find(b"\n", half)
    if len(block) > PIECE_BYTES and 0 < cut < len(block) - 1:
        parsed = parse_block(block[: cut + 1], form, first=first)
        parsed.extend(parse_block(block[cut + 1 :], form, first=False))
        return parsed
    for quoted in (True, False) if form.quoted else (False,):
        for repaired in (False, True):
            text = block.decode("utf-8", errors="replace").encode() if repaired else block
            parsed = _parse(text, form, skip_rows, quoted=quoted, as_text=True)
            if parsed is not None:
                return parsed
    raise DataError(f"{form.source} cannot be read as CSV; check its delimiter and quotes")


def _parse_natively(block: bytes | memoryview, form: CsvFormat, skip_rows: int) -> ParsedBlock | None:
    """A block without any flaw whose wanted columns are all plain integers, several times faster than by Arrow; else None."""
    positions = list(form.positions.values())
    if form.text_roles or len(set(positions)) < len(positions):
        return None
    if form.quoted or skip_rows:
        block = bytes(block)
        if form.quoted and b'"' in block:
            return None
        for _ in range(skip_rows):
            block = block[block.find(b"\n") + 1 :]
    found = csv_integers(block, width=form.width, columns=positions, delimiter=form.delimiter)
    if found is None:
        return None
    columns = {role: [pa.array(values)] for role, values in zip(form.positions, found, strict=True)}
    return ParsedBlock(columns=columns, num_rows=len(found[0]))


def _parse(block: bytes, form: CsvFormat, skip_rows: int, *, quoted: bool, as_text: bool = False) -> ParsedBlock | None:
    """One attempt; None when a value is no integer, a quote swallows lines, or a row of another width is not UTF-8."""
    parsed = ParsedBlock(columns={role: [] for role in form.positions})

    def on_invalid_row(row: pa.csv.InvalidRow) -> str:
        if not parsed.wrong_width:
            parsed.example = row.text or ""
        parsed.wrong_width += 1
        return "skip"

    names = {role: f"c{position}" for role, position in form.positions.items()}
    types = {name: pa.string() if as_text or role in form.text_roles else pa.int64() for role, name in names.items()}
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(block),
            pa.csv.ReadOptions(
                use_threads=False,
                block_size=len(block) + 1,
                column_names=[f"c{index}" for index in range(form.width)],
                skip_rows=skip_rows,
            ),
            pa.csv.ParseOptions(
                delimiter=form.delimiter, quote_char='"' if quoted else False, invalid_row_handler=on_invalid_row, newlines_in_values=quoted
            ),
            pa.csv.ConvertOptions(
                check_utf8=False,
                column_types=types,
                include_columns=sorted(set(names.values())),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        return parsed if "Empty CSV file" in str(error) else None
    parsed.num_rows = table.num_rows + parsed.wrong_width
    if quoted and parsed.num_rows != _line_count(block) - skip_rows:
        return None
    for role, name in names.items():
        parsed.columns[role] = [narrow(chunk) for chunk in table.column(name).chunks]
    return parsed


def _line_count(block: bytes) -> int:
    """Lines that are not empty."""
    return sum(1 for line in block.splitlines() if line)
