"""VSKNN against its definition, written out over Python sets, and its bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nann.evaluation.recommenders import KnnSettings, SessionKnn, UserItems, session_knn


def log_of(users: list[list[int]], num_items: int) -> UserItems:
    rows = np.array([i for user in users for i in user], dtype=np.int32)
    return UserItems(rows, np.cumsum([0, *map(len, users)]), num_items=num_items)


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
    knn = SessionKnn(log_of([[1, 2], [1, 2, 3], [3, 4]], 5))
    plain = KnnSettings(own=0)
    assert knn.recommend(np.array([[1, 0], [4, 0], [5, 0]]), 4, plain).tolist() == [[1, 2, 3, 0], [3, 4, 0, 0], [0, 0, 0, 0]]
    nearest = KnnSettings(neighbours=1, own=0)
    assert knn.recommend(np.array([[1, 0]]), 4, nearest, fill=np.array([4, 1])).tolist() == [[1, 2, 4, 0]]


def test_own_items_lead_by_their_bonus_and_need_no_neighbour() -> None:
    knn = SessionKnn(log_of([[1, 2], [1, 2, 3]], 5))
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
    knn = SessionKnn(log_of(users, 7))
    found = knn.recommend_each(np.array(histories), k, every)
    assert knn.bounds == {}
    for chosen, lists in zip(every, found, strict=True):
        for history, row in zip(histories, lists, strict=True):
            scores = np.round(brute_force(users, history, 7, chosen), 9)
            order = [int(j) for j in np.lexsort((np.arange(8), -scores)) if scores[j] > 0][:k]
            assert scores[row[row > 0]] == pytest.approx(scores[order])
            assert np.count_nonzero(row) == len(order) == len(set(row[row > 0].tolist()))


def test_a_history_without_items_and_one_longer_than_the_ages_that_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_knn, "OLDEST", 3)
    users = [[1, 2], [6, 7]]
    found = SessionKnn(log_of(users, 7)).recommend(np.array([[0] * 6, [1, 3, 4, 5, 3, 6]]), 4, KnnSettings(own=0, decay=0.5))
    assert found.tolist() == [[0] * 4, [6, 7, 1, 2]]


def test_the_newest_items_of_a_history_are_looked_up_first(monkeypatch: pytest.MonkeyPatch) -> None:
    users = [[1, 4]] * 6 + [[2, 5]] * 6 + [[3, 6]] * 6
    histories = np.array([[1, 2, 3], [0, 0, 3]])
    plain = KnnSettings(own=0, decay=0.9)
    knn = SessionKnn(log_of(users, 6))
    assert knn.recommend(histories, 6, plain).tolist() == [[3, 6, 2, 5, 1, 4], [3, 6, 0, 0, 0, 0]]
    assert knn.bounds == {}
    monkeypatch.setattr(session_knn, "USERS_PER_HISTORY", 7)  # the second item still begins below it, the third does not
    assert knn.recommend(histories, 6, plain).tolist() == [[3, 6, 2, 5, 0, 0], [3, 6, 0, 0, 0, 0]]
    assert knn.bounds == {"users_per_history": {"at_most": 7, "reached_by": 1}}


def test_a_sample_keeps_the_shares_of_the_users_of_a_frequent_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,000 users with item 1, a tenth also has item 2 and the others item 3."""
    users = [[1, 2 if number % 10 == 0 else 3] for number in range(1000)]
    monkeypatch.setattr(session_knn, "USERS_PER_ITEM", 200)
    knn = SessionKnn(log_of(users, 3))
    assert knn.recommend(np.array([[1]]), 3, KnnSettings(neighbours=1000, own=0)).tolist() == [[1, 3, 2]]
    assert knn.bounds == {"users_per_item": {"at_most": 200, "reached_by": 2}}


def test_refusals() -> None:
    for value, match in (({"neighbours": 0}, "neighbours is 0"), ({"decay": 1.5}, r"decay is 1\.5"), ({"own": -1}, "own is -1")):
        with pytest.raises(ValueError, match=match):
            KnnSettings(**value)
