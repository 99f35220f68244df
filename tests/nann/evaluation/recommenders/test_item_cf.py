"""Item CF against its definition, written out over Python sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nann.evaluation.recommenders import ItemCF, popular_list


def flatten(users: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([i for user in users for i in user], dtype=np.int32), np.cumsum([0, *map(len, users)])


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
    item_cf = ItemCF(*flatten([[1, 2], [1, 2, 3], [3], [4]]), num_items=5)
    histories = np.array([[1, 0], [5, 0], [4, 1]])
    assert item_cf.recommend(histories, 3).tolist() == [[1, 2, 3], [0, 0, 0], [4, 1, 2]]
    weight_pair, weight_triple = 2**-0.5, 3**-0.5
    similar_12 = (weight_pair + weight_triple) / 2
    scores = brute_force([[1, 2], [1, 2, 3], [3], [4]], [1], 5, 0.8)
    assert scores[1] == pytest.approx(similar_12)
    assert scores[2] == pytest.approx(similar_12)
    assert scores[3] == pytest.approx(weight_triple / 2)


def test_own_item_can_be_recommended_and_unknown_ones_fall_back_to_the_fill() -> None:
    item_cf = ItemCF(*flatten([[1, 2], [1, 2, 3], [3], [4]]), num_items=5)
    fill = popular_list(np.array([0, 2, 2, 2, 1, 0]), 4)
    assert item_cf.recommend(np.array([[4], [5]]), 3, fill=fill).tolist() == [[4, 1, 2], [1, 2, 3]]


def test_recency_decides_between_two_items() -> None:
    item_cf = ItemCF(*flatten([[1, 2], [3, 4]]), num_items=4)
    assert item_cf.recommend(np.array([[1, 3, 0], [3, 0, 1]]), 4).tolist() == [[3, 4, 1, 2], [1, 2, 3, 4]]


def test_several_decays_give_the_lists_of_each() -> None:
    rng = np.random.default_rng(4)
    users = flatten([rng.integers(1, 30, 9).tolist() for _ in range(40)])
    histories = rng.integers(0, 31, (20, 6))
    every = ItemCF(*users, num_items=30).recommend_each(histories, 10, decays=(0.5, 1.0), budget=100)
    for decay, lists in zip((0.5, 1.0), every, strict=True):
        assert np.array_equal(lists, ItemCF(*users, num_items=30, decay=decay).recommend(histories, 10))


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"1..2, found 1..3"):
        ItemCF(*flatten([[1, 3]]), num_items=2)
    with pytest.raises(ValueError, match="decay is 0"):
        ItemCF(*flatten([[1]]), num_items=2, decay=0)
    with pytest.raises(ValueError, match=r"decay is 1\.5"):
        ItemCF(*flatten([[1]]), num_items=2).recommend_each(np.array([[1]]), 1, decays=[0.5, 1.5])


item = st.integers(1, 8)


@settings(max_examples=60, deadline=None)
@given(
    users=st.lists(st.lists(item, min_size=1, max_size=6), min_size=1, max_size=8),
    histories=st.lists(st.lists(st.integers(0, 8), min_size=5, max_size=5), min_size=1, max_size=6),
    k=st.integers(1, 10),
    budget=st.sampled_from([1, 20, 10_000]),
)
def test_against_the_formula(users: list[list[int]], histories: list[list[int]], k: int, budget: int) -> None:
    lists = ItemCF(*flatten(users), num_items=8).recommend(np.array(histories), k, budget=budget)
    for history, found in zip(histories, lists, strict=True):
        scores = np.round(brute_force(users, history, 8, 0.8), 12)
        order = [int(j) for j in np.lexsort((np.arange(9), -scores)) if scores[j] > 0][:k]
        assert scores[found[found > 0]] == pytest.approx(scores[order])
        assert np.count_nonzero(found) == len(order)
