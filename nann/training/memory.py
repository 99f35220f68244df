"""The stage of a training that counts pairs of items, and fits how this memory joins the trained scorer.

The scorer does not train on some users, and the rules are first counted without them: on their events the rules' options are chosen and the
weights fitted. The pairs that are kept are then counted on all training users.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import tensorflow as tf
from numpy.typing import NDArray

from data_prep.parallel import worker_count
from nann.dataset import Histories, Items, Samples
from nann.evaluation.scan import exact_retriever
from nann.export.freeze import FrozenScorer, freeze_scorer
from nann.index.embeddings import Embeddings
from nann.memory.calibration import Examples, fit_calibration
from nann.memory.rules import WINDOW, RuleOptions, SequentialRules
from nann.memory.search import VALUES, choose_options
from nann.memory.table import Calibration, MemoryTable
from nann.models import ItemEncoder, Scorer
from nann.neighborhood import InteractionGraph
from nann.retrieval import HistoryScorer
from nann.training.batches import HistoryWindows
from ops.pair_counts import PairCounter, PairCounts

logger = logging.getLogger(__name__)

MOST_EXAMPLES = 3000
MOST_USERS = 3000
POSITIONS_PER_USER = 4
BEST_BY_SCORE, BEST_BY_RULES, BEST_BY_CATEGORY = 700, 400, 300  # candidates of an example
SCORED_PAIRS, LEAST_ITEMS = 120_000_000, 20_000  # of all examples together; items of the catalogue that are scored at least
ENTRIES = 2**27  # of the whole table; with more items fewer successors each are kept
USERS_AT_ONCE = 16
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
    graph: InteractionGraph | None = None,
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
        graph: of the training users, for a scorer with a neighbourhood.
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
        examples = make_examples(scorer, without_them, moments, items, encoder_length=encoder_length, seed=seed, graph=graph)
        calibration, report["calibration"] = fit_calibration(examples, without_them.item_counts, start=calibration)
    elif earlier is None:
        logger.warning("there are too few users to hold some out, so the memory's weights are not fitted")
    table = replace(table_of(_together(users)), calibration=calibration)
    report["entries"] = len(table.items)
    return table, report


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


def make_examples(
    scorer: Scorer,
    table: MemoryTable,
    moments: Samples,
    items: Items,
    *,
    encoder_length: int,
    seed: int,
    graph: InteractionGraph | None = None,
) -> Examples:
    """Candidates of every moment: the best by the scorer, by the rules and by category, the history's items, and the target."""
    count, num_items = len(moments.targets), len(items.item_ids) - 1
    by_rules = table.score(moments.histories, items.category_rows, items.num_categories)
    by_category = table.category_score(moments.histories, items.category_rows, items.num_categories)
    pool = _pool(num_items, count, seed)
    logger.info("memory: scoring %s items for %s held-out events", f"{len(pool):,}", f"{count:,}")
    encode = ItemEncoder(scorer, items.category_rows, graph)
    vectors = np.concatenate([encode(pool[first : first + 8192]).numpy() for first in range(0, len(pool), 8192)])
    frozen = FrozenScorer(freeze_scorer(HistoryScorer(scorer, max_length=encoder_length)))
    exact = exact_retriever(frozen, Embeddings(pool.astype(np.int64), vectors), top_k=min(BEST_BY_SCORE, len(pool)))
    state_of = tf.function(lambda rows, cates, inputs: frozen.user_state(rows, cates, **inputs), reduce_retracing=True)
    score = tf.function(frozen.score, reduce_retracing=True)
    found: list[tuple[NDArray[Any], ...]] = []
    for first in range(0, count, USERS_AT_ONCE):
        places = slice(first, first + USERS_AT_ONCE)
        batch = moments.take(places)
        histories = batch.histories.astype(np.int64)
        categories = items.category_rows[histories].astype(np.int64)
        best = exact(histories, categories, **batch.inputs).item_rows
        rows, rules, shares, ages, reachable = _candidates(best, by_rules[places], by_category[places], batch, num_items)
        vectors_of = encode(rows.reshape(-1)).numpy().reshape(*rows.shape, -1)
        inputs = {name: tf.constant(values, tf.int64) for name, values in batch.inputs.items()}
        logits = score(state_of(tf.constant(histories), tf.constant(categories), inputs), tf.constant(vectors_of)).numpy()
        found.append((rows, np.where(rows > 0, logits, -1e4).astype(np.float32), rules, shares, ages, reachable))
    width = max(rows.shape[1] for rows, *_ in found)

    def joined(number: int, padding: float) -> NDArray[Any]:
        parts = [each[number] for each in found]
        return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=padding) for part in parts])

    share = np.log(len(pool) / num_items) if len(pool) < num_items else 0.0
    rows, logits, rules, shares, ages = (joined(number, padding) for number, padding in enumerate((0, -1e4, 0, 0, -1)))
    return Examples(rows, logits, rules, shares, ages, np.concatenate([reachable for *_, reachable in found]), float(share))


def _pool(num_items: int, count: int, seed: int) -> NDArray[np.int32]:
    """The items that are scored for ``count`` examples: all, or so many that it stays a matter of seconds."""
    most = max(LEAST_ITEMS, SCORED_PAIRS // max(1, count))
    rows = np.arange(1, num_items + 1, dtype=np.int32)
    if num_items <= most:
        return rows
    return np.sort(np.random.default_rng([seed, SEED, 2]).choice(rows, most, replace=False))


class _Row:
    """One user's scores of all items, of a sparse matrix whose other rows come after it."""

    def __init__(self, num_items: int) -> None:
        self._scores = np.zeros(num_items + 1, np.float32)
        self.items: NDArray[np.int32] = np.zeros(0, np.int32)

    def show(self, matrix: sp.csr_matrix, row: int) -> None:
        """The scores are now those of a row."""
        self._scores[self.items] = 0
        entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
        self.items = matrix.indices[entries]
        self._scores[self.items] = matrix.data[entries]

    def best(self, count: int) -> NDArray[np.int32]:
        """The items of highest score, in any order."""
        if len(self.items) <= count:
            return self.items
        return self.items[np.argpartition(-self._scores[self.items], count)[:count]]

    def of(self, items: NDArray[np.int32]) -> NDArray[np.float32]:
        """Their scores."""
        return self._scores[items]


def _candidates(
    best: NDArray[np.int64], by_rules: sp.csr_matrix, by_category: sp.csr_matrix, batch: Samples, num_items: int
) -> tuple[NDArray[Any], ...]:
    """Item rows [b, n] with the targets first, their r, their k, their ages, and whether each target is found without being one."""
    found: list[tuple[NDArray[Any], ...]] = []
    reachable = []
    of_rules, of_category = _Row(num_items), _Row(num_items)
    age_of = np.full(num_items + 1, -1, np.int32)
    for number, target in enumerate(batch.targets):
        of_rules.show(by_rules, number)
        of_category.show(by_category, number)
        history = batch.histories[number]
        newest = history[history > 0][::-1]
        age_of[newest[::-1]] = np.arange(len(newest))[::-1]
        others = np.unique(np.concatenate([best[number], of_rules.best(BEST_BY_RULES), of_category.best(BEST_BY_CATEGORY), newest]))
        reachable.append(bool(np.any(others == target)))
        chosen = np.concatenate([[target], others[(others != target) & (others > 0)]]).astype(np.int32)
        found.append((chosen, of_rules.of(chosen), of_category.of(chosen), age_of[chosen]))
        age_of[newest] = -1
    width = max(len(chosen) for chosen, *_ in found)

    def padded(number: int, padding: int) -> NDArray[Any]:
        return np.stack([np.pad(each[number], (0, width - len(each[number])), constant_values=padding) for each in found])

    return padded(0, 0), padded(1, 0), padded(2, 0), padded(3, -1), np.array(reachable)
