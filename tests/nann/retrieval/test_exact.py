"""The exact scan against a full sort."""

from typing import Any

import numpy as np
import pytest

from nann.retrieval import BeamRetriever, ExactRetriever, OpSearch


@pytest.mark.parametrize(("count", "block", "top_k"), [(1, 8, 5), (50, 7, 10), (300, 64, 300), (300, 300, 12), (300, 1000, 400)])
def test_equals_a_full_sort(make_corpus: Any, count: int, block: int, top_k: int) -> None:
    corpus = make_corpus(count)
    histories = corpus.histories(4)
    retriever = ExactRetriever(corpus.scorer, corpus.embeddings, top_k=top_k, search=OpSearch(block=block))
    retrieved = retriever(histories, np.zeros_like(histories))
    scores = corpus.user_vectors(histories) @ corpus.vectors.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    missing = top_k - order.shape[1]
    np.testing.assert_array_equal(retrieved.item_rows, np.pad(order + 1, ((0, 0), (0, missing))))
    expected = np.pad(np.take_along_axis(scores, order, 1), ((0, 0), (0, missing)), constant_values=-np.inf)
    np.testing.assert_array_equal(retrieved.scores, expected)
    assert retrieved.items_scored.tolist() == [count] * 4


def test_the_walk_finds_what_the_scan_finds(make_corpus: Any) -> None:
    corpus = make_corpus(2000, m=8, ef_construction=100)
    histories = corpus.histories(16, length=1)
    exact = ExactRetriever(corpus.scorer, corpus.embeddings, top_k=20)(histories, np.zeros_like(histories))
    walk = BeamRetriever(corpus.scorer, corpus.embeddings, corpus.graph, ef=(60, 60), rounds=(6, 2), top_k=20)
    found = walk(histories, np.zeros_like(histories))
    shared = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(found.item_rows, exact.item_rows, strict=True)]
    assert np.mean(shared) / 20 > 0.9
    assert found.items_scored.mean() < 1200
