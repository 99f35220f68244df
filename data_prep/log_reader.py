"""Reads log and item files (CSV, JSON lines, Parquet, packed or not) in batches of Arrow columns, one per role."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Generic, Literal, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from data_prep import csv_file
from data_prep.bad_rows import BadRows
from data_prep.columns import Layout
from data_prep.csv_file import ParsedBlock, parse_block, records_end
from data_prep.csv_format import DEFAULT_TEXT, CsvFormat, TextOptions, inspect_csv
from data_prep.errors import DataError
from data_prep.item_lists import explode_items
from data_prep.json_file import JsonFormat, inspect_json, is_json, parse_json
from data_prep.parallel import ordered_map
from data_prep.parquet_file import ParquetFormat, inspect_parquet
from data_prep.parsing import narrow_ids
from data_prep.progress import Progress
from data_prep.sources import TextFile, is_parquet, partition_values, require_files
from data_prep.text_columns import clean_text, repeated, to_text
from data_prep.text_stream import line_blocks, skip_bytes
from data_prep.times import DEFAULT_TIMES, TimeOptions, narrow_times

logger = logging.getLogger(__name__)
PARQUET_BATCH_ROWS = 1 << 19
Batch = Mapping[str, pa.Array]
Product = TypeVar("Product")
_Piece = tuple[memoryview, int]


@dataclass(frozen=True)
class FileOptions:
    """How the files of one kind are to be read.

    Attributes:
        mapping: role -> column name or position; empty for ``layout``.
        layout: the default layout.
        header: whether CSV files start with a header.
        text: how text files are written.
        times: how times are written, and which texts mean "missing".
        skip: roles that need not be read.
        text_roles: roles that stay text whatever they look like.
        item_lists: what separates listed items, and their kinds (None for none); None where a row has one item.
        workers: threads.
        max_rows: rows to read at most, in whole batches.
    """

    mapping: Mapping[str, str]
    layout: Layout
    header: Literal["auto", "yes", "no"] = "auto"
    text: TextOptions = DEFAULT_TEXT
    times: TimeOptions = DEFAULT_TIMES
    skip: frozenset[str] = frozenset()
    text_roles: frozenset[str] = frozenset()
    item_lists: tuple[str, str | None] | None = None
    workers: int = 1
    max_rows: int | None = None

    def narrow(self, role: str, column: pa.Array) -> pa.Array:
        """A column as the role asks: ids as int64 or string, times as `data_prep.times` says, other text as it is."""
        if role == "time":
            return narrow_times(column, self.times)
        if role in self.text_roles:
            return clean_text(pc.ascii_trim_whitespace(to_text(column)), self.times.null_words)[0]
        return narrow_ids(column, self.times.null_words)


@dataclass
class ReadFacts:
    """What is known of the files after they were read.

    Attributes:
        num_rows: rows read, those that could not be split included.
        roles: roles that the files have.
        headers: per file whether it started with a header (always true of JSON and Parquet).
        formats: per file what was decided about it.
        partition_columns: role -> column that stands in the names of directories.
        null_words: user and item ids that are spelled as missing, by role; an empty one is not spelled.
    """

    num_rows: int = 0
    roles: frozenset[str] = frozenset()
    headers: list[bool] = field(default_factory=list)
    formats: list[CsvFormat | JsonFormat | ParquetFormat] = field(default_factory=list)
    null_words: dict[str, int] = field(default_factory=dict)
    partition_columns: dict[str, str] = field(default_factory=dict)


class LogReader(Generic[Product]):
    """Reads files of one kind one after the other, as one log.

    Args:
        paths: the files; formats and compression are recognised by their first bytes.
        options: how to read them.
        bad: counter, which receives lines that are no row and limits them.
        transform: applied to every batch (role -> int32, int64, timestamp or string array, equal lengths), in the worker threads.

    Raises:
        DataError: a file is missing or empty (at once); while iterating: it is no text, is damaged, lacks a column, or has too many lines
            that are no row.
    """

    def __init__(self, paths: Sequence[Path], options: FileOptions, bad: BadRows, transform: Callable[[Batch], Product]) -> None:
        require_files(paths)
        self._paths, self._options, self._bad, self._transform = list(paths), options, bad, transform
        self._done_bytes = 0
        self._lock = Lock()
        self._progress = Progress("reading", sum(path.stat().st_size for path in self._paths))
        self.facts = ReadFacts()

    def __iter__(self) -> Iterator[Product]:
        for path in self._paths:
            try:
                yield from self._read(path)
            except (pa.ArrowException, OSError) as error:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                raise DataError(f"{path} is damaged or not what its format says ({reason}); get an intact copy") from error
            self._done_bytes += path.stat().st_size
            if self._is_full():
                return
        if self.facts.num_rows == 0:
            raise DataError(f"{', '.join(str(path) for path in self._paths)}: no rows; the log needs at least one")
        self._progress.finish(self.facts.num_rows)

    def _is_full(self) -> bool:
        return self._options.max_rows is not None and self.facts.num_rows >= self._options.max_rows

    def _read(self, path: Path) -> Iterator[Product]:
        constants, mapping, layout = self._constants(path)
        options = replace(self._options, mapping=mapping, layout=layout)
        reader = self._parquet if is_parquet(path) else self._json if is_json(path, options.text.encoding) else self._csv
        roles, products = reader(path, options, constants)
        roles = roles | set(constants) | ({"behavior"} if options.item_lists and options.item_lists[1] else set())
        if self.facts.roles and roles != self.facts.roles:
            raise DataError(
                f"{path} has the columns {sorted(roles)}, the files before it {sorted(self.facts.roles)}; convert like files only"
            )
        self.facts.roles = roles
        for made in products:
            yield made
            if self._is_full():
                return

    def _constants(self, path: Path) -> tuple[dict[str, str | None], Mapping[str, str], Layout]:
        """Roles whose value stands in the names of the file's directories, and mapping and layout of the others."""
        mapping, layout = self._options.mapping, self._options.layout
        values = {name.casefold(): value for name, value in partition_values(path).items()}
        named = dict(mapping) or dict(layout.names)
        found = {role: values[column.casefold()] for role, column in named.items() if column.casefold() in values}
        if not found:
            return found, mapping, layout
        read = {role: value for role, value in found.items() if role not in self._options.skip}
        self.facts.partition_columns = {role: named[role] for role in read}
        if read:
            logger.info(
                "%s: of its directories %s", path.name, ", ".join(f"{role} = {named[role]}: {value}" for role, value in read.items())
            )
        rest = {role: column for role, column in mapping.items() if role not in found}
        names = {role: column for role, column in layout.names.items() if role not in found}
        return read, rest, replace(layout, names=names, positions={r: p for r, p in layout.positions.items() if r not in found})

    def _made(self, columns: Batch, constants: Mapping[str, str | None]) -> Product:
        rows = len(next(iter(columns.values())))
        given = {**columns, **{role: repeated(value, rows) for role, value in constants.items()}}
        if self._options.item_lists:
            given = explode_items(given, *self._options.item_lists)
        narrowed = {role: self._options.narrow(role, column) for role, column in given.items()}
        for role in {"user", "item"} & set(narrowed):
            self._note_null_words(role, given[role], narrowed[role])
        return self._transform(narrowed)

    def _note_null_words(self, role: str, given: pa.Array, narrowed: pa.Array) -> None:
        """Counts the values that became null, the empty ones excepted."""
        if narrowed.null_count > given.null_count and pa.types.is_string(given.type):
            empty = pc.sum(pc.equal(pc.binary_length(given), 0)).as_py() or 0
            spelled = narrowed.null_count - given.null_count - empty
            with self._lock:
                self.facts.null_words[role] = self.facts.null_words.get(role, 0) + max(0, spelled)

    def _text(
        self,
        path: Path,
        parse: Callable[[memoryview], ParsedBlock],
        skip: int,
        end: Callable[[bytes, int], int] | None,
        constants: Mapping[str, str | None],
        reason: str,
    ) -> Iterator[Product]:
        def work(piece: _Piece) -> tuple[ParsedBlock, list[Product], int]:
            block, position = piece
            parsed = parse(block)
            batches = [dict(zip(parsed.columns, chunks, strict=True)) for chunks in zip(*parsed.columns.values(), strict=True)]
            return parsed, [self._made(batch, constants) for batch in batches], position

        def pieces(stream: TextFile) -> Iterator[_Piece]:
            skip_bytes(stream, skip)
            for block in line_blocks(stream, csv_file.BLOCK_BYTES, str(path), end):
                yield block, stream.tell()

        with TextFile(path, self._options.text.encoding) as stream:
            for parsed, made, position in ordered_map(work, pieces(stream), self._options.workers):
                self.facts.num_rows += parsed.num_rows
                self._bad.add(reason, parsed.no_rows, parsed.example)
                if self._bad.exhausted():
                    self._bad.check(self.facts.num_rows, str(path))
                self._progress.update(self._done_bytes + position, self.facts.num_rows)
                yield from made

    def _csv(self, path: Path, options: FileOptions, constants: Mapping[str, str | None]) -> tuple[frozenset[str], Iterator[Product]]:
        form = inspect_csv(
            path, options.mapping, options.layout, options.header, options.text, options.times, options.skip, options.text_roles
        )
        form = replace(form, dialect=replace(form.dialect, max_quoted=csv_file.BLOCK_BYTES // 4))  # a block holds the longest field
        self.facts.headers.append(form.with_header)
        self.facts.formats.append(form)
        rows = self._text(
            path, lambda block: parse_block(block, form), form.skip_bytes, records_end(form), constants, "wrong_number_of_columns"
        )
        return frozenset(form.positions), rows

    def _json(self, path: Path, options: FileOptions, constants: Mapping[str, str | None]) -> tuple[frozenset[str], Iterator[Product]]:
        form = inspect_json(path, options.mapping, options.layout, options.skip, options.text.encoding)
        self.facts.headers.append(True)
        self.facts.formats.append(form)
        return frozenset(form.keys), self._text(path, lambda block: parse_json(block, form), form.skip_bytes, None, constants, "not_json")

    def _parquet(self, path: Path, options: FileOptions, constants: Mapping[str, str | None]) -> tuple[frozenset[str], Iterator[Product]]:
        form = inspect_parquet(path, options.mapping, options.layout, options.skip)
        self.facts.headers.append(True)
        self.facts.formats.append(form)

        def parse(batch: pa.RecordBatch) -> tuple[int, Product]:
            columns = form.read(batch)
            form.require_exact(columns)
            return batch.num_rows, self._made(columns, constants)

        def products() -> Iterator[Product]:
            size, rows = path.stat().st_size, 0
            with pa.parquet.ParquetFile(path) as file:
                batches = file.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=form.columns)
                for num_rows, made in ordered_map(parse, batches, options.workers):
                    rows += num_rows
                    self.facts.num_rows += num_rows
                    self._progress.update(self._done_bytes + size * rows // max(form.num_rows, 1), self.facts.num_rows)
                    yield made

        return frozenset(form.paths), products()


@dataclass(frozen=True)
class RawTable:
    """The columns of all files in memory, in file order: role -> chunks (int64 or string), and the rows read."""

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
