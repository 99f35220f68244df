"""How a CSV file is written, decided from its first lines: quotes, header, columns."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from data_prep.columns import Layout, decide_header, is_number, locate, usual_width
from data_prep.errors import DataError
from data_prep.option_values import shown_delimiter
from data_prep.text_stream import sample_text
from data_prep.time_formats import format_hint
from data_prep.times import DEFAULT_TIMES, TimeOptions
from ops.csv_text import ANY_WIDTH, Dialect, Record, split_records

TEXT_SHARE = 0.1  # a column is first read as text if more of the sampled values than this are no integers
SAMPLED_TIMES = 500
QUOTED_SHARE = 0.9  # of the bytes of whole rows, from which on quotes that change the number of fields count as such
OTHER_DELIMITERS = ("\t", ";", "||", "|", "::", "\x01", ",", " ")
REMARKS = ("#", "sep=")
_BOM = b"\xef\xbb\xbf"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextOptions:
    """How text files are written.

    Attributes:
        delimiter: one or more characters between CSV columns.
        quote: character around quoted fields, "none", or "auto" for a quote unless the file shows that it is plain text.
        comment: what a line that is no row begins with; empty: ``#`` before the header.
        encoding: of the text.
    """

    delimiter: str = ","
    quote: str = "auto"
    comment: str = ""
    encoding: str = "utf-8"


DEFAULT_TEXT = TextOptions()


@dataclass(frozen=True)
class CsvFormat:
    """How to read one file.

    Attributes:
        source: the file, for messages.
        positions: role -> column.
        width: number of columns.
        with_header: whether the first row holds names.
        skip_bytes: where the first row of data begins.
        dialect: delimiter, quote, comments.
        text_roles: roles that are read as text at once.
        names: of the columns; empty without a header.
        rows: fields of the sampled rows.
    """

    source: str
    positions: dict[str, int]
    width: int
    with_header: bool
    skip_bytes: int
    dialect: Dialect
    text_roles: frozenset[str]
    names: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class _Sample:
    """The first rows: fields, and where each begins (one more for the end)."""

    rows: list[list[str]]
    begins: list[int]
    width: int  # the usual number of fields
    clean: int  # rows of this width whose quotes are as RFC 4180 says
    clean_bytes: int  # that these take


def _lines(text: bytes, dialect: Dialect) -> list[Record]:
    """The records of a text without quotes, much faster."""
    records, begin = [], 0
    for line in text.splitlines(keepends=True):
        content = line.rstrip(b"\r\n")
        if content and not (dialect.comment and content.startswith(dialect.comment)):
            records.append(Record(begin, content.split(dialect.delimiter)))
        begin += len(line)
    return records


def _read_sample(text: bytes, dialect: Dialect) -> _Sample:
    if not dialect.quote or dialect.quote not in text:
        return _sample_of(_lines(text, dialect), len(text))
    # The width is needed to tell a quoted line break from a lone quote: that of single lines, or else that of records of any width.
    guesses = [_width(list(split_records(text, dialect, width))) for width in (0, ANY_WIDTH)]
    samples = [_sample_of(list(split_records(text, dialect, width)), len(text)) for width in dict.fromkeys(guesses)]
    return max(samples, key=lambda sample: sample.clean_bytes)


def _width(records: Sequence[Record]) -> int:
    return usual_width([record.fields for record in records]) if records else 0


def _sample_of(records: Sequence[Record], size: int) -> _Sample:
    rows = [[value.decode("utf-8", errors="replace").strip() for value in record.fields] for record in records]
    begins, width = [record.begin for record in records], _width(records)
    sizes = [end - begin for begin, end in itertools.pairwise([*begins, size])]
    clean = [length for record, length in zip(records, sizes, strict=True) if len(record.fields) == width and not record.recovered]
    return _Sample(rows, begins, width, len(clean), sum(clean))


def _choose_quote(text: bytes, options: TextOptions) -> Dialect:
    delimiter, comment = options.delimiter.encode(), options.comment.encode()
    if options.quote not in ("auto", "none"):
        return Dialect(delimiter, options.quote.encode(), comment)
    plain, quoted = Dialect(delimiter, b"", comment), Dialect(delimiter, b'"', comment)
    if options.quote == "none":
        return plain
    if b'"' not in text or _are_quotes(_read_sample(text, quoted), _read_sample(text, plain)):
        return quoted
    logger.info("quotes are plain characters here (give --quote '\"' if they are not)")
    return plain


def _are_quotes(quoted: _Sample, plain: _Sample) -> bool:
    """Whether a text is better read with its quotes, judged by the whole rows that it has with and without them."""
    if quoted.width == plain.width:
        return quoted.clean >= plain.clean
    return quoted.clean_bytes >= QUOTED_SHARE * plain.clean_bytes  # one record has several lines, or one line fewer fields


def _without_remarks(sample: _Sample) -> _Sample:
    """Leaves out lines before the first row that begin with ``#``, or with ``sep=`` as spreadsheets write it, and have another number of
    fields than the rows."""
    if not sample.rows[0][0].startswith(REMARKS):
        return sample
    width = usual_width([row for row in sample.rows if not row[0].startswith(REMARKS)] or sample.rows)
    first = 0
    while first < len(sample.rows) - 1 and sample.rows[first][0].startswith(REMARKS) and len(sample.rows[first]) != width:
        first += 1
    return replace(sample, rows=sample.rows[first:], begins=sample.begins[first:])


def inspect_csv(
    path: Path,
    mapping: Mapping[str, str],
    layout: Layout,
    header: Literal["auto", "yes", "no"],
    text: TextOptions = DEFAULT_TEXT,
    times: TimeOptions = DEFAULT_TIMES,
    skip: frozenset[str] = frozenset(),
    text_roles: frozenset[str] = frozenset(),
) -> CsvFormat:
    """Decides from a file's first lines how to read it.

    Args:
        path: the file; compression is recognised by its first bytes.
        mapping: role -> column name or position; empty for ``layout``.
        layout: the default layout.
        header: whether there is a header.
        text: how the text is written.
        times: how times are written.
        skip: roles that need not be read.
        text_roles: roles that are text whatever they look like.

    Raises:
        DataError: the file is no text, or lacks a column, or its times cannot be read.
        OSError: it is damaged.
    """
    sampled = sample_text(path, text.encoding)
    mark = len(_BOM) if sampled.startswith(_BOM) else 0
    dialect = _choose_quote(sampled[mark:], text)
    sample = _without_remarks(_read_sample(sampled[mark:], dialect))
    rows = sample.rows
    with_header = decide_header(rows, mapping, header, layout, times.reads)
    names = [rows[0][0].removeprefix("#").strip(), *rows[0][1:]] if with_header else None
    width = len(rows[0]) if with_header else usual_width(rows)
    needed = len(set(mapping.values()) if mapping else set(layout.names) - layout.optional)
    _require_delimiter(path, sampled[mark:], dialect, width, needed)
    positions = locate(names, width, mapping, layout, str(path))
    wanted = {role: position for role, position in positions.items() if role not in skip}
    logger.info(
        "%s: CSV, %s header, %s",
        path.name,
        "with" if with_header else "no",
        ", ".join(f"{role} = column {position}" + (f" ({names[position]})" if names else "") for role, position in wanted.items()),
    )
    body = [row for row in rows[int(with_header) :] if len(row) == width]
    if "time" in wanted:
        _require_times(path, [row[wanted["time"]] for row in body], times)
    as_text = {role for role, position in wanted.items() if sum(not _integral(row[position]) for row in body) > TEXT_SHARE * len(body)}
    if times.form.directives:
        as_text |= {"time"} & set(wanted)
    begin = sample.begins[int(with_header)] if len(sample.begins) > int(with_header) else len(sampled) - mark
    return CsvFormat(
        source=str(path),
        positions=wanted,
        width=width,
        with_header=with_header,
        skip_bytes=mark + begin,
        dialect=dialect,
        text_roles=frozenset(as_text | (text_roles & set(wanted))),
        names=tuple(names or ()),
        rows=tuple(tuple(row) for row in body),
    )


def _integral(text: str) -> bool:
    plain = (text.isascii() and text.isdigit()) or (is_number(text) and not set(text) & set(".eE"))
    return plain and not (len(text) > 1 and text.startswith("0"))


def _require_delimiter(path: Path, text: bytes, dialect: Dialect, width: int, needed: int) -> None:
    """Refuses a file with fewer columns than needed if another delimiter gives enough of them.

    Raises:
        DataError: it does.
    """
    if width >= needed:
        return
    for other in OTHER_DELIMITERS:
        rows = _read_sample(text, Dialect(other.encode(), dialect.quote, dialect.comment)).rows
        if other.encode() != dialect.delimiter and usual_width(rows) >= needed and len(rows[0]) > width:
            shown = shown_delimiter(other)
            raise DataError(
                f"{path}: {needed} columns are wanted, but the file has {width} columns with the delimiter "
                f"{dialect.delimiter.decode()!r} and {usual_width(rows)} with '{shown}'; give --delimiter '{shown}'"
            )


def _require_times(path: Path, values: Sequence[str], times: TimeOptions) -> None:
    """Refuses a file if most of its sampled times can be read in no way.

    Raises:
        DataError: they cannot.
    """
    present = [value for value in values if value and value not in times.null_words][:SAMPLED_TIMES]
    unreadable = [value for value in present if not times.reads(value)]
    if 2 * len(unreadable) <= len(present):
        return
    if times.form.directives:
        raise DataError(f"{path}: the time {unreadable[0]!r} is not of the format {times.form.directives!r}; {format_hint(unreadable[0])}")
    raise DataError(
        f"{path}: the time {unreadable[0]!r} is neither a number nor ISO 8601; {format_hint(unreadable[0])}, "
        "or check --columns, --header and --delimiter"
    )
