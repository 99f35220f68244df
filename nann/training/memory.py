"""The stage of a training that counts pairs of items, and fits how this memory joins the trained scorer.

The scorer does not train on some users, and the rules are first counted without them: on their events the rules' options are chosen and the
weights fitted. The pairs that are kept are then counted on all training users.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.parallel import worker_count
from nann.dataset import Histories, Items, Samples
from nann.memory.calibration import Examples, fit_calibration, shift_own
from nann.memory.rules import WINDOW, RuleOptions, SequentialRules
from nann.memory.search import VALUES, choose_options
from nann.memory.table import Calibration, MemoryTable
from nann.models import Scorer
from nann.training.batches import HistoryWindows
from nann.training.memory_examples import ExampleMaker
from ops.pair_counts import PairCounter, PairCounts

logger = logging.getLogger(__name__)

MOST_EXAMPLES = 3000
MOST_USERS = 3000
POSITIONS_PER_USER = 4
FITS = 2  # each but the first to what the numbers of the one before find, too
ENTRIES = 2**27  # of the whole table; with more items fewer successors each are kept
SEED = 3


@dataclass(frozen=True)
class Divided:
    """Training users, divided.

    Attributes:
        trained: those the scorer trains on.
        held_out: the others, None where there are too few users to hold any out.
    """

    trained: Histories
    held_out: Histories | None


def divide_users(histories: Histories, *, share: float, seed: int) -> Divided:
    """Holds out a share of the users, at most `MOST_USERS` of them, drawn at random among those with a training target."""
    lengths = np.diff(histories.row_splits)
    able = np.flatnonzero(lengths > histories.first_target)
    count = min(int(share * len(able)), MOST_USERS)
    if count < 1:
        return Divided(histories, None)
    chosen = np.zeros(len(lengths), bool)
    chosen[np.random.default_rng([seed, SEED]).choice(able, count, replace=False)] = True
    return Divided(users_of(histories, ~chosen), users_of(histories, chosen))


def users_of(histories: Histories, mask: NDArray[np.bool_]) -> Histories:
    """The histories of the users of a mask [U]."""
    lengths = np.diff(histories.row_splits)
    events = np.repeat(mask, lengths)

    def of_events(values: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if values is None else values[events]

    return replace(
        histories,
        item_rows=histories.item_rows[events],
        row_splits=np.concatenate([[0], np.cumsum(lengths[mask])]).astype(np.int64),
        times=of_events(histories.times),
        weights=of_events(histories.weights),
        behaviors=of_events(histories.behaviors),
        user_rows=None if histories.user_rows is None else histories.user_rows[mask],
    )


def held_out_positions(held_out: Histories, *, seed: int) -> NDArray[np.int64]:
    """Positions of events to predict: some of each user's at random, at most `MOST_EXAMPLES` in all."""
    lengths = np.diff(held_out.row_splits)
    users = np.repeat(np.arange(len(lengths)), lengths)
    positions = np.arange(len(users))
    able = np.flatnonzero(positions - held_out.row_splits[users] >= held_out.first_target)
    rng = np.random.default_rng([seed, SEED, 1])
    able = rng.permutation(able)
    order = np.argsort(users[able], kind="stable")
    sizes = np.bincount(users[able], minlength=len(lengths))
    number = np.arange(len(able)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    most = min(POSITIONS_PER_USER, max(1, -(-MOST_EXAMPLES // max(1, len(lengths)))))
    kept = able[order][number < most]
    return np.sort(rng.permutation(kept)[:MOST_EXAMPLES]).astype(np.int64)


def held_out_moments(users: Divided, *, max_length: int, inputs: tuple[str, ...], seed: int) -> Samples:
    """Moments of the held-out users to fit the memory to: histories, what came next, and the scorer's inputs."""
    held_out = users.held_out
    if held_out is None:
        return Samples(np.zeros((0, max_length), np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64))
    positions = held_out_positions(held_out, seed=seed)
    windows = HistoryWindows(held_out, max_length=max_length, inputs=inputs)
    return Samples(windows.items(positions), held_out.item_rows[positions], positions, inputs=windows.input_values(positions))


def make_memory(
    scorer: Scorer,
    users: Divided,
    moments: Samples,
    items: Items,
    *,
    encoder_length: int,
    max_length: int,
    successors: int,
    seed: int,
    earlier: MemoryTable | None = None,
) -> tuple[MemoryTable, dict[str, Any]]:
    """Counts pairs, chooses the rules' options and fits the weights.

    Args:
        scorer: trained, its tables plain variables.
        users: the training users.
        moments: of the held-out users: histories of at most ``max_length`` items, what came next, and the scorer's inputs; may be empty.
        items: the catalogue.
        encoder_length: newest history items the scorer reads.
        max_length: newest history items that are looked up in the memory.
        successors: kept per item.
        seed: of what is drawn.
        earlier: memory of the model that this training went on from: its pairs are counted too, with its options of counting.

    Returns:
        The memory, and what to report of it: ``rules`` (options and their recall), ``calibration``.
    """
    num_items = len(items.item_ids) - 1
    keep = max(1, min(successors, ENTRIES // max(1, num_items)))

    def table_of(histories: Histories) -> MemoryTable:
        table = count_table(histories, items, options, keep=keep, max_length=max_length)
        return table if earlier is None else add_earlier(table, earlier, keep)

    options = RuleOptions() if earlier is None else earlier.options
    calibration = Calibration() if earlier is None else earlier.calibration
    report: dict[str, Any] = {}
    if len(moments.targets):
        fixed = {} if earlier is None else {"activity": (options.activity,), "back": (options.back,)}
        rules = _rules_of(users.trained, items, 4 * keep)
        searched = choose_options(rules, moments.histories, moments.targets, start=options, values={**VALUES, **fixed})
        options = searched.options
        report["rules"] = {"options": vars(options), "recall": searched.recall}
        without_them = table_of(users.trained)
        maker = ExampleMaker(scorer, without_them, moments, items, encoder_length=encoder_length, seed=seed)
        calibration, report["calibration"] = fit_to_lists(maker, start=calibration)
    elif earlier is None:
        logger.warning("there are too few users to hold some out, so the memory's weights are not fitted")
    table = replace(table_of(_together(users)), calibration=calibration)
    report["entries"] = len(table.items)
    return table, report


def fit_to_lists(
    maker: ExampleMaker,
    *,
    start: Calibration | None = None,
    fixed: Collection[str] = (),
    change: Callable[[Examples], Examples] = lambda examples: examples,
) -> tuple[Calibration, dict[str, Any]]:
    """`fit_calibration`, again and again, so that in the end the candidates hold what its numbers put first, and `shift_own`.

    Args:
        maker: of the examples.
        start: where to begin.
        fixed: names of numbers that keep their first values.
        change: what is done to the examples before each fit.
    """
    examples = change(maker.examples())
    calibration, report = fit_calibration(examples, maker.table.item_counts, start=start, fixed=fixed)
    if "fitted" not in report:
        return calibration, report
    for _ in range(FITS - 1):
        examples = change(maker.examples(calibration))
        calibration, report = fit_calibration(examples, maker.table.item_counts, start=calibration, fixed=fixed)
    if "own" not in fixed:
        calibration, shifted = shift_own(examples, maker.table.item_counts, calibration)
        report |= shifted
    return calibration, report


def _rules_of(histories: Histories, items: Items, keep: int) -> SequentialRules:
    counter = PairCounter(histories.item_rows, histories.row_splits, num_items=len(items.item_ids) - 1, window=WINDOW)
    return SequentialRules(
        counter,
        np.diff(histories.row_splits),
        category_rows=items.category_rows,
        num_categories=items.num_categories,
        keep=keep,
        threads=worker_count(0),
    )


def count_table(histories: Histories, items: Items, options: RuleOptions, *, keep: int, max_length: int) -> MemoryTable:
    """The pairs of some users, ``keep`` successors of each item, with a calibration that is not fitted."""
    rules = _rules_of(histories, items, keep)
    counts = rules.count(np.arange(1, len(items.item_ids)), options)
    return _table(counts, rules.item_counts, options, max_length)


def _together(users: Divided) -> Histories:
    """All training users; the order of users does not matter to counts of pairs."""
    if users.held_out is None:
        return users.trained
    parts = (users.trained, users.held_out)
    splits = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part.row_splits) for part in parts]))])
    return Histories(np.concatenate([part.item_rows for part in parts]), splits.astype(np.int64), users.trained.first_target)


def _table(counts: PairCounts, item_counts: NDArray[np.int64], options: RuleOptions, max_length: int) -> MemoryTable:
    splits = np.concatenate([[0], counts.row_splits]).astype(np.int64)  # row 0 has no entries
    return MemoryTable(
        row_splits=splits,
        items=counts.items,
        counts=(counts.forward + options.back * counts.backward).astype(np.float32),
        totals=np.concatenate([[0.0], counts.totals @ np.array([1.0, options.back])]),
        item_counts=item_counts,
        options=options,
        calibration=Calibration(),
        max_length=max_length,
    )


def add_earlier(table: MemoryTable, earlier: MemoryTable, keep: int) -> MemoryTable:
    """The counts of a table and of an earlier one of at most as many items; the ``keep`` highest of each item stay."""
    size = len(table.item_counts)
    sources = [np.repeat(np.arange(len(each.item_counts)), np.diff(each.row_splits)) for each in (table, earlier)]
    keys = np.concatenate([source * size + each.items for source, each in zip(sources, (table, earlier), strict=True)])
    distinct, place = np.unique(keys, return_inverse=True)
    counts = np.bincount(place, weights=np.concatenate([table.counts, earlier.counts]), minlength=len(distinct))
    item_counts, totals = table.item_counts.copy(), table.totals.copy()
    item_counts[: len(earlier.item_counts)] += earlier.item_counts
    totals[: len(earlier.totals)] += earlier.totals
    source, item = distinct // size, distinct % size
    weighted = counts / np.maximum(item_counts, 1)[item] ** table.options.popularity
    order = np.lexsort((item, -weighted, source))
    sizes = np.bincount(source, minlength=size)
    number = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = np.sort(order[number < keep])
    splits = np.concatenate([[0], np.cumsum(np.bincount(source[kept], minlength=size))]).astype(np.int64)
    return replace(
        table,
        row_splits=splits,
        items=item[kept].astype(np.int32),
        counts=counts[kept].astype(np.float32),
        totals=totals,
        item_counts=item_counts,
    )
