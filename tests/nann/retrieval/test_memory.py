"""The memory beside a scorer: its stock and its native form against dictionaries, and walks and scans that join it."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from nann.memory.rules import RuleOptions
from nann.memory.table import AGE_KNOTS, COUNT_KNOTS, Calibration, CorpusMemory, MemoryTable
from nann.retrieval import (
    BeamRetriever,
    ExactRetriever,
    FilteredRetriever,
    FilterTables,
    FusedSearch,
    NativeWalk,
    OpSearch,
    SearchParameters,
    StockWalk,
)
from nann.retrieval.memory import MemoryTables, best_entries, memory_arrays, memory_of_arrays
from ops import retrieval, scoring

needs_native = pytest.mark.skipif(not retrieval.available() or not scoring.available(), reason="the native library is not built")
FORMS = ["stock", pytest.param("native", marks=needs_native)]
CATEGORIES = 3


def some_memory(num_items: int, *, seed: int = 0, in_corpus: float = 1.0, max_length: int = 5) -> tuple[CorpusMemory, np.ndarray]:
    """A memory of random numbers, and the category rows of its items."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 4, num_items + 1)
    sizes[0] = 0
    items = [np.sort(rng.permutation(num_items)[: min(size, num_items)] + 1) for size in sizes]
    categories = rng.integers(0, CATEGORIES + 1, num_items + 1)
    table = MemoryTable(
        row_splits=np.concatenate([[0], np.cumsum([len(each) for each in items])]),
        items=np.concatenate(items).astype(np.int32),
        counts=rng.random(sum(map(len, items))).astype(np.float32),
        totals=rng.random(num_items + 1) + 4,
        item_counts=rng.integers(0, 50, num_items + 1),
        options=RuleOptions(decay=0.6, category=0.5),
        calibration=Calibration(
            log_tau=tuple(rng.normal(size=len(COUNT_KNOTS))),
            log_gain=tuple(rng.normal(size=len(COUNT_KNOTS))),
            prior=tuple(rng.normal(size=len(COUNT_KNOTS))),
            own=tuple(rng.normal(size=len(AGE_KNOTS))),
            log_c=3.0,
            category_gain=0.7,
            log_d=4.0,
        ),
        max_length=max_length,
    )
    rows = np.flatnonzero(rng.random(num_items) < in_corpus) + 1
    rows = rows if len(rows) else np.array([1])
    memory = CorpusMemory.of(table, item_rows=rows, category_rows=categories, num_categories=CATEGORIES, entries=4)
    return memory, categories


def by_hand(memory: CorpusMemory, history: list[int], categories: np.ndarray) -> dict[int, float]:
    """Position -> value for one raw history, oldest first."""
    num_items = len(memory.position_of_row) - 1
    rows = [row for row in history if 1 <= row <= num_items][-memory.max_length :]
    decay, c, of_category, d, gain = memory.numbers
    weights = [decay ** (len(rows) - 1 - place) for place in range(len(rows))]
    rules: dict[int, float] = defaultdict(float)
    shares: dict[int, float] = defaultdict(float)
    for row, weight in zip(rows, weights, strict=True):
        for entry in range(memory.row_splits[row], memory.row_splits[row + 1]):
            rules[int(memory.positions[entry])] += weight / sum(weights) * memory.values[entry]
        source = num_items + categories[row] if categories[row] else 0
        for entry in range(memory.row_splits[source], memory.row_splits[source + 1]):
            rules[int(memory.positions[entry])] += weight / sum(weights) * of_category * memory.values[entry]
            shares[int(memory.positions[entry])] += memory.values[entry] / len(rows)
    found = {
        position: memory.gain[position] * np.log1p(c * value) + gain * np.log1p(d * shares[position]) for position, value in rules.items()
    }
    ages = {row: age for age, row in reversed(list(enumerate(reversed(rows))))}
    for row, age in ages.items():
        position = int(memory.position_of_row[row])
        if position >= 0:
            found[position] = found.get(position, 0.0) + memory.own[age]
    return found


def recalled(memory: CorpusMemory, form: str, histories: np.ndarray, categories: np.ndarray) -> list[dict[int, float]]:
    tables = MemoryTables.create(memory)
    known = np.where(histories < len(categories), histories, 0)
    found = getattr(tables, form)(tf.constant(histories), tf.constant(categories[known]))
    splits, positions, values = (np.asarray(part) for part in found[:3])
    return [
        dict(zip(positions[first:last].tolist(), values[first:last].tolist(), strict=True)) for first, last in itertools.pairwise(splits)
    ]


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_a_users_memory_is_that_of_dictionaries(form, data) -> None:
    num_items = data.draw(st.integers(1, 12))
    memory, categories = some_memory(num_items, seed=data.draw(st.integers(0, 20)), in_corpus=data.draw(st.sampled_from([1.0, 0.6])))
    users, length = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 7))
    histories = np.array(
        data.draw(st.lists(st.lists(st.integers(0, num_items + 1), min_size=length, max_size=length), min_size=users, max_size=users))
    )
    for history, found in zip(histories, recalled(memory, form, histories, categories), strict=True):
        expected = by_hand(memory, history.tolist(), categories)
        assert set(found) == set(expected)
        for position, value in expected.items():
            assert found[position] == pytest.approx(value, rel=1e-4, abs=1e-5)


def test_no_users_have_no_memory() -> None:
    memory, categories = some_memory(5)
    assert recalled(memory, "stock", np.zeros((0, 3), np.int64), categories) == []
    assert recalled(memory, "stock", np.zeros((2, 3), np.int64), categories) == [{}, {}]


def test_the_best_entries_come_first() -> None:
    memory, categories = some_memory(12, seed=3)
    histories = np.array([[1, 2, 3], [0, 0, 0], [4, 0, 5]])
    tables = MemoryTables.create(memory)
    found = best_entries(tables.stock(tf.constant(histories), tf.constant(categories[histories])), tf.constant(3, tf.int64))
    for user, history in enumerate(histories):
        expected = by_hand(memory, history.tolist(), categories)
        best = sorted(expected, key=lambda position: -expected[position])[:3]
        assert found.values[found.row_splits[user] : found.row_splits[user + 1]].numpy().tolist() == best


def test_it_survives_a_checkpoints_arrays() -> None:
    memory, _ = some_memory(7)
    again = memory_of_arrays(memory_arrays(memory))
    for name, value in memory_arrays(memory).items():
        np.testing.assert_array_equal(memory_arrays(again)[name], value)


def test_arrays_of_an_earlier_version_hold_weighted_categories() -> None:
    memory, _ = some_memory(7)
    arrays = memory_arrays(memory)
    again = memory_of_arrays(arrays | {"memory_numbers": arrays["memory_numbers"][:2]})
    np.testing.assert_array_equal(again.numbers, [*memory.numbers[:2], 1, 0, 0])


@pytest.mark.parametrize("walk", [StockWalk, pytest.param(NativeWalk, marks=needs_native)])
def test_scan_and_walk_return_the_best_of_the_joined_score(make_corpus, walk) -> None:
    corpus = make_corpus(150)
    memory, categories = some_memory(150, seed=5, max_length=6)
    histories = corpus.histories(6, length=8)
    cates = categories[histories]
    scan = ExactRetriever(corpus.scorer, corpus.embeddings, top_k=20, search=OpSearch(block=64), memory=memory)(histories, cates)
    for user, history in enumerate(histories):
        beside = by_hand(memory, history.tolist(), categories)
        scores = memory.item_scale * (corpus.vectors @ corpus.user_vectors(histories)[user]) + memory.item_prior
        for position, value in beside.items():
            scores[position] += value
        order = np.argsort(-scores, kind="stable")[:20]
        np.testing.assert_allclose(scan.scores[user], scores[order], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(scores[scan.item_rows[user] - 1], scores[order], rtol=1e-4, atol=1e-3)
    wide = {"ef": (150, 150), "rounds": (150, 3), "top_k": 20}
    found = BeamRetriever(corpus.scorer, corpus.embeddings, corpus.graph, search=OpSearch(walk()), memory=memory, **wide)(histories, cates)
    np.testing.assert_allclose(found.scores, scan.scores, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("walk", [StockWalk, pytest.param(NativeWalk, marks=needs_native)])
def test_the_walk_starts_at_the_best_of_the_memory(make_corpus, walk) -> None:
    """With no round at all what is found are the entry points and the memory's best items."""
    corpus = make_corpus(150)
    memory, categories = some_memory(150, seed=5, max_length=6)
    histories = corpus.histories(4, length=8)
    search = {"ef": (1, 1), "rounds": (0, 0), "top_k": 150}
    found = BeamRetriever(corpus.scorer, corpus.embeddings, corpus.graph, search=OpSearch(walk()), memory=memory, **search)(
        histories, categories[histories]
    )
    for user, history in enumerate(histories):
        expected = by_hand(memory, history.tolist(), categories)
        best = sorted(expected, key=lambda position: -expected[position])[: memory.entries]
        entries = {int(point) for point in corpus.graph.enter_points}
        assert set((found.item_rows[user][found.item_rows[user] > 0] - 1).tolist()) == entries | set(best)
        assert found.items_scored[user] == len(entries | set(best))


@needs_native
@pytest.mark.parametrize("limit", [150, 0])
def test_a_filtered_search_joins_the_memory(make_corpus, limit) -> None:
    """Scanned, the exact answer; walked, the same in all forms, and with nothing filtered that of the unfiltered walk."""
    memory, categories = some_memory(150, seed=5, max_length=6)
    corpus = make_corpus(150)
    histories = corpus.histories(4, 6, seed=2)
    cates = categories[histories].astype(np.int64)
    program = FusedSearch("param matrix\nmatmul r1 r0 p0 - -\nresult r1\n", lambda user: [user[:, :, tf.newaxis]])
    parameters, found, unfiltered = SearchParameters(ef=(20, 10), rounds=(3, 1), top_k=12), [], []
    for search in (OpSearch(StockWalk()), OpSearch(NativeWalk()), program):
        tables = FilterTables.create(corpus.embeddings.item_rows, categories, CATEGORIES)
        given = corpus.scorer, corpus.embeddings, corpus.graph
        retriever = FilteredRetriever(*given, tables, parameters, limit=limit, search=search, memory=memory)
        found.append(
            retriever(histories, cates, exclude_history=np.ones(4, bool), category_rows=np.array([[1, 2], [0, 0], [3, 3], [0, 2]]))
        )
        unfiltered.append(retriever(histories, cates))
        if not limit:
            walk = BeamRetriever(*given, search=search, memory=memory, **vars(parameters))(histories, cates)
            np.testing.assert_array_equal(unfiltered[-1].item_rows, walk.item_rows)
    for user, wanted in enumerate([{1, 2}, set(range(CATEGORIES + 1)), {3}, {2}]):
        scores = memory.item_scale * (corpus.vectors @ corpus.user_vectors(histories)[user]) + memory.item_prior
        for position, value in by_hand(memory, histories[user].tolist(), categories).items():
            scores[position] += value
        passes = np.isin(categories[1:], list(wanted)) & ~np.isin(np.arange(1, 151), histories[user])
        best = np.argsort(-np.where(passes, scores, -np.inf), kind="stable")[: min(12, passes.sum())] + 1
        for answer in found:
            rows = answer.item_rows[user]
            assert passes[rows[rows > 0] - 1].all()
            if limit:
                np.testing.assert_array_equal(rows[rows > 0], best)
                np.testing.assert_allclose(answer.scores[user][: len(best)], scores[best - 1], rtol=1e-4, atol=1e-4)
    for answer in found[1:]:
        np.testing.assert_array_equal(answer.item_rows, found[0].item_rows)
        np.testing.assert_array_equal(answer.items_scored, found[0].items_scored)
