"""The walk in TensorFlow against the walk in plain Python: equal ids, scores and numbers of items scored."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nann.index import Graph, NeighborLists
from nann.retrieval import (
    BeamRetriever,
    ExactRetriever,
    FusedScorer,
    FusedSearch,
    NativeWalk,
    OpSearch,
    Search,
    SearchParameters,
    StockWalk,
    Walk,
    plan_walk,
)
from ops import retrieval as native_ops
from ops import scoring

WALKS = {"stock": StockWalk, "native": NativeWalk}


@pytest.fixture(params=sorted(WALKS))
def walk(request: pytest.FixtureRequest) -> Walk:
    if request.param == "native" and not native_ops.available():
        pytest.skip("the native library is not built; run `make install`")
    return WALKS[request.param]()


@pytest.fixture
def check_against_reference(reference_walk: Any) -> Any:
    def check(search_by: Search, corpus: Any, histories: np.ndarray, graph: Graph, **search: Any) -> np.ndarray:
        retrieved = BeamRetriever(corpus.scorer, corpus.embeddings, graph, search=search_by, **search)(histories, np.zeros_like(histories))
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

    return check


@pytest.mark.parametrize("users", [1, 5])
@pytest.mark.parametrize(
    "search",
    [
        {"ef": (20, 20, 10), "rounds": (4, 2, 1), "top_k": 10},
        {"ef": (5, 30), "rounds": (6, 3), "top_k": 25},
        {"ef": (8,), "rounds": (3,), "top_k": 40},
        {"ef": (50, 10, 5, 4), "rounds": (2, 0, 1, 3), "top_k": 1},
        {"ef": (20, 10), "rounds": (4, 2), "top_k": 10, "start_level": 1},
        {"ef": (20, 10, 5, 5), "rounds": (4, 2, 1, 1), "top_k": 10, "start_level": 3},
        {"ef": (20, 10), "rounds": (4, 2), "top_k": 10, "start_level": 99},
    ],
)
def test_equals_the_reference(check_against_reference: Any, walk: Walk, make_corpus: Any, users: int, search: dict) -> None:
    corpus = make_corpus(600)
    items_scored = check_against_reference(OpSearch(walk), corpus, corpus.histories(users), corpus.graph, **search)
    assert items_scored.max() < 600


def test_rounds_wider_than_one_step_of_padding_equal_the_reference(check_against_reference: Any, walk: Walk, make_corpus: Any) -> None:
    corpus = make_corpus(2500)
    scored = check_against_reference(OpSearch(walk), corpus, corpus.histories(2), corpus.graph, ef=(400, 100), rounds=(3, 1), top_k=50)
    assert scored.min() > 3 * 256


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), count=st.integers(1, 40), users=st.integers(1, 4), top_k=st.integers(1, 50))
def test_equals_the_reference_on_random_graphs(
    check_against_reference: Any, walk: Walk, make_corpus: Any, data: Any, count: int, users: int, top_k: int
) -> None:
    corpus = make_corpus(count, dim=2, seed=count)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))

    def random_lists(density: float) -> NeighborLists:
        edges = rng.random((count, count)) < density
        splits = np.concatenate([[0], np.cumsum(edges.sum(1))])
        return NeighborLists(values=np.nonzero(edges)[1].astype(np.int32), row_splits=splits.astype(np.int64))

    entries = np.flatnonzero(rng.random(count) < 0.2)
    graph = Graph(enter_points=entries if len(entries) else np.array([0]), levels=(random_lists(0.1), random_lists(0.05)))
    check_against_reference(OpSearch(walk), corpus, corpus.histories(users), graph, ef=(6, 4), rounds=(3, 1), top_k=top_k)


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_small_corpora_are_padded(check_against_reference: Any, walk: Walk, make_corpus: Any, count: int) -> None:
    corpus = make_corpus(count, start_level=0)
    histories = corpus.histories(3)
    scored = check_against_reference(OpSearch(walk), corpus, histories, corpus.graph, ef=(400, 400, 200), rounds=(8, 2, 1), top_k=200)
    assert scored.tolist() == [count] * 3


def test_a_user_alone_and_in_a_batch_gets_the_same(walk: Walk, make_corpus: Any) -> None:
    corpus = make_corpus(500)
    histories = corpus.histories(6)
    retriever = BeamRetriever(corpus.scorer, corpus.embeddings, corpus.graph, ef=(30, 20), rounds=(4, 1), top_k=20, search=OpSearch(walk))
    together = retriever(histories, np.zeros_like(histories))
    for user in range(6):
        alone = retriever(histories[user : user + 1], np.zeros((1, 3), np.int64))
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_array_equal(a[0], b[user])


def test_no_users_give_no_rows(walk: Walk, make_corpus: Any) -> None:
    corpus = make_corpus(300)
    retriever = BeamRetriever(corpus.scorer, corpus.embeddings, corpus.graph, ef=(30, 20), rounds=(4, 1), top_k=20, search=OpSearch(walk))
    retrieved = retriever(np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64))
    assert retrieved.item_rows.shape == (0, 20)
    assert retrieved.items_scored.shape == (0,)


def test_other_embeddings_than_the_graph_are_refused(make_corpus: Any) -> None:
    corpus, other = make_corpus(20), make_corpus(21)
    with pytest.raises(ValueError, match="graph has 20 nodes but there are 21 embeddings"):
        BeamRetriever(other.scorer, other.embeddings, corpus.graph, ef=(5,), rounds=(1,), top_k=3)


def test_parameters_may_change_between_calls(walk: Walk, make_corpus: Any) -> None:
    corpus = make_corpus(500)
    histories = corpus.histories(3)
    retriever = BeamRetriever(corpus.scorer, corpus.embeddings, corpus.graph, ef=(30, 20), rounds=(4, 1), top_k=20, search=OpSearch(walk))
    for parameters in (SearchParameters((5, 9), (2, 0), 30), SearchParameters((40, 9), (1, 1), 3, start_level=1)):
        retriever.parameters = parameters
        found = retriever(histories, np.zeros_like(histories))
        fresh = BeamRetriever(corpus.scorer, corpus.embeddings, corpus.graph, search=OpSearch(walk), **vars(parameters))
        for a, b in zip(found, fresh(histories, np.zeros_like(histories)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("widths", [(256,), (7, 19, 64)])
def test_both_forms_are_equal_in_every_bit(make_corpus: Any, widths: tuple[int, ...]) -> None:
    if not native_ops.available():
        pytest.skip("the native library is not built; run `make install`")
    corpus = make_corpus(3000, m=8)
    corpus.scorer = MlpScorer(corpus.vectors)
    histories = corpus.histories(7)
    search: dict[str, Any] = {"ef": (100, 50), "rounds": (4, 2), "top_k": 60}
    stock, native = (
        BeamRetriever(corpus.scorer, corpus.embeddings, corpus.graph, search=by, **search)(histories, np.zeros_like(histories))
        for by in (OpSearch(StockWalk(widths)), OpSearch(NativeWalk(widths)))
    )
    for a, b in zip(stock, native, strict=True):
        np.testing.assert_array_equal(a, b)


class MlpScorer:
    """A scorer whose logits are rounded, and so depend on how a product is blocked."""

    def __init__(self, vectors: np.ndarray) -> None:
        rng = np.random.default_rng(0)
        self.table = tf.constant(np.concatenate([np.zeros((1, vectors.shape[1])), vectors]).astype(np.float32))
        self.first = tf.constant(rng.normal(size=(vectors.shape[1], 64)).astype(np.float32))

    def user_state(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (tf.tanh(tf.reduce_sum(tf.gather(self.table, item_rows), axis=1) @ self.first),)

    def score(self, user_state: tuple[tf.Tensor, ...], items: tf.Tensor) -> tf.Tensor:
        return tf.linalg.matvec(tf.tanh(tf.matmul(items, self.first)), user_state[0])


# the inner product of the corpus' scorer as a program
FUSED_DOT = FusedSearch("param matrix\nmatmul r1 r0 p0 - -\nresult r1\n", lambda user: [user[:, :, tf.newaxis]])


@pytest.mark.parametrize("users", [1, 5])
@pytest.mark.parametrize(
    "search",
    [
        {"ef": (20, 20, 10), "rounds": (4, 2, 1), "top_k": 10},
        {"ef": (8,), "rounds": (3,), "top_k": 40},
        {"ef": (50, 10, 5, 4, 3, 3, 3, 3), "rounds": (2, 0, 1, 3, 1, 1, 1, 1), "top_k": 1},
        {"ef": (20, 10), "rounds": (4, 2), "top_k": 10, "start_level": 1},
        {"ef": (20, 10), "rounds": (4, 2), "top_k": 10, "start_level": 99},
        {"ef": (400, 100), "rounds": (3, 1), "top_k": 600},
    ],
)
def test_the_fused_walk_equals_the_reference(check_against_reference: Any, make_corpus: Any, users: int, search: dict) -> None:
    if not scoring.available():
        pytest.skip("the native library is not built; run `make install`")
    corpus = make_corpus(700)
    histories = corpus.histories(users)
    check_against_reference(FUSED_DOT, corpus, histories, corpus.graph, **search)
    histories = corpus.histories(users, seed=9)
    exact = ExactRetriever(corpus.scorer, corpus.embeddings, top_k=30, search=FUSED_DOT)(histories, np.zeros_like(histories))
    expected = ExactRetriever(corpus.scorer, corpus.embeddings, top_k=30)(histories, np.zeros_like(histories))
    for a, b in zip(exact, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_fused_scorer_of_earlier_programs_brings_its_search(make_corpus: Any) -> None:
    if not scoring.available():
        pytest.skip("the native library is not built; run `make install`")
    corpus = make_corpus(300)
    histories = corpus.histories(3)
    with pytest.warns(DeprecationWarning, match="search=FusedSearch"):
        scorer = FusedScorer(corpus.scorer, FUSED_DOT)
    traced = []
    scorer.score = traced.append  # the program takes its place
    search = {"ef": (20, 10), "rounds": (4, 2), "top_k": 10}
    for kind, corpus_parts in ((BeamRetriever, (corpus.embeddings, corpus.graph)), (ExactRetriever, (corpus.embeddings,))):
        options = search if kind is BeamRetriever else {"top_k": 10}
        found, expected = (kind(each, *corpus_parts, **options)(histories, np.zeros_like(histories)) for each in (scorer, corpus.scorer))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    assert traced == []
