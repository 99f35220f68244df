"""The candidates that a memory's weights are fitted to: what each of several ways finds best for moments of held-out users."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import tensorflow as tf
from numpy.typing import NDArray

from nann.dataset import Items, Samples
from nann.evaluation.scan import exact_retriever
from nann.export.freeze import FrozenScorer, freeze_scorer
from nann.index.embeddings import Embeddings
from nann.memory.calibration import Examples
from nann.memory.table import Calibration, CorpusMemory, MemoryTable
from nann.models import ItemEncoder, Scorer
from nann.retrieval import HistoryScorer

logger = logging.getLogger(__name__)

BEST_BY_SCORE, BEST_BY_RULES, BEST_BY_CATEGORY, BEST_JOINED = 700, 400, 300, 300  # candidates of an example
SCORED_PAIRS, LEAST_ITEMS = 120_000_000, 20_000  # of all examples together; items of the catalogue that are scored at least
USERS_AT_ONCE = 16
SEED = 5


class ExampleMaker:
    """Makes examples of some moments.

    Args:
        scorer: trained, its tables plain variables.
        table: pairs of other users than those of the moments.
        moments: histories, what came next, and the scorer's inputs.
        items: the catalogue.
        encoder_length: newest history items the scorer reads.
        seed: of what is drawn.
    """

    def __init__(
        self,
        scorer: Scorer,
        table: MemoryTable,
        moments: Samples,
        items: Items,
        *,
        encoder_length: int,
        seed: int,
    ) -> None:
        self.table = table
        self._moments, self._items = moments, items
        self._num_items = len(items.item_ids) - 1
        self._by_rules = table.score(moments.histories, items.category_rows, items.num_categories)
        self._by_category = table.category_score(moments.histories, items.category_rows, items.num_categories)
        pool = _pool(self._num_items, len(moments.targets), seed)
        logger.info("memory: scoring %s items for %s held-out events", f"{len(pool):,}", f"{len(moments.targets):,}")
        self._encode = ItemEncoder(scorer, items.category_rows)
        vectors = np.concatenate([self._encode(pool[first : first + 8192]).numpy() for first in range(0, len(pool), 8192)])
        self._pool = Embeddings(pool.astype(np.int64), vectors)
        self._frozen = FrozenScorer(freeze_scorer(HistoryScorer(scorer, max_length=encoder_length)))
        self._state_of = tf.function(lambda rows, cates, inputs: self._frozen.user_state(rows, cates, **inputs), reduce_retracing=True)
        self._score = tf.function(self._frozen.score, reduce_retracing=True)
        self._best = self._scan(BEST_BY_SCORE, None)

    def examples(self, calibration: Calibration | None = None) -> Examples:
        """Candidates of every moment: the best by the scorer, by the rules and by category, the history's items, and the target.

        Args:
            calibration: the best by the score that is joined with it are candidates, too, of this call and all later ones. Without them a
                fit cannot know what the numbers that it ends with would put above the targets.
        """
        if calibration is not None:
            self._best = np.concatenate([self._best, self._scan(BEST_JOINED, calibration)], axis=1)
        found: list[tuple[NDArray[Any], ...]] = []
        for first in range(0, len(self._moments.targets), USERS_AT_ONCE):
            places = slice(first, first + USERS_AT_ONCE)
            batch = self._moments.take(places)
            rows, *others = _candidates(self._best[places], self._by_rules[places], self._by_category[places], batch, self._num_items)
            logits = np.where(rows > 0, self._logits(batch, rows), -1e4).astype(np.float32)
            found.append((rows, logits, *others))
        width = max(rows.shape[1] for rows, *_ in found)

        def together(number: int, padding: float) -> NDArray[Any]:
            parts = [each[number] for each in found]
            return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=padding) for part in parts])

        share = np.log(len(self._pool) / self._num_items) if len(self._pool) < self._num_items else 0.0
        rows, logits, rules, shares, ages = (together(number, padding) for number, padding in enumerate((0, -1e4, 0, 0, -1)))
        return Examples(rows, logits, rules, shares, ages, np.concatenate([reachable for *_, reachable in found]), float(share))

    def _scan(self, count: int, calibration: Calibration | None) -> NDArray[np.int64]:
        """[E, count] item rows of the highest scores, joined with the memory where there is a calibration."""
        items, memory = self._items, None
        if calibration is not None:
            memory = CorpusMemory.of(
                replace(self.table, calibration=calibration),
                item_rows=self._pool.item_rows,
                category_rows=items.category_rows,
                num_categories=items.num_categories,
                entries=0,
            )
        exact = exact_retriever(self._frozen, self._pool, top_k=min(count, len(self._pool)), memory=memory)
        found = []
        for first in range(0, len(self._moments.targets), USERS_AT_ONCE):
            batch = self._moments.take(slice(first, first + USERS_AT_ONCE))
            histories = batch.histories.astype(np.int64)
            found.append(exact(histories, items.category_rows[histories].astype(np.int64), **batch.inputs).item_rows)
        return np.concatenate(found)

    def _logits(self, batch: Samples, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """[b, n] of the scorer for item rows [b, n]."""
        vectors = self._encode(rows.reshape(-1)).numpy().reshape(*rows.shape, -1)
        histories = batch.histories.astype(np.int64)
        categories = self._items.category_rows[histories].astype(np.int64)
        inputs = {name: tf.constant(values, tf.int64) for name, values in batch.inputs.items()}
        logits: NDArray[np.float32] = self._score(
            self._state_of(tf.constant(histories), tf.constant(categories), inputs), tf.constant(vectors)
        ).numpy()
        return logits


def _pool(num_items: int, count: int, seed: int) -> NDArray[np.int32]:
    """The items that are scored for ``count`` examples: all, or so many that it stays a matter of seconds."""
    most = max(LEAST_ITEMS, SCORED_PAIRS // max(1, count))
    rows = np.arange(1, num_items + 1, dtype=np.int32)
    if num_items <= most:
        return rows
    return np.sort(np.random.default_rng([seed, SEED]).choice(rows, most, replace=False))


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
