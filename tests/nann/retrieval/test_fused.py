"""The fused walk and scan with a memory of pairs, against the walk in plain Python and a full sort."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nann.retrieval import SearchInputs, SearchParameters, SearchTables, plan_walk
from nann.retrieval.fused import fused_scan, fused_search
from ops import scoring

pytestmark = pytest.mark.skipif(not scoring.available(), reason="the native library is not built; run `make install`")
PROGRAM = "param matrix\nmatmul r1 r0 p0 - -\nresult r1\n"
COUNT = 500


def make_memory(histories: np.ndarray, seed: int = 0) -> scoring.UserMemory:
    """Of a random table with 20 entries for each item: item row i has row i of the table and position i - 1."""
    rng = np.random.default_rng(seed)
    found = scoring.pair_memory(
        item_sources=tf.constant(histories),
        category_sources=tf.zeros_like(histories),
        item_positions=tf.constant(histories - 1),
        table_row_splits=tf.range(0, 20 * COUNT + 21, 20, tf.int64),
        table_positions=tf.constant(rng.integers(0, COUNT, size=20 * COUNT + 20), tf.int32),
        table_values=tf.constant(rng.random(20 * COUNT + 20), tf.float32),
        decay=tf.constant(0.9),
        rule_scale=tf.constant(30.0),
        category_weight=tf.constant(1.0),
        category_scale=tf.constant(0.0),
        category_gain=tf.constant(0.0),
        own=tf.constant([-50.0, 20.0]),
        gain=tf.constant(rng.uniform(0, 40, size=COUNT), tf.float32),
    )
    item_scale = tf.constant(rng.uniform(0.5, 2, size=COUNT), tf.float32)
    return scoring.UserMemory(*found, item_scale, tf.constant(rng.normal(size=COUNT), tf.float32))


def adjusted(logits: np.ndarray, memory: scoring.UserMemory) -> np.ndarray:
    splits, positions, values, item_scale, item_prior = (tensor.numpy() for tensor in memory)
    scores = item_scale * logits + item_prior
    for user, row in enumerate(scores):
        row[positions[splits[user] : splits[user + 1]]] += values[splits[user] : splits[user + 1]]
    return scores


@pytest.mark.parametrize("users", [1, 6])
def test_walk_and_scan_with_a_memory(reference_walk, make_corpus: Any, users: int) -> None:
    corpus = make_corpus(COUNT)
    histories = corpus.histories(users)
    histories[-1] = 0  # nobody's: an empty memory
    memory, vectors = make_memory(histories), corpus.user_vectors(histories)
    scores = adjusted(vectors @ corpus.vectors.T, memory)
    user_state, parameters = (tf.constant(vectors),), [tf.constant(vectors[:, :, np.newaxis])]
    search = SearchParameters(ef=(20, 10, 10), rounds=(4, 2, 1), top_k=15)
    tables = SearchTables.create(corpus.embeddings, corpus.graph, max_levels=3)

    found, _ = fused_search(PROGRAM, parameters, user_state, tables, SearchInputs.of(search), memory=memory)
    plan = plan_walk(corpus.graph, ef=search.ef, rounds=search.rounds, top_k=search.top_k)
    for user in range(users):
        positions, best, scored = reference_walk(lambda p, user=user: scores[user, p].tolist(), corpus.graph, plan)
        assert found.positions[user].numpy().tolist() == positions
        assert found.scores[user].numpy().tolist() == best
        assert found.items_scored[user].numpy() == scored

    scan = fused_scan(PROGRAM, parameters, user_state, corpus.vectors, top_k=15, memory=memory)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :15]
    np.testing.assert_array_equal(scan.positions, order)
    np.testing.assert_array_equal(scan.scores, np.take_along_axis(scores, order, 1))


def test_the_best_of_the_memory_is_found_without_a_walk(make_corpus: Any) -> None:
    corpus = make_corpus(COUNT)
    histories = corpus.histories(4)
    memory, vectors = make_memory(histories), corpus.user_vectors(histories)
    scores = adjusted(vectors @ corpus.vectors.T, memory)
    search = SearchInputs.of(SearchParameters(ef=(5, 5, 5), rounds=(0, 0, 0), top_k=30))
    tables = SearchTables.create(corpus.embeddings, corpus.graph, max_levels=3)
    parameters = [tf.constant(vectors[:, :, np.newaxis])]
    found, _ = fused_search(PROGRAM, parameters, (tf.constant(vectors),), tables, search, memory=memory, memory_entries=tf.constant(10))
    splits, positions = memory.row_splits.numpy(), memory.positions.numpy()
    for user in range(4):
        offered = list({*corpus.graph.enter_points.tolist(), *positions[splits[user] : splits[user + 1]][:10].tolist()})
        assert found.items_scored[user].numpy() == len(offered)
        expected = np.sort(scores[user, offered])[::-1][:30]
        np.testing.assert_array_equal(found.scores[user, : len(expected)], expected)
