"""Rows of delimited text as columns of text, natively (`ops/cc/data/csv_text.cc`) or, without the native library, in Python.

RFC 4180 with recovery: a record whose quotes do not come out costs only its own line. First a record is split as the RFC says; if it
takes several lines it counts only with the right number of fields. If its quotes are malformed its first line is taken alone, stray
quotes being content; if that has the wrong number of fields, with quotes as ordinary characters.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ops.data_library import address, load_data_library

MAX_QUOTED = 1 << 20
ANY_WIDTH = -1
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLANKS = b" \t\v\f\n\r"
_local = threading.local()


@dataclass(frozen=True)
class Dialect:
    """How the text is written.

    Attributes:
        delimiter: between fields, one byte or more.
        quote: the byte that quoted fields begin and end with; empty for none.
        comment: what a line that is no row begins with; empty for none.
        max_quoted: bytes of the longest quoted field; what is longer is a lone quote.
    """

    delimiter: bytes = b","
    quote: bytes = b'"'
    comment: bytes = b""
    max_quoted: int = MAX_QUOTED


@dataclass(frozen=True)
class TextColumns:
    """Columns of a block.

    Attributes:
        offsets: per column [n + 1] int32.
        data: per column uint8; value i is data[offsets[i]:offsets[i + 1]], blanks at its ends and its quotes taken off.
        num_rows: n.
        wrong_width: records with another number of fields, which are no rows.
        example: the first line of the first of these.
        num_bytes: bytes read; less than the block only where a record may go on behind it.
    """

    offsets: list[np.ndarray]
    data: list[np.ndarray]
    num_rows: int
    wrong_width: int
    example: bytes
    num_bytes: int


def csv_text(block: bytes | memoryview, dialect: Dialect, *, width: int, columns: Sequence[int], at_end: bool = True) -> TextColumns:
    """Reads columns of a block of lines. The interpreter lock is free meanwhile.

    Args:
        block: whole lines; empty ones and comments do not count.
        dialect: how it is written.
        width: fields of every row.
        columns: the columns wanted, from 0, distinct; none to find the records alone.
        at_end: nothing follows the block; otherwise a record that may go on behind it is left out (`num_bytes`).
    """
    library = load_data_library()
    if library is None:
        return _in_python(bytes(block), dialect, width, columns, at_end)
    text = np.frombuffer(block, np.uint8)
    capacity = len(text) // max((width - 1) * len(dialect.delimiter) + 1, 2) + 2
    offsets, data = _scratch(len(columns), capacity + 1, len(text))
    wanted = np.full(width, -1, np.int32)
    wanted[list(columns)] = np.arange(len(columns), dtype=np.int32)
    facts = np.zeros(4, np.int64)
    rows = library.nann_csv_text(
        address(text),
        len(text),
        int(at_end),
        dialect.delimiter,
        len(dialect.delimiter),
        dialect.quote[0] if dialect.quote else -1,
        dialect.comment,
        len(dialect.comment),
        width,
        dialect.max_quoted,
        address(wanted),
        len(columns),
        (ctypes.c_void_p * len(columns))(*(address(array) for array in offsets)),
        (ctypes.c_void_p * len(columns))(*(address(array) for array in data)),
        capacity,
        address(facts),
    )
    if rows < 0:
        raise RuntimeError(f"a block of {len(text):,} bytes has more rows than {width} columns allow; report this with the file")
    num_bytes, wrong_width, begin, end = (int(fact) for fact in facts)
    found = [array[: rows + 1].copy() for array in offsets]
    return TextColumns(
        found,
        [array[: ends[-1]].copy() for array, ends in zip(data, found, strict=True)],
        rows,
        wrong_width,
        bytes(block[begin:end]) if wrong_width else b"",
        num_bytes,
    )


def _scratch(count: int, rows: int, size: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Arrays that this thread writes again and again: memory touched for the first time costs a page fault."""
    offsets, data = getattr(_local, "arrays", ([], []))
    if len(offsets) < count or (count and (len(offsets[0]) < rows or len(data[0]) < size)):
        offsets = [np.empty(rows, np.int32) for _ in range(count)]
        data = [np.empty(size, np.uint8) for _ in range(count)]
        _local.arrays = offsets, data
    return offsets[:count], data[:count]


@dataclass(frozen=True)
class Record:
    """A record of a text: where it begins, its fields, and whether its quotes had to be mended."""

    begin: int
    fields: list[bytes]
    recovered: bool = False


def split_records(block: bytes, dialect: Dialect, width: int) -> Iterator[Record]:
    """The records of a text, whatever their number of fields, in Python; for the first lines of a file.

    Args:
        block: the text.
        dialect: how it is written.
        width: fields of a row; a record of several lines must have as many, unless it is `ANY_WIDTH`.
    """
    for record in _records(block, dialect, width, at_end=True):
        if record.fields:
            yield record


def _records(block: bytes, dialect: Dialect, width: int, *, at_end: bool) -> Iterator[Record]:
    """Every record; at last one without fields, which begins where reading ended."""
    at = 0
    while at < len(block):
        if block[at : at + 1] in (b"\n", b"\r"):
            at += 1
            continue
        if dialect.comment and block.startswith(dialect.comment, at):
            at = _line(block, at)[0]
            continue
        found = _split(block, at, dialect, width, at_end)
        if found is None:
            break
        fields, after, recovered = found
        yield Record(at, fields, recovered)
        at = after
    yield Record(at, [])


def _line(block: bytes, at: int) -> tuple[int, int]:
    """Where the line ends, and where the next one begins."""
    end = _LINE_END.search(block, at)
    return end.span() if end else (len(block), len(block))


def _split(block: bytes, at: int, dialect: Dialect, width: int, at_end: bool) -> tuple[list[bytes], int, bool] | None:
    """Fields of the record, the begin of the next, whether it was mended; None where it may go on behind the block."""
    try:
        fields, after, several_lines = _strict(block, at, dialect, at_end)
    except EOFError:
        return None
    except ValueError:
        fields, several_lines = [], True
        attempts: tuple[bool, ...] = (True, False)
    else:
        attempts = (False,)
    if fields and (width in (len(fields), ANY_WIDTH) or not several_lines):
        return fields, after, False
    end, after = _line(block, at)
    for lenient in attempts:
        fields = _one_line(block[at:end], dialect, lenient)
        if len(fields) == width:
            break
    return fields, after, True


def _quoted(text: bytes, at: int, dialect: Dialect) -> int:
    """Where the content of a quoted field begins, or -1."""
    if not dialect.quote:
        return -1
    while text.startswith(b" ", at):
        at += 1
    return at + 1 if text.startswith(dialect.quote, at) else -1


def _after_blanks(text: bytes, at: int) -> int:
    while text.startswith(b" ", at):
        at += 1
    return at


def _strict(block: bytes, at: int, dialect: Dialect, at_end: bool) -> tuple[list[bytes], int, bool]:
    """As RFC 4180 says; ValueError where it is malformed, EOFError where it may go on behind the block."""
    fields, several_lines = [], False
    plain = re.compile(rb"\r|\n|" + re.escape(dialect.delimiter))
    while True:
        content = _quoted(block, at, dialect)
        if content < 0:
            stop = plain.search(block, at)
            end = stop.start() if stop else len(block)
            fields.append(block[at:end])
            at = end
        else:
            close = _close(block, content, dialect, at_end)
            fields.append(block[content:close].replace(dialect.quote * 2, dialect.quote))
            several_lines = several_lines or _line(block, content)[0] < close
            at = _after_blanks(block, close + 1)
        if at == len(block) or block[at : at + 1] in (b"\n", b"\r"):
            return fields, _line(block, at)[1], several_lines
        at += len(dialect.delimiter)


def _close(block: bytes, content: int, dialect: Dialect, at_end: bool) -> int:
    limit = min(len(block), content + dialect.max_quoted)
    at = content
    while True:
        at = block.find(dialect.quote, at, limit)
        if at < 0:
            raise EOFError if limit == len(block) and not at_end else ValueError
        if at + 1 < limit and block.startswith(dialect.quote, at + 1):
            at += 2
            continue
        after = _after_blanks(block, at + 1)
        if after == len(block) and not at_end:
            raise EOFError
        if after < len(block) and block[after : after + 1] not in (b"\n", b"\r") and not block.startswith(dialect.delimiter, after):
            raise ValueError
        return at


def _one_line(line: bytes, dialect: Dialect, lenient: bool) -> list[bytes]:
    if not lenient:
        return line.split(dialect.delimiter)
    fields, at = [], 0
    while True:
        content = _quoted(line, at, dialect)
        close = line.find(dialect.quote, content) if content >= 0 else -1
        while close >= 0:
            after = _after_blanks(line, close + 1)
            if after == len(line) or line.startswith(dialect.delimiter, after):
                break
            close = line.find(dialect.quote, close + 1)
        if close >= 0:
            fields.append(line[content:close].replace(dialect.quote * 2, dialect.quote))
            at = _after_blanks(line, close + 1)
        else:
            end = line.find(dialect.delimiter, at)
            end = len(line) if end < 0 else end
            fields.append(line[at:end])
            at = end
        if at == len(line):
            return fields
        at += len(dialect.delimiter)


def _in_python(block: bytes, dialect: Dialect, width: int, columns: Sequence[int], at_end: bool) -> TextColumns:
    values: list[list[bytes]] = [[] for _ in columns]
    wrong_width, example, num_rows, num_bytes = 0, b"", 0, 0
    for record in _records(block, dialect, width, at_end=at_end):
        num_bytes = record.begin
        if not record.fields:
            break
        if len(record.fields) != width:
            if not wrong_width:
                example = block[record.begin : _line(block, record.begin)[0]]
            wrong_width += 1
            continue
        num_rows += 1
        for column, place in zip(values, columns, strict=True):
            column.append(record.fields[place].strip(_BLANKS))
    offsets = [np.concatenate([[0], np.cumsum([len(value) for value in column])]).astype(np.int32) for column in values]
    data = [np.frombuffer(b"".join(column), np.uint8) for column in values]
    return TextColumns(offsets, data, num_rows, wrong_width, example, num_bytes)
