"""The parts of a score against the memory that is served, with a term for categories that is not 0."""

import numpy as np
import pytest
import tensorflow as tf

from nann.explanation import ScoreParts
from nann.explanation.score_parts import parts_of
from nann.memory.rules import RuleOptions
from nann.memory.table import AGE_KNOTS, COUNT_KNOTS, Calibration, CorpusMemory, MemoryTable
from nann.retrieval.memory import MemoryTables

NUM_ITEMS, CATEGORIES = 12, 3


def some_memory(rng: np.random.Generator, category_rows: np.ndarray) -> CorpusMemory:
    sizes = np.concatenate([[0], rng.integers(0, 5, NUM_ITEMS)])
    items = [np.sort(rng.permutation(NUM_ITEMS)[:size] + 1) for size in sizes]
    table = MemoryTable(
        row_splits=np.concatenate([[0], np.cumsum(sizes)]),
        items=np.concatenate(items).astype(np.int32),
        counts=rng.random(sizes.sum()).astype(np.float32),
        totals=rng.random(NUM_ITEMS + 1) + 4,
        item_counts=rng.integers(0, 50, NUM_ITEMS + 1),
        options=RuleOptions(decay=0.6, category=0.5),
        calibration=Calibration(
            prior=tuple(rng.normal(size=len(COUNT_KNOTS))), own=tuple(rng.normal(size=len(AGE_KNOTS))), category_gain=0.7, log_d=4.0
        ),
        max_length=4,
    )
    rows = np.arange(1, NUM_ITEMS + 1)
    return CorpusMemory.of(table, item_rows=rows, category_rows=category_rows, num_categories=CATEGORIES, entries=3)


@pytest.mark.parametrize("seed", range(4))
def test_memory_category_and_own_are_what_is_served(seed: int) -> None:
    rng = np.random.default_rng(seed)
    category_rows = np.concatenate([[0], rng.integers(0, CATEGORIES + 1, NUM_ITEMS)])
    memory = some_memory(rng, category_rows)
    history = rng.integers(1, NUM_ITEMS + 1, 6)
    served = MemoryTables.create(memory).stock(tf.constant(history[np.newaxis]), tf.constant(category_rows[history][np.newaxis]))
    values = dict(zip(served.positions.numpy().tolist(), served.values.numpy().tolist(), strict=True))
    found = [parts_of(0.5, position, history, category_rows, memory) for position in range(NUM_ITEMS)]
    for position, parts in enumerate(found):
        assert parts.memory + parts.category + parts.own == pytest.approx(values.get(position, 0.0), rel=1e-4, abs=1e-5)
        assert parts.total == pytest.approx(
            memory.item_scale[position] * 0.5 + memory.item_prior[position] + values.get(position, 0.0), rel=1e-4, abs=1e-5
        )
    assert any(parts.category for parts in found)
    assert any(parts.own for parts in found)


def test_without_a_memory_the_logit_is_the_score() -> None:
    assert parts_of(0.5, 3, np.array([1]), np.zeros(9, np.int64), None) == ScoreParts(0.5, 0.5, 1.0)
