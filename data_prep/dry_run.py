"""What a conversion would make of a log: its first rows read, what was decided about them, and the command that says so explicitly."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_prep.bad_rows import BadRows
from data_prep.behaviors import describe_kinds, missing_kinds
from data_prep.config import ID_ROLES, ConvertConfig
from data_prep.csv_format import CsvFormat
from data_prep.file_options import log_options
from data_prep.json_file import JsonFormat
from data_prep.log_reader import Batch, LogReader, ReadFacts
from data_prep.option_values import shown_delimiter
from data_prep.parquet_file import ParquetFormat
from data_prep.reading import BatchReader, LogFacts, describe_types, in_order
from data_prep.rules import GoodRows, Rules, good_rows, settle_rules
from data_prep.sources import expand_directories, require_files
from data_prep.times import SCALES
from data_prep.vocabulary import Ids
from ops.text_values import format_micros

DRY_RUN_ROWS = 100_000
SHOWN_ROWS = 5


@dataclass(frozen=True)
class DryRun:
    """Outcome of a dry run.

    Attributes:
        num_rows: rows read.
        decisions: what was decided, in sentences.
        rows: the first good rows as understood, role -> text.
        bad_rows: bad rows among those read, by reason, with an example each.
        options: options that say every decision explicitly, flag -> value.
    """

    num_rows: int
    decisions: list[str]
    rows: list[dict[str, str]]
    bad_rows: list[str]
    options: dict[str, str]

    def command(self, inputs: Sequence[Path], dataset: Path | None) -> str:
        """The whole command line."""
        words = ["nann", "convert", *(word for path in inputs for word in ("--input", str(path)))]
        words += ["--dataset", "DATASET" if dataset is None else str(dataset)]
        return shlex.join([*words, *(word for pair in self.options.items() for word in pair)])


def dry_run(inputs: Sequence[Path], config: ConvertConfig) -> DryRun:
    """Reads the first `DRY_RUN_ROWS` rows of a log and decides about them as a conversion would.

    Args:
        inputs: log files and directories.
        config: the options, those of a well-known log included.

    Raises:
        DataError: a file is missing, damaged, or lacks a column.
    """
    paths = expand_directories(inputs)
    require_files(paths)
    read, facts, batches, bad = _read(paths, config)
    rules = settle_rules(facts.ids, facts.times, config=config)
    rows: list[dict[str, str]] = []
    for batch in batches:
        good = good_rows(batch, rules)
        bad.merge(good.bad)
        rows += _shown(good, rules, config, SHOWN_ROWS - len(rows))
    decisions = [_describe(path, form) for path, form in zip(paths, read.formats, strict=False)]
    decisions.append(describe_types(facts, rules, config))
    if config.behaviors:
        decisions.append(f"behaviors: {describe_kinds(facts.kinds) or 'none'}")
        absent = missing_kinds(facts.kinds, config.behavior_names)
        decisions += [f"behaviors that do not occur in these rows: {', '.join(absent)}"] if absent else []
    reasons = [f"{reason} {count:,} (first: {bad.example(reason)})" for reason, count in sorted(bad.by_reason.items())]
    return DryRun(read.num_rows, decisions, rows, reasons, _options(config, read, facts, rules))


def _read(paths: Sequence[Path], config: ConvertConfig) -> tuple[ReadFacts, LogFacts, list[dict[str, pa.Array]], BadRows]:
    """The first rows, in batches, what they come to, and the lines among them that are no row."""
    bad, unlimited = BadRows(1 << 62, 1.0), log_options(config, workers=1, max_rows=DRY_RUN_ROWS)
    reader: LogReader[Batch] = LogReader(paths, unlimited, bad, lambda batch: batch)
    decide, facts, batches, left = BatchReader(config, pack=False), LogFacts(), [], DRY_RUN_ROWS
    for batch in reader:
        first = {role: column.slice(0, left) for role, column in batch.items()}
        left -= len(first["user"])
        product = decide(first)
        batches.append(in_order(product.batch, facts.num_kept) if config.time == "order" else product.batch)
        facts.add(product)
        if left <= 0:
            break
    reader.facts.num_rows = min(reader.facts.num_rows, DRY_RUN_ROWS)
    return reader.facts, facts, batches, bad


def _describe(path: Path, form: CsvFormat | JsonFormat | ParquetFormat) -> str:
    if isinstance(form, CsvFormat):
        quote = f"quotes {form.dialect.quote.decode()}" if form.dialect.quote else "no quotes"
        header = "with a header" if form.with_header else "without a header"
        places = ", ".join(f"{role} = column {place}{_named(form, place)}" for role, place in form.positions.items())
        return f"{path.name}: CSV of {form.width} columns, delimiter {form.dialect.delimiter.decode()!r}, {quote}, {header}: {places}"
    kind, paths = ("JSON lines", form.keys) if isinstance(form, JsonFormat) else ("Parquet", form.paths)
    return f"{path.name}: {kind}: {', '.join(f'{role} = {chr(46).join(key)}' for role, key in paths.items())}"


def _named(form: CsvFormat, place: int) -> str:
    return f" ({form.names[place]})" if form.names else ""


def _shown(good: GoodRows, rules: Rules, config: ConvertConfig, count: int) -> list[dict[str, str]]:
    rows = []
    for row in range(min(count, len(good.times))):
        shown = {"user": _text(good.users, row), "item": _text(good.items, row)}
        if good.categories is not None:
            known = good.has_category is None or bool(good.has_category[row])
            shown["category"] = _text(good.categories, row) if known else "(none)"
        if good.behaviors is not None:
            shown["behavior"] = config.behavior_names[int(good.behaviors[row])]
        micros = int(good.times[row]) * (SCALES["us"] // SCALES[rules.unit])
        shown["time"] = str(int(good.times[row])) if config.time == "order" else f"{format_micros(micros)} UTC"
        rows.append(shown)
    return rows


def _text(ids: Ids, row: int) -> str:
    value = ids[row]
    return str(value) if isinstance(value, np.generic) else repr(value.as_py())


def _options(config: ConvertConfig, read: ReadFacts, facts: LogFacts, rules: Rules) -> dict[str, str]:
    """Flag -> value of what was decided, and of what was given."""
    given = {f"--{name.replace('_', '-')}": _typed(getattr(config, name)) for name in config.model_fields_set - {"format"}}
    form = read.formats[0] if read.formats else None
    decided: dict[str, str] = {}
    if isinstance(form, CsvFormat):
        names = {role: form.names[place] if form.names else place for role, place in form.positions.items()}
        decided["--columns"] = _typed({**read.partition_columns, **names})
        decided["--header"] = "yes" if form.with_header else "no"
        decided["--delimiter"] = shown_delimiter(form.dialect.delimiter.decode())
        decided["--quote"] = form.dialect.quote.decode() or "none"
    elif form is not None:
        paths = form.keys if isinstance(form, JsonFormat) else form.paths
        decided["--columns"] = _typed({**read.partition_columns, **{role: ".".join(path) for role, path in paths.items()}})
    types = {role: "string" if role in rules.string_roles else "int" for role in ID_ROLES if role in facts.ids}
    if config.items is not None and (asked := config.id_type_of("category")) != "auto":
        types["category"] = asked
    is_one = len(set(types.values())) == 1 and ("category" in types or config.items is None)  # it would hold for the items file too
    decided["--id-type"] = next(iter(types.values())) if is_one else _typed(types)
    if config.format is not None and missing_kinds(facts.kinds, config.behavior_names):
        decided["--format"] = config.format  # kinds that it knows need not occur
    if any(facts.times.numbers):
        decided["--time-unit"] = rules.times.number_unit
    if any(facts.times.moments):
        decided["--time-zone"] = config.time_zone
    return dict(sorted((given | decided).items()))


def _typed(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={part}" for key, part in value.items())
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    return shown_delimiter(str(value))
