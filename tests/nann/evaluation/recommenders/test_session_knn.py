"""VSKNN against its definition, written out over Python sets, and its bounds."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nann.evaluation.recommenders import KnnSettings, SessionKnn, session_knn


def flatten(users: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([i for user in users for i in user], dtype=np.int32), np.cumsum([0, *map(len, users)])


def brute_force(users: list[list[int]], history: list[int], num_items: int, chosen: KnnSettings) -> np.ndarray:
    events, sets = [i for i in reversed(history) if i], [set(user) for user in users]
    weight = {i: chosen.decay ** events.index(i) for i in events}
    similarity = [sum(weight[i] for i in weight if i in s) / max(len(s), 1) ** chosen.damping for s in sets]
    near = [u for u in range(len(sets)) if similarity[u] > 0]
    near = sorted(near, key=lambda u: (-round(similarity[u], 12), u))[: chosen.neighbours]
    scores = np.zeros(num_items + 1)
    for u in near:
        for j in sets[u]:
            scores[j] += similarity[u] * max(weight[i] for i in weight if i in sets[u])
    for j in range(1, num_items + 1):
        if holders := sum(j in s for s in sets):
            scores[j] *= 1 + chosen.idf * np.log(len(sets) / holders)
    best = scores.max() or 1.0
    for i, w in weight.items():
        scores[i] += chosen.own * w * best
    return scores


def test_a_small_case() -> None:
    # Both users with item 1 have 2, one of them 3 too; nobody has 5.
    knn = SessionKnn(*flatten([[1, 2], [1, 2, 3], [3, 4]]), num_items=5)
    plain = KnnSettings(own=0)
    assert knn.recommend(np.array([[1, 0], [4, 0], [5, 0]]), 4, plain).tolist() == [[1, 2, 3, 0], [3, 4, 0, 0], [0, 0, 0, 0]]
    nearest = KnnSettings(neighbours=1, own=0)
    assert knn.recommend(np.array([[1, 0]]), 4, nearest, fill=np.array([4, 1])).tolist() == [[1, 2, 4, 0]]


def test_own_items_lead_by_their_bonus_and_need_no_neighbour() -> None:
    knn = SessionKnn(*flatten([[1, 2], [1, 2, 3]]), num_items=5)
    histories = np.array([[5, 3, 1, 0]])
    assert knn.recommend(histories, 4, KnnSettings(own=0)).tolist() == [[1, 2, 3, 0]]
    assert knn.recommend(histories, 4, KnnSettings(own=3, decay=0.9)).tolist() == [[1, 3, 5, 2]]
    assert knn.recommend(np.array([[5, 4]]), 2, KnnSettings(own=1)).tolist() == [[4, 5]]


item = st.integers(1, 7)


@settings(max_examples=150, deadline=None)
@given(
    users=st.lists(st.lists(item, min_size=0, max_size=6), min_size=1, max_size=9),
    histories=st.lists(st.lists(st.integers(0, 7), min_size=5, max_size=5), min_size=1, max_size=4),
    every=st.lists(
        st.builds(
            KnnSettings,
            neighbours=st.integers(1, 5),
            decay=st.sampled_from([0.5, 0.8, 1.0]),
            damping=st.sampled_from([0.0, 0.5, 1.0]),
            idf=st.sampled_from([0.0, 1.0]),
            own=st.sampled_from([0.0, 0.5, 2.0]),
        ),
        min_size=1,
        max_size=3,
    ),
    k=st.integers(1, 9),
)
def test_against_the_formula(users: list[list[int]], histories: list[list[int]], every: list[KnnSettings], k: int) -> None:
    found = SessionKnn(*flatten(users), num_items=7).recommend_each(np.array(histories), k, every)
    for chosen, lists in zip(every, found, strict=True):
        for history, row in zip(histories, lists, strict=True):
            scores = np.round(brute_force(users, history, 7, chosen), 9)
            order = [int(j) for j in np.lexsort((np.arange(8), -scores)) if scores[j] > 0][:k]
            assert scores[row[row > 0]] == pytest.approx(scores[order])
            assert np.count_nonzero(row) == len(order) == len(set(row[row > 0].tolist()))


def test_users_count_with_their_newest_items_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    users = [rng.integers(1, 12, rng.integers(0, 15)).tolist() for _ in range(30)]
    expected = []
    for user in users:
        newest = list(dict.fromkeys(reversed(user)))[:4]
        expected.append(newest[::-1])
    for at_once in (1, 20, 10_000):
        monkeypatch.setattr(session_knn, "EVENTS_AT_ONCE", at_once)
        items, lengths = session_knn.newest_distinct(*flatten(users), 4)
        splits = np.cumsum([0, *lengths])
        assert [items[a:b].tolist() for a, b in itertools.pairwise(splits)] == expected


def test_an_even_sample_of_the_users_of_frequent_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,000 users with item 1, a tenth also has item 2 and the others item 3: a sample keeps the shares, and is the same each time."""
    users = [[1, 2 if number % 10 == 0 else 3] for number in range(1000)]
    monkeypatch.setattr(session_knn, "MAX_USERS_PER_ITEM", 200)
    settings = KnnSettings(neighbours=1000, own=0)
    first, again = (SessionKnn(*flatten(users), num_items=3, seed=5) for _ in range(2))
    sampled = first._sampled_users(1)
    assert np.array_equal(sampled, again._sampled_users(1))
    assert len(set(sampled.tolist())) == 200
    assert np.array_equal(sampled // 5, np.arange(200))
    assert first.recommend(np.array([[1]]), 3, settings).tolist() == [[1, 3, 2]]
    monkeypatch.setattr(session_knn, "MAX_USERS_PER_ITEM", 1000)
    assert len(first._sampled_users(1)) == 1000


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"1..2, found 1..3"):
        SessionKnn(*flatten([[1, 3]]), num_items=2)
    for value, match in (({"neighbours": 0}, "neighbours is 0"), ({"decay": 1.5}, r"decay is 1\.5"), ({"own": -1}, "own is -1")):
        with pytest.raises(ValueError, match=match):
            KnnSettings(**value)
