"""The filtered search in its forms against a walk and a scan in plain Python: equal ids, scores and numbers of items scored."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nann.index import Graph, NeighborLists
from nann.retrieval import (
    BeamRetriever,
    FilteredRetriever,
    FilterTables,
    FusedSearch,
    NativeWalk,
    OpSearch,
    Search,
    SearchParameters,
    StockWalk,
    plan_walk,
)
from nann.retrieval.filters import exact_limit
from ops import scoring

DOT = "param matrix\nmatmul r1 r0 p0 - -\nresult r1\n"
SEARCHES = {
    "stock": OpSearch(StockWalk()),
    "native": OpSearch(NativeWalk()),
    "fused": FusedSearch(DOT, lambda user: [user[:, :, tf.newaxis]]),
}
NUM_CATEGORIES = 5
SEARCH: dict[str, Any] = {"ef": (20, 12), "rounds": (4, 2), "top_k": 15}


@pytest.fixture(params=sorted(SEARCHES))
def search(request: pytest.FixtureRequest) -> Search:
    if request.param != "stock" and not scoring.available():
        pytest.skip("the native library is not built; run `make install`")
    return SEARCHES[request.param]


@dataclass
class Asked:
    """A corpus with categories, and what some users ask of it."""

    corpus: Any
    categories: np.ndarray  # by row
    available: np.ndarray  # by position
    prior: np.ndarray
    histories: np.ndarray
    exclude: np.ndarray
    exclude_history: np.ndarray
    wanted: np.ndarray

    def passes(self, user: int) -> np.ndarray:
        rows = np.arange(1, len(self.available) + 1)
        excluded = set(self.exclude[user]) | (set(self.histories[user]) if self.exclude_history[user] else set())
        wanted = set(self.wanted[user].tolist()) - {0}
        own = self.categories[rows]
        passing = self.available & ~np.isin(rows, list(excluded))
        return passing & np.isin(own, list(wanted)) & (own > 0) if wanted else passing

    def scores(self, user: int) -> np.ndarray:
        return self.corpus.vectors @ self.corpus.user_vectors(self.histories[user : user + 1])[0] + self.prior

    def tables(self) -> FilterTables:
        tables = FilterTables.create(self.corpus.embeddings.item_rows, self.categories, NUM_CATEGORIES)
        tables.assign(tf.constant(np.append([False], self.available)), tf.constant(np.append([0], self.prior), tf.float32))
        return tables

    def retrieve(self, search: Search, graph: Graph, limit: int | None, **parameters: Any) -> Any:
        scorer, embeddings = self.corpus.scorer, self.corpus.embeddings
        retriever = FilteredRetriever(scorer, embeddings, graph, self.tables(), SearchParameters(**parameters), limit=limit, search=search)
        more = {"exclude_rows": self.exclude, "exclude_history": self.exclude_history, "category_rows": self.wanted}
        return retriever(self.histories, np.zeros_like(self.histories), **more)


def asked(make_corpus: Any, rng: np.random.Generator, count: int = 300, users: int = 4, dim: int = 6) -> Asked:
    wanted = rng.integers(-1, NUM_CATEGORIES + 3, size=(users, 2))
    wanted[rng.random(users) < 0.5] = 0
    corpus = make_corpus(count, dim=dim, seed=count)
    return Asked(
        corpus=corpus,
        categories=np.append([0], rng.integers(0, NUM_CATEGORIES + 1, count)),
        available=rng.random(count) < rng.choice([0.05, 0.5, 0.95, 1.0]),
        prior=rng.integers(-40, 41, count).astype(np.float32) * rng.integers(0, 2),
        histories=corpus.histories(users, seed=int(rng.integers(100))),
        exclude=rng.integers(-3, count + 5, size=(users, int(rng.integers(0, 40)))),
        exclude_history=rng.random(users) < 0.5,
        wanted=wanted,
    )


def scan_in_python(given: Asked, user: int, top_k: int) -> tuple[list[int], list[float]]:
    passing, scores = np.flatnonzero(given.passes(user)), given.scores(user)
    best = passing[np.argsort(-scores[passing], kind="stable")][:top_k]
    return best.tolist(), scores[best].tolist()


def walk_in_python(given: Asked, user: int, graph: Graph, **search: Any) -> tuple[list[int], list[float], int]:
    """The walk with two pools, from its description alone; a scan where it finds too few."""
    passing, scores, plan = given.passes(user), given.scores(user), plan_walk(graph, **search)
    count, blocked = int(passing.sum()), int((~passing).sum())
    order: list[int] = []  # positions as they were met

    def ranked(own: bool) -> list[int]:
        return sorted((p for p in order if passing[p] == own), key=lambda p: -scores[p])  # stable: of equal scores the earlier

    def frontier(ef: int, new: set[int]) -> list[int]:
        best, others = ranked(True)[:ef], ranked(False)
        least = scores[best[ef - 1]] if len(best) == ef else -np.inf
        width = min(ef // 4 + ef * blocked // (4 * max(count, 1)), blocked)
        return [p for p in best if p in new] + [p for p in others[:width] if p in new and scores[p] > least]

    order += plan.enter_points.tolist()
    for level in plan.levels:
        leading = frontier(min(level.ef, len(scores)), set(order))
        for _ in range(level.rounds):
            found = [int(n) for p in leading for n in graph.levels[level.level].of(p)]
            new = [p for p in dict.fromkeys(found) if p not in order]
            order += new
            leading = frontier(min(level.ef, len(scores)), set(new))
    best = ranked(True)[: search["top_k"]]
    if len(best) < min(search["top_k"], count):
        return *scan_in_python(given, user, search["top_k"]), len(order) + count
    return best, scores[best].tolist(), len(order)


def check(given: Asked, retrieved: Any, expected: list[tuple[list[int], list[float], int]], top_k: int) -> None:
    for user, (positions, scores, scored) in enumerate(expected):
        missing = top_k - len(positions)
        assert retrieved.item_rows[user].tolist() == [p + 1 for p in positions] + [0] * missing
        assert retrieved.scores[user].tolist() == scores + [-np.inf] * missing
        assert retrieved.items_scored[user] == scored


@pytest.mark.parametrize("seed", range(3))
def test_a_scan_is_exact(search: Search, make_corpus: Any, seed: int) -> None:
    given = asked(make_corpus, np.random.default_rng(seed))
    expected = [(*scan_in_python(given, user, 15), int(given.passes(user).sum())) for user in range(4)]
    check(given, given.retrieve(search, given.corpus.graph, 300, **SEARCH), expected, 15)


@pytest.mark.parametrize("seed", range(3))
def test_a_walk_equals_its_description(search: Search, make_corpus: Any, seed: int) -> None:
    given = asked(make_corpus, np.random.default_rng(seed), count=700)
    expected = [walk_in_python(given, user, given.corpus.graph, **SEARCH) for user in range(4)]
    check(given, given.retrieve(search, given.corpus.graph, -1, **SEARCH), expected, 15)
    assert min(scored for *_, scored in expected) < 500


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), count=st.integers(1, 40), users=st.integers(1, 4), top_k=st.integers(1, 50), limit=st.integers(-1, 40))
def test_random_graphs(search: Search, make_corpus: Any, data: Any, count: int, users: int, top_k: int, limit: int) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    given = asked(make_corpus, rng, count, users, dim=2)

    def random_lists(density: float) -> NeighborLists:
        edges = rng.random((count, count)) < density
        splits = np.concatenate([[0], np.cumsum(edges.sum(1))])
        return NeighborLists(values=np.nonzero(edges)[1].astype(np.int32), row_splits=splits.astype(np.int64))

    entries = np.flatnonzero(rng.random(count) < 0.2)
    graph = Graph(enter_points=entries if len(entries) else np.array([0]), levels=(random_lists(0.1), random_lists(0.05)))
    parameters: dict[str, Any] = {"ef": (6, 4), "rounds": (3, 1), "top_k": top_k}
    expected = []
    for user in range(users):
        passing = int(given.passes(user).sum())
        scan = (*scan_in_python(given, user, top_k), passing)
        expected.append(scan if passing <= limit else walk_in_python(given, user, graph, **parameters))
    retrieved = given.retrieve(search, graph, limit, **parameters)
    check(given, retrieved, expected, top_k)
    for user in range(users):  # whatever the search, what exists is returned, and nothing else
        rows = retrieved.item_rows[user]
        assert given.passes(user)[rows[rows > 0] - 1].all()
        assert (rows > 0).sum() == min(top_k, given.passes(user).sum())


def test_without_a_filter_the_walk_is_the_unfiltered_one(search: Search, make_corpus: Any) -> None:
    corpus = make_corpus(700)
    histories = corpus.histories(5)
    expected = BeamRetriever(corpus.scorer, corpus.embeddings, corpus.graph, **SEARCH, search=search)(histories, np.zeros_like(histories))
    tables = FilterTables.create(corpus.embeddings.item_rows, np.zeros(701, np.int64), NUM_CATEGORIES)
    retriever = FilteredRetriever(
        corpus.scorer, corpus.embeddings, corpus.graph, tables, SearchParameters(**SEARCH), limit=0, search=search
    )
    for found, wanted in zip(retriever(histories, np.zeros_like(histories)), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("users", [0, 1])
def test_no_users_and_nothing_that_passes(search: Search, make_corpus: Any, users: int) -> None:
    corpus = make_corpus(50)
    tables = FilterTables.create(corpus.embeddings.item_rows, np.zeros(51, np.int64), NUM_CATEGORIES)
    retriever = FilteredRetriever(
        corpus.scorer, corpus.embeddings, corpus.graph, tables, SearchParameters(**SEARCH), limit=10, search=search
    )
    histories = corpus.histories(users)
    found = retriever(histories, np.zeros_like(histories), category_rows=np.full((users, 1), 3))
    assert found.item_rows.tolist() == [[0] * 15] * users
    assert (found.scores == -np.inf).all()
    assert found.items_scored.tolist() == [0] * users


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("exclude_rows", np.zeros((3, 2), np.int64)),
        ("exclude_history", np.zeros(1, bool)),
        ("exclude_history", np.zeros(3, bool)),
        ("category_rows", np.zeros((1, 2), np.int64)),
    ],
)
def test_numbers_of_users_that_differ_are_refused(make_corpus: Any, name: str, value: np.ndarray) -> None:
    corpus = make_corpus(50)
    tables = FilterTables.create(corpus.embeddings.item_rows, np.zeros(51, np.int64), NUM_CATEGORIES)
    retriever = FilteredRetriever(corpus.scorer, corpus.embeddings, corpus.graph, tables, SearchParameters(**SEARCH))
    histories = corpus.histories(2)
    with pytest.raises(tf.errors.InvalidArgumentError):
        retriever(histories, np.zeros_like(histories), **{name: value})


@pytest.mark.parametrize(
    ("available", "prior", "problem"),
    [
        (np.ones(50, bool), np.zeros(51), "needs 51 values"),
        (np.ones(51, bool), np.zeros(52), "needs 51 values"),
        (np.ones(51, bool), np.full(51, np.nan), "finite"),
        (np.ones(51, bool), np.full(51, -np.inf), "finite"),
    ],
)
def test_tables_that_do_not_fit_are_refused(make_corpus: Any, available: np.ndarray, prior: np.ndarray, problem: str) -> None:
    tables = FilterTables.create(make_corpus(50).embeddings.item_rows, np.zeros(51, np.int64), NUM_CATEGORIES)
    with pytest.raises(tf.errors.InvalidArgumentError, match=problem):
        tables.assign(tf.constant(available), tf.constant(prior, tf.float32))


def test_the_limit_grows_with_width_and_corpus() -> None:
    assert exact_limit((400, 400), 42_000) < exact_limit((400, 400), 1_000_000) < exact_limit((800,), 1_000_000) < 1_000_000
