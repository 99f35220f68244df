"""First stage of a conversion: the log, in whatever format, into a spool, and the facts that settle its rules."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.bad_rows import BadRows, Quoted
from data_prep.columns import USER_BEHAVIOR, WITH_BEHAVIOR
from data_prep.config import ConvertConfig
from data_prep.errors import DataError
from data_prep.incremental import Base
from data_prep.log_reader import FileOptions, LogReader
from data_prep.parsing import IdFacts, TimeFacts, id_facts, time_facts
from data_prep.plan import replace_json
from data_prep.rules import ID_ROLES, Rules, settle_rules
from data_prep.spool import Spool, SpoolWriter, pack_batch

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
        wrong_width: rows of the wrong number of columns, and the first of them.
    """

    spool: Spool
    rules: Rules
    num_rows: int
    headers: list[bool]
    other_behaviors: int
    roles: frozenset[str]
    wrong_width: tuple[int, str]

    def bad_rows(self, config: ConvertConfig) -> BadRows:
        """A counter that begins with the rows of the wrong width."""
        bad = BadRows(config.max_bad_rows, config.max_bad_share)
        bad.add("wrong_number_of_columns", *self.wrong_width)
        return bad


@dataclass(frozen=True)
class _Product:
    packed: pa.Buffer
    num_rows: int
    ids: dict[str, IdFacts]
    times: TimeFacts
    other_behaviors: int


def _behaviors_wanted(batch: Mapping[str, pa.Array], wanted: pa.Array, *, kept: bool) -> dict[str, pa.Array]:
    """The rows of the kinds that are wanted; where kept `behavior` is then the place of the kind among these, else it is left out."""
    behavior = batch["behavior"].cast(pa.string())
    kinds = pc.index_in(pc.utf8_trim_whitespace(behavior), value_set=wanted)
    keep = kinds.is_valid()
    columns = {role: column for role, column in batch.items() if role != "behavior"}
    if kept:
        columns["behavior"] = kinds.cast(pa.uint8())
    if pc.all(keep).as_py():
        return columns
    rows = pa.array(np.flatnonzero(keep.to_numpy(zero_copy_only=False)))
    return {role: column.take(rows) for role, column in columns.items()}


def read_log(inputs: Sequence[Path], work: Path, config: ConvertConfig, base: Base | None, workers: int) -> SpooledLog:
    """Reads the log into ``work``.

    Args:
        inputs: log files, read in this order.
        work: existing directory.
        config: the options.
        base: earlier dataset to go on from.
        workers: threads.

    Raises:
        DataError: a file is missing, damaged, lacks a column, or has too many rows of the wrong width.
    """
    skip = {"category"} if config.items else set()
    if not config.behaviors:
        skip.add("behavior")
    text_roles = frozenset({"behavior", *(ID_ROLES if config.id_type == "string" else ())})
    layout = WITH_BEHAVIOR if config.behaviors else USER_BEHAVIOR
    options = FileOptions(config.columns, layout, config.header, config.delimiter, frozenset(skip), text_roles=text_roles, workers=workers)
    wanted = pa.array(config.behavior_names, pa.string())

    def transform(batch: Mapping[str, pa.Array]) -> _Product:
        num_rows = len(batch["user"])
        if config.behaviors:
            if "behavior" not in batch:
                raise DataError("behaviors are asked for, but the log has no behavior column; give columns with behavior=COLUMN")
            batch = _behaviors_wanted(batch, wanted, kept=config.reads_behaviors)
        ids = {role: id_facts(batch[role]) for role in ID_ROLES if role in batch}
        kept = len(batch["user"])
        return _Product(pack_batch(batch), kept, ids, time_facts(batch["time"]), num_rows - kept)

    bad = BadRows(config.max_bad_rows, config.max_bad_share)
    reader = LogReader(inputs, options, bad, transform)
    ids: dict[str, IdFacts] = {}
    times, other_behaviors, num_kept = TimeFacts(), 0, 0
    with SpoolWriter(work / SPOOL_NAME) as spool:
        for product in reader:
            spool.write(product.packed)
            for role, facts in product.ids.items():
                ids.setdefault(role, IdFacts()).add(facts)
            times.add(product.times)
            other_behaviors += product.other_behaviors
            num_kept += product.num_rows
    source = ", ".join(path.name for path in inputs)
    if not num_kept:
        bad.check(reader.facts.num_rows, source)
        left_out = f" is left of {other_behaviors:,} with other behaviors" if other_behaviors else ""
        raise DataError(f"{source}: no usable row{left_out}; the log needs at least one")
    state = {
        "offsets": spool.offsets,
        "ids": {role: asdict(facts) for role, facts in ids.items()},
        "times": asdict(times),
        "has_timestamps": reader.facts.has_timestamps,
        "num_rows": reader.facts.num_rows,
        "headers": reader.facts.headers,
        "other_behaviors": other_behaviors,
        "wrong_width": [bad.total, bad.example("wrong_number_of_columns")],
    }
    replace_json(work / STATE_NAME, state)
    log = open_log(work, config, base)
    if log is None:
        raise DataError(f"{work / STATE_NAME} was written and is gone; keep other processes away from the directory")
    rules = log.rules
    types = ", ".join(f"{role} ids are {'strings' if role in rules.string_roles else 'integers'}" for role in ids)
    logger.info("%s; time is in %s%s", types, rules.unit, "" if config.time_unit == rules.unit else " (decided by the values)")
    return log


def open_log(work: Path, config: ConvertConfig, base: Base | None) -> SpooledLog | None:
    """The log that an earlier, killed conversion read completely, or None."""
    if not (work / STATE_NAME).is_file():
        return None
    state = json.loads((work / STATE_NAME).read_text(encoding="utf-8"))
    rules = settle_rules(
        {role: IdFacts(**facts) for role, facts in state["ids"].items()},
        TimeFacts(**state["times"]),
        has_timestamps=state["has_timestamps"],
        config=config,
        base=base,
    )
    spool = Spool(work / SPOOL_NAME, state["offsets"])
    number, example = state["wrong_width"]
    return SpooledLog(
        spool, rules, state["num_rows"], state["headers"], state["other_behaviors"], frozenset(state["ids"]), (number, Quoted(example))
    )
