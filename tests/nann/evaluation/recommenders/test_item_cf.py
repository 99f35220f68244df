"""Item CF against its definition, written out over Python sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nann.evaluation.recommenders import ItemCF, UserItems, item_cf, popular_list


def log_of(users: list[list[int]], num_items: int) -> UserItems:
    rows = np.array([i for user in users for i in user], dtype=np.int32)
    return UserItems(rows, np.cumsum([0, *map(len, users)]), num_items=num_items)


def brute_force(users: list[list[int]], history: list[int], num_items: int, decay: float) -> np.ndarray:
    sets = [set(user) for user in users]
    scores = np.zeros(num_items + 1)
    for age, i in enumerate(reversed([i for i in history if i])):
        n_i = sum(i in s for s in sets)
        for j in range(1, num_items + 1):
            n_j = sum(j in s for s in sets)
            shared = sum(len(s) ** -0.5 for s in sets if i in s and j in s)
            scores[j] += decay**age * (shared / np.sqrt(n_i * n_j) if n_i and n_j else 0)
    return scores


def test_item_cf_on_a_small_case() -> None:
    # Items 1 and 2 are bought together by two users; 3 by one of them and alone by another; nobody trains on 5.
    method = ItemCF(log_of([[1, 2], [1, 2, 3], [3], [4]], 5))
    histories = np.array([[1, 0], [5, 0], [4, 1]])
    assert method.recommend(histories, 3).tolist() == [[1, 2, 3], [0, 0, 0], [4, 1, 2]]
    weight_pair, weight_triple = 2**-0.5, 3**-0.5
    similar_12 = (weight_pair + weight_triple) / 2
    scores = brute_force([[1, 2], [1, 2, 3], [3], [4]], [1], 5, 0.8)
    assert scores[1] == pytest.approx(similar_12)
    assert scores[2] == pytest.approx(similar_12)
    assert scores[3] == pytest.approx(weight_triple / 2)


def test_own_item_can_be_recommended_and_unknown_ones_fall_back_to_the_fill() -> None:
    method = ItemCF(log_of([[1, 2], [1, 2, 3], [3], [4]], 5))
    fill = popular_list(np.array([0, 2, 2, 2, 1, 0]), 4)
    assert method.recommend(np.array([[4], [5]]), 3, fill=fill).tolist() == [[4, 1, 2], [1, 2, 3]]


def test_recency_decides_between_two_items() -> None:
    method = ItemCF(log_of([[1, 2], [3, 4]], 4))
    assert method.recommend(np.array([[1, 3, 0], [3, 0, 1]]), 4).tolist() == [[3, 4, 1, 2], [1, 2, 3, 4]]


def test_several_decays_give_the_lists_of_each() -> None:
    rng = np.random.default_rng(4)
    log = log_of([rng.integers(1, 30, 9).tolist() for _ in range(40)], 30)
    histories = rng.integers(0, 31, (20, 6))
    every = ItemCF(log).recommend_each(histories, 10, decays=(0.5, 1.0))
    for decay, lists in zip((0.5, 1.0), every, strict=True):
        assert np.array_equal(lists, ItemCF(log, decay=decay).recommend(histories, 10))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="decay is 0"):
        ItemCF(log_of([[1]], 2), decay=0)
    with pytest.raises(ValueError, match=r"decay is 1\.5"):
        ItemCF(log_of([[1]], 2)).recommend_each(np.array([[1]]), 1, decays=[0.5, 1.5])


item = st.integers(1, 8)


@settings(max_examples=60, deadline=None)
@given(
    users=st.lists(st.lists(item, min_size=1, max_size=6), min_size=1, max_size=8),
    histories=st.lists(st.lists(st.integers(0, 8), min_size=5, max_size=5), min_size=1, max_size=6),
    k=st.integers(1, 10),
    at_once=st.sampled_from([1, 3, 10_000]),
)
def test_against_the_formula(users: list[list[int]], histories: list[list[int]], k: int, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_cf, "USERS_AT_ONCE", at_once)
        method = ItemCF(log_of(users, 8))
        lists = method.recommend(np.array(histories), k)
    assert method.bounds == {}
    for history, found in zip(histories, lists, strict=True):
        scores = np.round(brute_force(users, history, 8, 0.8), 12)
        order = [int(j) for j in np.lexsort((np.arange(9), -scores)) if scores[j] > 0][:k]
        assert scores[found[found > 0]] == pytest.approx(scores[order])
        assert np.count_nonzero(found) == len(order)


def test_the_highest_similarities_of_each_item_are_kept_where_all_are_too_many() -> None:
    rng = np.random.default_rng(6)
    log = log_of([rng.integers(1, 40, 8).tolist() for _ in range(200)], 40)
    histories = np.array([[3], [17], [22]])
    whole = ItemCF(log).recommend(histories, 40)
    limited = ItemCF(log, budget=30)
    lists = limited.recommend(histories, 40)
    assert limited.bounds == {"similar_items_per_item": {"at_most": 10, "reached_by": 3}}
    assert np.array_equal(lists[:, :10], whole[:, :10])  # with one item in the history its highest similarities are the list
    assert not lists[:, 10:].any()
    just_enough = ItemCF(log, budget=3 * 40)
    assert np.array_equal(just_enough.recommend(histories, 40), whole)
    assert just_enough.bounds == {}


def test_a_sample_of_the_users_of_a_frequent_item_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Item 1 has 4,000 users, a fifth of them with item 2, two fifths with item 3, and each of the others with an item of its own."""
    users = [[1, 2] if number % 5 == 0 else [1, 3] if number % 5 < 3 else [1, 4 + number] for number in range(4000)]
    log, items = log_of(users, 4010), np.array([1])
    whole = ItemCF(log)
    exact = whole._similarities(items)
    assert whole.bounds == {}
    assert exact.nnz == 3 + 1600
    monkeypatch.setattr(item_cf, "USERS", 1500)
    sampled = ItemCF(log)
    found = sampled._similarities(items)
    assert sampled.bounds == {"users_per_item": {"at_most": 1500, "reached_by": 1}}
    assert sorted(found.indices) == [1, 2, 3]  # what single users of the sample have is not said to be similar
    assert found.toarray()[0, 1:4] == pytest.approx(exact.toarray()[0, 1:4], rel=0.1)
    histories = np.array([[1, 2], [3, 0]])  # 4,000 + 800 + 1,600 users
    sampled.recommend(histories, 3)
    assert sampled.bounds == {"users_per_item": {"at_most": item_cf.LEAST_USERS, "reached_by": 2}}
    monkeypatch.setattr(item_cf, "USERS", 6399)
    assert np.array_equal(sampled.recommend(histories, 3), whole.recommend(histories, 3))
    assert sampled.bounds == {"users_per_item": {"at_most": 3999, "reached_by": 1}}
    monkeypatch.setattr(item_cf, "USERS", 6400)
    sampled.recommend(histories, 3)
    assert sampled.bounds == {}
