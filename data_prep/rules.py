"""Which rows of the log are taken, and as what: settled once for the whole log, then applied batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data_prep.bad_rows import BadRows
from data_prep.config import ID_ROLES, ConvertConfig
from data_prep.incremental import Base
from data_prep.option_values import unix_seconds
from data_prep.parsing import IdFacts, Parsed, drop_bad, read_ids
from data_prep.times import SCALES, TimeFacts, TimeRule, settle_times
from data_prep.vocabulary import Ids, take_ids, without_value

_FOREVER = 1 << 62


@dataclass(frozen=True)
class Rules:
    """What a row must be.

    Attributes:
        string_roles: roles whose ids are strings; the others' are integers.
        times: how times are read, and their unit.
        valid: first time and end of the times that are no mistake, in that unit.
        window: first time and end of the times that are wanted, in that unit.
        missing_category: category id that means "none", or None.
        time_problem: what a time is that cannot be read.
    """

    string_roles: frozenset[str]
    times: TimeRule
    valid: tuple[int, int]
    window: tuple[int, int]
    missing_category: str | None
    time_problem: str = "not_a_number"

    @property
    def unit(self) -> str:
        """Unit of the log's times: "s", "ms" or "us"."""
        return self.times.unit


def settle_rules(ids: Mapping[str, IdFacts], times: TimeFacts, *, config: ConvertConfig, base: Base | None = None) -> Rules:
    """Decides types and unit from what the whole log holds.

    Args:
        ids: facts per id column.
        times: facts of the time column.
        config: what the user demands.
        base: earlier dataset; the window begins after its last event unless the user says otherwise.
    """
    rule = settle_times(times, config)
    scale = SCALES[rule.unit]
    since = -_FOREVER if base is None else scale * (base.last_time + 1)
    since = since if config.since is None else scale * unix_seconds(config.since)
    until = _FOREVER if config.until is None else scale * unix_seconds(config.until)
    by_order = config.time == "order"
    return Rules(
        string_roles=frozenset(role for role, facts in ids.items() if facts.is_string(config.id_type_of(role), role)),
        times=rule,
        valid=(0, _FOREVER) if by_order else (config.min_time * scale, config.max_time * scale),
        window=(since, until),
        missing_category=config.missing_category,
        time_problem="not_a_time" if sum(times.moments) or config.time_format else "not_a_number",
    )


@dataclass(frozen=True)
class GoodRows:
    """The rows of a batch that are taken, in file order.

    Attributes:
        users, items: [n] ids; integers may be int32, strings of dictionary type.
        times: [n] int64 or int32, in the log's unit.
        categories: [n] ids, or None where the log has none.
        has_category: [n] bool, whether the category means anything; None if all do, or the log has none.
        bad: counts of the bad rows.
        outside_window: rows left out because their time is not wanted.
        behaviors: [n] uint8 place of the kind of event among those asked for; None where kinds have no weights.
    """

    users: Ids
    items: Ids
    times: np.ndarray
    categories: Ids | None
    has_category: np.ndarray | None
    bad: BadRows
    outside_window: int
    behaviors: np.ndarray | None


def _flawless(batch: Mapping[str, pa.Array], rules: Rules) -> GoodRows | None:
    """The whole batch as it is, if that can be seen at a glance: integers without gaps, all times wanted; else None."""
    if rules.string_roles or rules.missing_category is not None or rules.times.unit != rules.times.number_unit:
        return None
    if any(not pa.types.is_integer(column.type) or column.null_count for column in batch.values()):
        return None
    columns = {role: column.to_numpy(zero_copy_only=True) for role, column in batch.items()}
    times = columns["time"]
    first, last = max(rules.valid[0], rules.window[0]), min(rules.valid[1], rules.window[1])
    if len(times) and (int(times.min()) < first or int(times.max()) >= last):
        return None
    return GoodRows(columns["user"], columns["item"], times, columns.get("category"), None, BadRows(0, 1.0), 0, columns.get("behavior"))


def good_rows(batch: Mapping[str, pa.Array], rules: Rules) -> GoodRows:
    """Applies the rules to a batch (role -> integer, timestamp, string or dictionary array)."""
    flawless = _flawless(batch, rules)
    if flawless is not None:
        return flawless
    columns: dict[str, Parsed] = {role: read_ids(batch[role], as_string=role in rules.string_roles) for role in ID_ROLES if role in batch}
    columns["time"] = rules.times.read(batch["time"])
    values = columns["time"].values
    outside = (values < rules.valid[0]) | (values >= rules.valid[1])
    bad, extra = BadRows(0, 1.0), {"time_out_of_range": ("time", outside)}
    keep = drop_bad(columns, {role: [batch[role]] for role in columns}, bad, extra, time_rule=rules.time_problem)
    num_good = int(keep.sum())
    if rules.window != (-_FOREVER, _FOREVER):
        keep &= (values >= rules.window[0]) & (values < rules.window[1])
    num_kept = int(keep.sum())
    if num_kept < len(keep):
        rows = np.flatnonzero(keep)
        columns = {role: Parsed(take_ids(column.values, rows), column.bad[rows], column.missing[rows]) for role, column in columns.items()}
    category = columns.get("category")
    has_category = None
    if category is not None:
        has_category = ~category.missing
        if rules.missing_category is not None:
            has_category &= ~without_value(category, rules.missing_category)
    return GoodRows(
        users=columns["user"].values,
        items=columns["item"].values,
        times=columns["time"].values,
        categories=None if category is None else category.values,
        has_category=has_category,
        bad=bad,
        outside_window=num_good - num_kept,
        behaviors=batch["behavior"].to_numpy(zero_copy_only=False)[keep] if "behavior" in batch else None,
    )
