"""Reads CSV text into Arrow columns, block by block, so that damage costs time only where it is.

A block whose wanted columns are all plain integers is read by `ops.csv_integers`. If that fails in a block without quotes, the block is
halved until the damage is alone in a small piece; pieces that are left, and files whose columns are text, are read by `ops.csv_text`,
which decides row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from data_prep.csv_format import CsvFormat
from data_prep.text_columns import text_array
from ops.csv_integers import csv_integers
from ops.csv_text import TextColumns, csv_text

BLOCK_BYTES = 1 << 22  # with its columns it fits into the caches
PIECE_BYTES = 1 << 14
_UNUSED = b"\x1f"  # stands for a delimiter of several characters


@dataclass
class ParsedBlock:
    """Columns of a block of lines: role -> chunks, and the lines that are no row, by reason (``example``: the first of them)."""

    columns: dict[str, list[pa.Array]] = field(default_factory=dict)
    num_rows: int = 0
    no_rows: int = 0
    example: str = ""

    def extend(self, other: ParsedBlock) -> None:
        """Appends the rows of a block that follows."""
        for role, chunks in other.columns.items():
            self.columns.setdefault(role, []).extend(chunks)
        if not self.no_rows:
            self.example = other.example
        self.num_rows += other.num_rows
        self.no_rows += other.no_rows


def records_end(form: CsvFormat) -> Callable[[bytes, int], int] | None:
    """A function that says where the last whole record ends among the first bytes of a block; None if a record is a line."""
    quote = form.dialect.quote
    if not quote:
        return None

    def end(block: bytes, size: int) -> int:
        if quote not in block:
            return size
        return csv_text(memoryview(block)[:size], form.dialect, width=form.width, columns=[], at_end=False).num_bytes

    return end


def parse_block(block: bytes | memoryview, form: CsvFormat) -> ParsedBlock:
    """Reads a block of whole records.

    Args:
        block: the text.
        form: how to read it.
    """
    if _is_native(form):
        if (quick := _parse_natively(block, form)) is not None:
            return quick
        text = bytes(block)
        half = len(text) // 2
        cut = text.rfind(b"\n", 0, half)
        cut = cut if cut > 0 else text.find(b"\n", half)
        if len(text) > PIECE_BYTES and 0 < cut < len(text) - 1 and not (form.dialect.quote and form.dialect.quote in text):
            parsed = parse_block(text[: cut + 1], form)
            parsed.extend(parse_block(text[cut + 1 :], form))
            return parsed
    return _parse_text(csv_text(block, form.dialect, width=form.width, columns=_columns(form)), form)


def _columns(form: CsvFormat) -> list[int]:
    return sorted(set(form.positions.values()))


def _parse_text(found: TextColumns, form: CsvFormat) -> ParsedBlock:
    arrays = [text_array(offsets, data) for offsets, data in zip(found.offsets, found.data, strict=True)]
    place = {column: number for number, column in enumerate(_columns(form))}
    return ParsedBlock(
        columns={role: [arrays[place[column]]] for role, column in form.positions.items()},
        num_rows=found.num_rows + found.wrong_width,
        no_rows=found.wrong_width,
        example=found.example.decode("utf-8", errors="replace"),
    )


def _is_native(form: CsvFormat) -> bool:
    """Whether `csv_integers` may be able to read the file."""
    return not (form.text_roles or form.dialect.comment or len(set(form.positions.values())) < len(form.positions))


def _parse_natively(block: bytes | memoryview, form: CsvFormat) -> ParsedBlock | None:
    """A block without any flaw whose wanted columns are all plain integers, several times faster than as text; else None."""
    positions, dialect = list(form.positions.values()), form.dialect
    delimiter = dialect.delimiter
    if len(delimiter) > 1:
        block = bytes(block)
        if _UNUSED in block or (dialect.quote and dialect.quote in block):
            return None
        block, delimiter = block.replace(delimiter, _UNUSED), _UNUSED
    found = csv_integers(block, width=form.width, columns=positions, delimiter=delimiter.decode(), quote=dialect.quote.decode())
    if found is None:
        return None
    columns = {role: [pa.array(values)] for role, values in zip(form.positions, found, strict=True)}
    return ParsedBlock(columns=columns, num_rows=len(found[0]))
