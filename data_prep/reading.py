"""First stage of a conversion: the log, in whatever format, into a spool, and the facts that settle its rules."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_prep.bad_rows import BadRows, Quoted
from data_prep.behaviors import add_kinds, describe_kinds, missing_kinds, require_kinds, select_kinds
from data_prep.config import ID_ROLES, ConvertConfig
from data_prep.errors import DataError
from data_prep.file_options import log_options
from data_prep.incremental import Base
from data_prep.json_text import read_json
from data_prep.log_reader import LogReader
from data_prep.opening import opening
from data_prep.parsing import IdFacts, id_facts
from data_prep.plan import replace_json
from data_prep.presets import kinds_of_format
from data_prep.rules import Rules, settle_rules
from data_prep.spool import Spool, SpoolWriter, pack_batch
from data_prep.times import TimeFacts, TimeOptions, time_facts

SPOOL_NAME, STATE_NAME = "log.spool", "log.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpooledLog:
    """The log on disk.

    Attributes:
        spool: its batches.
        rules: what a row must be.
        num_rows: rows read.
        headers: per file whether it started with a header.
        other_behaviors: rows left out because of their behaviour.
        roles: roles that the log has.
        no_rows: reason -> lines that were no row, and the first of them.
        null_words: role -> ids that are spelled as missing.
    """

    spool: Spool
    rules: Rules
    num_rows: int
    headers: list[bool]
    other_behaviors: int
    roles: frozenset[str]
    no_rows: dict[str, tuple[int, str]]
    null_words: dict[str, int]

    def bad_rows(self, config: ConvertConfig) -> BadRows:
        """A counter that begins with the lines that were no row, and expects as many missing ids as the log spells out."""
        expected = {f"{role}_missing": count for role, count in self.null_words.items()}
        bad = BadRows(config.max_bad_rows, config.max_bad_share, expected)
        for reason, (count, example) in self.no_rows.items():
            bad.add(reason, count, Quoted(example))
        return bad


@dataclass(frozen=True)
class _Product:
    batch: dict[str, pa.Array]
    packed: pa.Buffer | None
    num_rows: int
    ids: dict[str, IdFacts]
    times: TimeFacts
    other_behaviors: int
    kinds: dict[str, int]


@dataclass
class LogFacts:
    """What the batches of a log come to.

    Attributes:
        ids: facts per id column.
        times: facts of the time column.
        kinds: how often each kind of event occurs, where these are read.
        num_kept: rows of the kinds that are wanted.
        other_behaviors: rows of other kinds.
    """

    ids: dict[str, IdFacts] = field(default_factory=dict)
    times: TimeFacts = field(default_factory=TimeFacts)
    kinds: dict[str, int] = field(default_factory=dict)
    num_kept: int = 0
    other_behaviors: int = 0

    def add(self, product: _Product) -> None:
        """Adds a batch."""
        for role, facts in product.ids.items():
            self.ids.setdefault(role, IdFacts()).add(facts)
        self.times.add(product.times)
        add_kinds(self.kinds, product.kinds)
        self.num_kept += product.num_rows
        self.other_behaviors += product.other_behaviors


class BatchReader:
    """Reads the batches of a log, with the facts of each; the transform of a `LogReader`.

    Args:
        config: the options.
        pack: whether batches are packed in the worker threads.
    """

    def __init__(self, config: ConvertConfig, *, pack: bool) -> None:
        self._config, self._pack = config, pack
        self._times = TimeOptions.of(config)

    def __call__(self, batch: Mapping[str, pa.Array]) -> _Product:
        """The rows of the kinds that are wanted, text ids as dictionaries, and what they come to."""
        config, num_rows = self._config, len(batch["user"])
        kinds: dict[str, int] = {}
        if config.behaviors:
            if "behavior" not in batch:
                raise DataError("behaviors are asked for, but the log has no behavior column; give --columns with behavior=COLUMN")
            batch, kinds = select_kinds(batch, config.behavior_names, kept=config.reads_behaviors)
        columns = {role: _encoded(column) if role in ID_ROLES else column for role, column in batch.items()}
        ids = {role: id_facts(columns[role]) for role in ID_ROLES if role in columns}
        times = time_facts(columns["time"], self._times) if "time" in columns else TimeFacts()
        kept = len(columns["user"])
        return _Product(columns, pack_batch(columns) if self._pack else None, kept, ids, times, num_rows - kept, kinds)


def _encoded(column: pa.Array) -> pa.Array:
    """Text as a dictionary where that is smaller."""
    if not pa.types.is_string(column.type):
        return column
    encoded = column.dictionary_encode()
    return encoded if 2 * len(encoded.dictionary) < len(column) else column


def in_order(batch: Mapping[str, pa.Array], first: int) -> dict[str, pa.Array]:
    """A batch whose times are the numbers of its rows, from ``first`` on."""
    return {**batch, "time": pa.array(np.arange(first, first + len(batch["user"])))}


def read_log(inputs: Sequence[Path], work: Path, config: ConvertConfig, base: Base | None, workers: int) -> SpooledLog:
    """Reads the log into ``work``.

    Args:
        inputs: log files, read in this order.
        work: existing directory.
        config: the options.
        base: earlier dataset to go on from.
        workers: threads.

    Raises:
        DataError: a file is missing, damaged, lacks a column, or has too many lines that are no row; a kind never occurs.
    """
    by_order = config.time == "order"
    bad = BadRows(config.max_bad_rows, config.max_bad_share)
    reader = LogReader(inputs, log_options(config, workers=workers), bad, BatchReader(config, pack=not by_order))
    facts = LogFacts()
    with SpoolWriter(work / SPOOL_NAME) as spool:
        for product in reader:
            packed = product.packed if product.packed is not None else pack_batch(in_order(product.batch, facts.num_kept))
            spool.write(packed)
            facts.add(product)
    source = ", ".join(path.name for path in inputs)
    _check_kinds(facts, config, source)
    if not facts.num_kept:
        bad.check(reader.facts.num_rows, source)
        left_out = f" is left of {facts.other_behaviors:,} with other behaviors" if facts.other_behaviors else ""
        raise DataError(f"{source}: no usable row{left_out}; the log needs at least one")
    if (inexact := facts.ids["item"].inexact) and config.id_type_of("item") != "string":
        raise DataError(
            f"{source}: {inexact:,} item ids are floats above 2^53, which lost digits, so that they name other items or none; write the "
            "column as integers (pandas: astype('Int64')) or as text"
        )
    for role in sorted({"user", "category"} & set(facts.ids)):
        if inexact := facts.ids[role].inexact:
            logger.warning(
                "%s: %s %s ids are floats above 2^53, which lost digits, so that different ones may have become one; write the column as "
                "integers (pandas: astype('Int64')) or as text",
                source,
                f"{inexact:,}",
                role,
            )
    state = {
        "offsets": spool.offsets,
        "ids": {role: asdict(found) for role, found in facts.ids.items()},
        "times": asdict(facts.times),
        "num_rows": reader.facts.num_rows,
        "headers": reader.facts.headers,
        "other_behaviors": facts.other_behaviors,
        "null_words": reader.facts.null_words,
        "no_rows": {reason: [count, bad.example(reason)] for reason, count in bad.by_reason.items()},
    }
    replace_json(work / STATE_NAME, state)
    log = open_log(work, config, base)
    if log is None:
        raise DataError(f"{work / STATE_NAME} was written and is gone; keep other processes away from the directory")
    logger.info("%s", describe_types(facts, log.rules, config))
    return log


def describe_types(facts: LogFacts, rules: Rules, config: ConvertConfig) -> str:
    """What was decided about ids and times, and why."""
    parts = [f"{role} ids are {found.why(config.id_type_of(role), role)}" for role, found in facts.ids.items()]
    parts += [f"{found.inexact:,} {role} ids above 2^53 were written as floats" for role, found in facts.ids.items() if found.inexact]
    if config.time == "order":
        return "; ".join([", ".join(parts), "time is the order of the rows, as asked"])
    decided = "" if config.time_unit == rules.times.number_unit else " (decided by the values)"
    if not any(facts.times.numbers) and any(facts.times.moments):
        return "; ".join([", ".join(parts), f"times are moments, to the {rules.unit}"])
    return "; ".join([", ".join(parts), f"time is in {rules.times.number_unit}{decided}"])


def _check_kinds(facts: LogFacts, config: ConvertConfig, source: str) -> None:
    """Refuses kinds that never occur; those of a well-known log, and of a retraining's window, may be absent."""
    if not config.behaviors:
        return
    absent = missing_kinds(facts.kinds, config.behavior_names)
    if config.base is None:
        wanted = [kind for kind in config.behavior_names if kind not in kinds_of_format(config.format)]
        require_kinds(facts.kinds, wanted, source, facts.num_kept)
    if absent:
        logger.warning("behaviors that do not occur: %s; the log has %s", ", ".join(absent), describe_kinds(facts.kinds))


def open_log(work: Path, config: ConvertConfig, base: Base | None) -> SpooledLog | None:
    """The log that an earlier, killed conversion read completely, or None."""
    if not (work / STATE_NAME).is_file():
        return None
    with opening(work / STATE_NAME, "the state of a conversion", remedy="remove its directory, and convert again"):
        return _open_log(work, config, base)


def _open_log(work: Path, config: ConvertConfig, base: Base | None) -> SpooledLog:
    state = read_json(work / STATE_NAME)
    rules = settle_rules(
        {role: IdFacts(**facts) for role, facts in state["ids"].items()},
        TimeFacts(**state["times"]),
        config=config,
        base=base,
    )
    return SpooledLog(
        spool=Spool(work / SPOOL_NAME, state["offsets"]),
        rules=rules,
        num_rows=state["num_rows"],
        headers=state["headers"],
        other_behaviors=state["other_behaviors"],
        roles=frozenset(state["ids"]),
        no_rows=state["no_rows"],
        null_words=state["null_words"],
    )
