"""Reads log and item files (CSV, gzip or zstd CSV, Parquet) in batches of Arrow columns, one per role."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet

from data_prep import csv_file
from data_prep.bad_rows import BadRows
from data_prep.columns import Layout, locate
from data_prep.csv_file import ParsedBlock, decode_errors_silenced, inspect_csv, parse_block
from data_prep.errors import DataError
from data_prep.parallel import ordered_map
from data_prep.parsing import narrow
from data_prep.progress import Progress
from data_prep.sources import TextFile, is_parquet, require_files
from data_prep.text_stream import line_blocks

PARQUET_BATCH_ROWS = 1 << 19
logger = logging.getLogger(__name__)
Batch = Mapping[str, pa.Array]
Product = TypeVar("Product")


@dataclass(frozen=True)
class FileOptions:
    """How the files of one kind are to be read.

    Attributes:
        mapping: role -> column name or position; empty for ``layout``.
        layout: the default layout.
        header: whether CSV files start with a header.
        delimiter: character between CSV columns.
        skip: roles that need not be read.
        text_roles: roles that are text whatever they look like.
        workers: threads.
    """

    mapping: Mapping[str, str]
    layout: Layout
    header: Literal["auto", "yes", "no"] = "auto"
    delimiter: str = ","
    skip: frozenset[str] = frozenset()
    text_roles: frozenset[str] = frozenset()
    workers: int = 1


@dataclass
class ReadFacts:
    """What is known of the files after they were read.

    Attributes:
        num_rows: rows read, those of the wrong width included.
        roles: roles that the files have.
        headers: per file whether it started with a header (always true of Parquet).
        has_timestamps: whether the time column is a Parquet timestamp, converted to milliseconds.
    """

    num_rows: int = 0
    roles: frozenset[str] = frozenset()
    headers: list[bool] = field(default_factory=list)
    has_timestamps: bool = False


class LogReader(Generic[Product]):
    """Reads files of one kind one after the other, as one log.

    Args:
        paths: the files; Parquet, gzip and zstd are recognised by their first bytes.
        options: how to read them.
        bad: counter, which receives rows of the wrong width and limits them.
        transform: applied to every batch (role -> int64, double or string array, equal lengths), in the worker threads.

    Raises:
        DataError: a file is missing or empty (at once); while iterating: it is no text, is damaged, lacks a column, or has too many rows
            of the wrong width.
    """

    def __init__(self, paths: Sequence[Path], options: FileOptions, bad: BadRows, transform: Callable[[Batch], Product]) -> None:
        require_files(paths)
        self._paths, self._options, self._bad, self._transform = list(paths), options, bad, transform
        self._done_bytes = 0
        self._progress = Progress("reading", sum(path.stat().st_size for path in self._paths))
        self.facts = ReadFacts()

    def __iter__(self) -> Iterator[Product]:
        timestamps: set[bool] = set()
        for path in self._paths:
            try:
                if is_parquet(path):
                    roles, is_timestamp, batches = self._parquet(path)
                else:
                    roles, is_timestamp, batches = self._csv(path)
                if self.facts.roles and roles != self.facts.roles:
                    raise DataError(
                        f"{path} has the columns {sorted(roles)}, the files before it {sorted(self.facts.roles)}; convert like files only"
                    )
                self.facts.roles = roles
                timestamps.add(is_timestamp)
                yield from batches
            except (pa.ArrowException, OSError) as error:
                raise DataError(
                    f"{path} is damaged or not what its format says ({str(error).splitlines()[0]}); get an intact copy"
                ) from error
            self._done_bytes += path.stat().st_size
        if self.facts.num_rows == 0:
            raise DataError(f"{', '.join(str(path) for path in self._paths)}: no rows; the log needs at least one")
        if len(timestamps) > 1:
            raise DataError("some files hold the time as Parquet timestamps, others as numbers; convert like files only")
        self.facts.has_timestamps = True in timestamps
        self._progress.finish(self.facts.num_rows)

    def _csv(self, path: Path) -> tuple[frozenset[str], bool, Iterator[Product]]:
        options = self._options
        form = inspect_csv(
            path, options.mapping, options.layout, options.header, options.delimiter, options.skip, text_roles=options.text_roles
        )
        self.facts.headers.append(form.with_header)

        def parse(block: tuple[int, memoryview, int]) -> tuple[ParsedBlock, list[Product], int]:
            index, text, position = block
            parsed = parse_block(text, form, first=index == 0)
            pieces = zip(*parsed.columns.values(), strict=True)
            return parsed, [self._transform(dict(zip(parsed.columns, piece, strict=True))) for piece in pieces], position

        def blocks(stream: TextFile) -> Iterator[tuple[int, memoryview, int]]:
            for index, text in enumerate(line_blocks(stream, csv_file.BLOCK_BYTES, str(path))):
                yield index, text, stream.tell()

        def products() -> Iterator[Product]:
            with TextFile(path) as stream, decode_errors_silenced():
                for parsed, made, position in ordered_map(parse, blocks(stream), options.workers):
                    self._count(parsed, position, path)
                    yield from made

        return frozenset(form.positions), False, products()

    def _count(self, parsed: ParsedBlock, position: int, path: Path) -> None:
        self.facts.num_rows += parsed.num_rows
        self._bad.add("wrong_number_of_columns", parsed.wrong_width, parsed.example)
        if self._bad.exhausted():
            self._bad.check(self.facts.num_rows, str(path))
        self._progress.update(self._done_bytes + position, self.facts.num_rows)

    def _parquet(self, path: Path) -> tuple[frozenset[str], bool, Iterator[Product]]:
        options = self._options
        self.facts.headers.append(True)
        with pa.parquet.ParquetFile(path) as file:
            schema, total_rows = file.schema_arrow, file.metadata.num_rows
        positions = locate(schema.names, len(schema.names), options.mapping, options.layout, str(path))
        wanted = {role: schema.field(position) for role, position in positions.items() if role not in options.skip}
        logger.info("%s: Parquet, %s", path.name, ", ".join(f"{role} = {column.name}" for role, column in wanted.items()))
        for role, column in wanted.items():
            kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
            usable = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
            if not (usable or (role == "time" and pa.types.is_timestamp(kind))):
                raise DataError(f"{path}: column {column.name!r} ({role}) is of type {column.type}; it must hold integers or strings")

        def parse(batch: pa.RecordBatch) -> tuple[int, Product]:
            return batch.num_rows, self._transform({role: narrow(batch.column(column.name)) for role, column in wanted.items()})

        def products() -> Iterator[Product]:
            size, rows = path.stat().st_size, 0
            with pa.parquet.ParquetFile(path) as file:
                batches = file.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=sorted({column.name for column in wanted.values()}))
                for num_rows, made in ordered_map(parse, batches, options.workers):
                    rows += num_rows
                    self.facts.num_rows += num_rows
                    self._progress.update(self._done_bytes + size * rows // max(total_rows, 1), self.facts.num_rows)
                    yield made

        is_timestamp = "time" in wanted and pa.types.is_timestamp(wanted["time"].type)
        return frozenset(wanted), is_timestamp, products()


@dataclass(frozen=True)
class RawTable:
    """The columns of all files in memory, in file order: role -> chunks (int64, double, or string), and the rows read."""

    columns: dict[str, list[pa.Array]]
    num_rows: int


def read_tables(paths: Sequence[Path], options: FileOptions, bad: BadRows) -> RawTable:
    """Reads small files whole; arguments and errors as of `LogReader`."""
    reader: LogReader[Batch] = LogReader(paths, options, bad, lambda batch: batch)
    columns: dict[str, list[pa.Array]] = {}
    for batch in reader:
        for role, chunk in batch.items():
            columns.setdefault(role, []).append(chunk)
    if not columns:
        columns = {role: [] for role in reader.facts.roles}
    return RawTable(columns, reader.facts.num_rows)
