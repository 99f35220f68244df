"""Popularity within categories against its formula, event by event."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nann.evaluation.recommenders import CategoryPopularity, popular_list


def brute_force(history: list[int], categories: list[int], counts: list[int], decay: Fraction) -> list[Fraction]:
    """Score by item row, exactly."""
    total = {c: sum(Fraction(2 * counts[v] + 1, 2) for v in range(1, len(counts)) if categories[v] == c) for c in set(categories)}
    newest_first = [item for item in reversed(history) if item]
    scores = [Fraction(0)] * len(counts)
    for age, item in enumerate(newest_first):
        for v in range(1, len(counts)):
            if categories[v] and categories[v] == categories[item]:
                scores[v] += decay**age * Fraction(2 * counts[v] + 1, 2) / total[categories[v]]
    return scores


def test_a_small_case() -> None:
    # Items 1 to 3 are of category 1, 4 and 5 of category 2, 6 of none.
    method = CategoryPopularity(np.array([0, 1, 1, 1, 2, 2, 0]), np.array([0, 5, 9, 0, 4, 4, 30]), num_categories=2)
    histories = np.array([[1, 0], [1, 4], [6, 0], [0, 0]])
    fill = np.array([6, 2, 1])
    (lists,) = method.recommend_each(histories, 4, decays=[0.5], fill=fill)
    assert lists.tolist() == [[2, 1, 3, 6], [4, 5, 2, 1], [6, 2, 1, 0], [6, 2, 1, 0]]


@settings(max_examples=80, deadline=None)
@given(
    catalogue=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=8, max_size=8),
    histories=st.lists(st.lists(st.integers(0, 8), min_size=4, max_size=4), min_size=1, max_size=4),
    k=st.integers(1, 10),
)
def test_against_the_formula(catalogue: list[tuple[int, int]], histories: list[list[int]], k: int) -> None:
    categories, counts = ([0, *column] for column in zip(*catalogue, strict=True))
    method = CategoryPopularity(np.array(categories), np.array(counts), num_categories=3)
    fill = popular_list(np.array(counts), 8)
    decays = (Fraction(1, 2), Fraction(1))
    every = method.recommend_each(np.array(histories), k, decays=[float(decay) for decay in decays], fill=fill)
    for decay, lists in zip(decays, every, strict=True):
        for history, found in zip(histories, lists.tolist(), strict=True):
            scores = brute_force(history, categories, counts, decay)
            best = sorted((v for v in range(1, 9) if scores[v]), key=lambda v: (-scores[v], v))
            best += [v for v in fill.tolist() if v and v not in best]
            assert found == (best + [0] * k)[:k]


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"as long as one another, not \(2,\) and \(3,\)"):
        CategoryPopularity(np.array([0, 1]), np.array([0, 1, 1]), num_categories=1)
    with pytest.raises(ValueError, match=r"0..1, found 0..2"):
        CategoryPopularity(np.array([0, 2]), np.array([0, 1]), num_categories=1)
    with pytest.raises(ValueError, match="decay is 0"):
        CategoryPopularity(np.array([0, 1]), np.array([0, 1]), num_categories=1).recommend_each(np.array([[1]]), 1, decays=[0])
