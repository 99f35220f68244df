"""The walk in TensorFlow against the walk in plain Python: equal ids, scores and numbers of items scored."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nann.index import Graph, NeighborLists
from nann.retrieval import BeamRetriever, plan_walk
from nann.retrieval.reference import reference_walk


def check_against_reference(corpus: Any, histories: np.ndarray, graph: Graph, **search: Any) -> np.ndarray:
    retrieved = BeamRetriever(corpus.scorer, corpus.embeddings, graph, **search)(histories, np.zeros_like(histories))
    plan = plan_walk(graph, **search)
    top_k = search["top_k"]
    assert retrieved.item_rows.shape == retrieved.scores.shape == (len(histories), top_k)
    for user, vector in enumerate(corpus.user_vectors(histories)):
        positions, scores, scored = reference_walk(lambda p, v=vector: (corpus.vectors[p] @ v).tolist(), graph, plan)
        missing = top_k - len(positions)
        assert retrieved.item_rows[user].tolist() == [p + 1 for p in positions] + [0] * missing
        assert retrieved.scores[user].tolist() == scores + [-np.inf] * missing
        assert retrieved.items_scored[user] == scored
    return retrieved.items_scored


@pytest.mark.parametrize("users", [1, 5])
@pytest.mark.parametrize(
    "search",
    [
        {"ef": (20, 20, 10), "rounds": (4, 2, 1), "top_k": 10},
        {"ef": (5, 30), "rounds": (6, 3), "top_k": 25},
        {"ef": (8,), "rounds": (3,), "top_k": 40},
        {"ef": (50, 10, 5, 4), "rounds": (2, 0, 1, 3), "top_k": 1},
    ],
)
def test_equals_the_reference(make_corpus: Any, users: int, search: dict) -> None:
    corpus = make_corpus(600)
    items_scored = check_against_reference(corpus, corpus.histories(users), corpus.graph, **search)
    assert items_scored.max() < 600


def test_rounds_wider_than_one_step_of_padding_equal_the_reference(make_corpus: Any) -> None:
    corpus = make_corpus(2500)
    scored = check_against_reference(corpus, corpus.histories(2), corpus.graph, ef=(400, 100), rounds=(3, 1), top_k=50)
    assert scored.min() > 3 * 256


@settings(max_examples=12, deadline=None)
@given(data=st.data(), count=st.integers(1, 40), users=st.integers(1, 4), top_k=st.integers(1, 50))
def test_equals_the_reference_on_random_graphs(make_corpus: Any, data: Any, count: int, users: int, top_k: int) -> None:
    corpus = make_corpus(count, dim=2, seed=count)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))

    def random_lists(density: float) -> NeighborLists:
        edges = rng.random((count, count)) < density
        splits = np.concatenate([[0], np.cumsum(edges.sum(1))])
        return NeighborLists(values=np.nonzero(edges)[1].astype(np.int32), row_splits=splits.astype(np.int64))

    entries = np.flatnonzero(rng.random(count) < 0.2)
    graph = Graph(enter_points=entries if len(entries) else np.array([0]), levels=(random_lists(0.1), random_lists(0.05)))
    check_against_reference(corpus, corpus.histories(users), graph, ef=(6, 4), rounds=(3, 1), top_k=top_k)


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_small_corpora_are_padded(make_corpus: Any, count: int) -> None:
    corpus = make_corpus(count, start_level=0)
    histories = corpus.histories(3)
    scored = check_against_reference(corpus, histories, corpus.graph, ef=(400, 400, 200), rounds=(8, 2, 1), top_k=200)
    assert scored.tolist() == [count] * 3


def test_a_user_alone_and_in_a_batch_gets_the_same(make_corpus: Any) -> None:
    corpus = make_corpus(500)
    histories = corpus.histories(6)
    retriever = BeamRetriever(corpus.scorer, corpus.embeddings, corpus.graph, ef=(30, 20), rounds=(4, 1), top_k=20)
    together = retriever(histories, np.zeros_like(histories))
    for user in range(6):
        alone = retriever(histories[user : user + 1], np.zeros((1, 3), np.int64))
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_array_equal(a[0], b[user])


def test_no_users_give_no_rows(make_corpus: Any) -> None:
    corpus = make_corpus(300)
    retriever = BeamRetriever(corpus.scorer, corpus.embeddings, corpus.graph, ef=(30, 20), rounds=(4, 1), top_k=20)
    retrieved = retriever(np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64))
    assert retrieved.item_rows.shape == (0, 20)
    assert retrieved.items_scored.shape == (0,)


def test_other_embeddings_than_the_graph_are_refused(make_corpus: Any) -> None:
    corpus, other = make_corpus(20), make_corpus(21)
    with pytest.raises(ValueError, match="graph has 20 nodes but there are 21 embeddings"):
        BeamRetriever(other.scorer, other.embeddings, corpus.graph, ef=(5,), rounds=(1,), top_k=3)
