"""Counts the good rows of a spooled log: bad rows, vocabularies, events per user and item, the range of times."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from data_prep.bad_rows import BadRows
from data_prep.config import ID_ROLES, ConvertConfig
from data_prep.errors import DataError
from data_prep.id_tables import IdCoder, make_counter
from data_prep.parallel import ordered_map
from data_prep.progress import Progress
from data_prep.rules import GoodRows, Rules, good_rows
from data_prep.spool import Spool, unpack_batch
from data_prep.vocabulary import Ids, take_ids

_NEVER = 1 << 62
logger = logging.getLogger(__name__)


@dataclass
class Counts:
    """What the events that are taken come to.

    Attributes:
        user_ids: [U] distinct, ascending; user_counts [U] int64.
        item_ids: [N] distinct, ascending; item_counts [N] int64.
        category_ids: [C] distinct, ascending, of the events that have one.
        times: first and last time, in the log's unit.
        filtered: rows left out on demand, by reason.
    """

    user_ids: Ids
    user_counts: np.ndarray
    item_ids: Ids
    item_counts: np.ndarray
    category_ids: Ids
    times: tuple[int, int]
    filtered: dict[str, int] = field(default_factory=dict)

    @property
    def num_events(self) -> int:
        """All events."""
        return int(self.user_counts.sum())


def select_known(rows: GoodRows, users: IdCoder | None, items: IdCoder | None) -> np.ndarray | None:
    """[n] positions of the rows whose user and item are known; None for all."""
    keep = np.ones(len(rows.times), bool)
    if users is not None:
        keep &= users.codes(rows.users) >= 0
    if items is not None:
        keep &= items.codes(rows.items) >= 0
    return None if keep.all() else np.flatnonzero(keep)


@dataclass(frozen=True)
class _Batch:
    """What is told of one batch beside the ids counted: bad rows, rows outside of the window, rows taken, first and last time, bytes."""

    bad: BadRows
    outside_window: int
    num_rows: int
    times: tuple[int, int]
    size: int


class _IdTotals:
    """The ids of all roles, counted by several threads; who comes first makes no difference to sums."""

    def __init__(self, string_roles: frozenset[str]) -> None:
        self._counters = {role: make_counter(role in string_roles) for role in ID_ROLES}
        self._locks = {role: Lock() for role in ID_ROLES}

    def add(self, role: str, ids: Ids, selected: np.ndarray | None) -> None:
        taken = ids if selected is None else take_ids(ids, selected)
        with self._locks[role]:
            self._counters[role].add(taken)

    def finish(self, workers: int) -> dict[str, tuple[Ids, np.ndarray]]:
        return dict(zip(ID_ROLES, ordered_map(lambda role: self._counters[role].finish(), ID_ROLES, workers), strict=True))


def _count_once(spool: Spool, rules: Rules, bad: BadRows | None, users: IdCoder | None, items: IdCoder | None, workers: int) -> Counts:
    totals = _IdTotals(rules.string_roles)

    def count(packed: bytes) -> _Batch:
        rows = good_rows(unpack_batch(packed), rules)
        selected = select_known(rows, users, items) if users or items else None
        totals.add("user", rows.users, selected)
        totals.add("item", rows.items, selected)
        if rows.categories is not None:
            present = selected
            if rows.has_category is not None:
                present = np.flatnonzero(rows.has_category) if selected is None else selected[rows.has_category[selected]]
            totals.add("category", rows.categories, present)
        times = rows.times if selected is None else rows.times[selected]
        ends = (int(times.min()), int(times.max())) if len(times) else (_NEVER, -_NEVER)
        return _Batch(rows.bad, rows.outside_window, len(times), ends, len(packed))

    progress = Progress("counting", spool.offsets[-1])
    first, last, outside, num_rows, done = _NEVER, -_NEVER, 0, 0, 0
    for batch in ordered_map(count, spool, workers):
        if bad is not None:
            bad.merge(batch.bad)
        first, last = min(first, batch.times[0]), max(last, batch.times[1])
        outside, num_rows, done = outside + batch.outside_window, num_rows + batch.num_rows, done + batch.size
        progress.update(done, num_rows)
    ids = totals.finish(workers)
    return Counts(*ids["user"], *ids["item"], ids["category"][0], (first, last), {"outside_time_window": outside})


def count_events(spool: Spool, rules: Rules, config: ConvertConfig, bad: BadRows, num_rows: int, source: str, workers: int) -> Counts:
    """Counts, and again for every demand on the number of events that leaves some out.

    Args:
        spool: the log.
        rules: which rows are good.
        config: minimum numbers of events.
        bad: counter of bad rows, which is checked against its limits.
        num_rows: all rows read.
        source: name of the log, for messages.
        workers: threads.

    Raises:
        DataError: too many bad rows, nothing left, or one item only.
    """
    counts = _count_once(spool, rules, bad, None, None, workers)
    bad.check(num_rows, source)
    if bad.total:
        logger.warning("%s: %s of %s rows dropped: %s", source, f"{bad.total:,}", f"{num_rows:,}", bad.describe())
    filtered = counts.filtered if counts.filtered["outside_time_window"] else {}
    known: dict[str, IdCoder | None] = {"user": None, "item": None}
    for role, least in (("item", config.min_item_events), ("user", config.min_user_events)):
        ids, numbers = (counts.item_ids, counts.item_counts) if role == "item" else (counts.user_ids, counts.user_counts)
        if counts.num_events and int(numbers.min()) < least:
            known[role] = IdCoder(take_ids(ids, np.flatnonzero(numbers >= least)))
            before = counts.num_events
            counts = _count_once(spool, rules, None, known["user"], known["item"], workers)
            filtered[f"{role}_with_few_events"] = before - counts.num_events
    counts.filtered = filtered
    if filtered:
        logger.info("left out as asked: %s", ", ".join(f"{reason} {number:,}" for reason, number in filtered.items()))
    if not counts.num_events:
        raise DataError(f"{source}: no usable row{' is left after ' + ', '.join(filtered) if filtered else ''}; the log needs at least one")
    if len(counts.item_ids) < 2:
        raise DataError(
            f"the log has only one item ({counts.item_ids[0]}), so there is nothing to choose from; bring a log with more items"
        )
    logger.info("%s events, %s users, %s items", f"{counts.num_events:,}", f"{len(counts.user_ids):,}", f"{len(counts.item_ids):,}")
    return counts
