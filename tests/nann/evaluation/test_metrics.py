"""Metrics on literal matrices, and against Python sets."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nann.evaluation import metrics

LISTS = np.array([[5, 3, 9, 1], [2, 4, 0, 0], [7, 7, 8, 6]])
TARGETS = np.array([[9], [1], [7]])


def test_recall_precision_f1_on_literals() -> None:
    assert metrics.recall(LISTS, TARGETS, 2).tolist() == [0, 0, 1]
    assert metrics.recall(LISTS, TARGETS, 3).tolist() == [1, 0, 1]
    assert metrics.precision(LISTS, TARGETS, 4).tolist() == [0.25, 0, 0.25]
    assert metrics.f1(LISTS, TARGETS, 4).tolist() == pytest.approx([0.4, 0, 0.4])


def test_recall_with_several_relevant_items_divides_by_their_number() -> None:
    relevant = np.array([[5, 9, 0], [4, 2, 1], [6, 6, 0]])
    assert metrics.recall(LISTS, relevant, 4).tolist() == pytest.approx([1, 2 / 3, 1])


def test_coverage_counts_the_exact_items_found_and_ignores_padding() -> None:
    exact = np.array([[5, 9, 2, 3], [4, 2, 0, 0], [1, 2, 3, 4]])
    assert metrics.coverage(LISTS, exact, 4).tolist() == [0.75, 1, 0]
    assert metrics.coverage(LISTS, exact, 1).tolist() == [1, 0, 0]


def test_coverage_of_the_exact_list_is_one() -> None:
    assert metrics.coverage(LISTS, LISTS, 3).tolist() == [1, 1, 1]


def test_places_in_the_list() -> None:
    targets = np.array([[2], [7], [1]])
    lists = np.array([[5, 9, 2], [7, 1, 2], [3, 1, 1]])
    assert metrics.ndcg(lists, targets, 3).tolist() == pytest.approx([0.5, 1, 1 / np.log2(3)])
    assert metrics.ndcg(lists, targets, 2).tolist() == pytest.approx([0, 1, 1 / np.log2(3)])
    assert metrics.reciprocal_rank(lists, targets, 3).tolist() == pytest.approx([1 / 3, 1, 1 / 2])
    with pytest.raises(ValueError, match="user 0 has no relevant item"):
        metrics.ndcg(lists, np.array([[0], [1], [2]]), 2)


def test_catalogue_coverage_counts_every_shown_item_once() -> None:
    lists = np.array([[5, 9, 2], [5, 1, 0]])
    assert metrics.catalogue_coverage(lists, 1, 10) == pytest.approx(0.1)
    assert metrics.catalogue_coverage(lists, 3, 10) == pytest.approx(0.4)


def test_recall_delta() -> None:
    assert metrics.recall_delta(0.5, 0.4) == pytest.approx(0.2)
    assert metrics.recall_delta(0.4, 0.5) == pytest.approx(-0.25)
    assert metrics.recall_delta(0.0, 0.0) is None


def test_ranks() -> None:
    assert metrics.ranks_of(LISTS, TARGETS[:, 0]).tolist() == [3, 0, 1]


def test_standard_error_is_that_of_a_proportion() -> None:
    values = np.repeat([0.0, 1.0], [75, 25])
    assert metrics.standard_error(values) == pytest.approx(np.sqrt(0.25 * 0.75 / 99))
    assert metrics.standard_error(np.ones(1)) == 0


def test_refusals_name_rule_and_value() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        metrics.recall(LISTS, TARGETS, 0)
    with pytest.raises(ValueError, match="user 1 has no relevant item"):
        metrics.recall(LISTS, np.array([[1], [0], [2]]), 1)
    with pytest.raises(ValueError, match=r"\(3, 1\) and \(2, 1\)"):
        metrics.precision(LISTS, TARGETS[:2], 1)
    with pytest.raises(ValueError, match="exact list of user 0 is empty"):
        metrics.coverage(LISTS, np.zeros((3, 2), int), 2)


rows = st.integers(0, 12)


@given(data=st.data(), users=st.integers(1, 5), width=st.integers(1, 8), others=st.integers(1, 6), k=st.integers(1, 10))
def test_against_sets(data: st.DataObject, users: int, width: int, others: int, k: int) -> None:
    lists = data.draw(hnp.arrays(np.int64, (users, width), elements=rows))
    relevant = data.draw(hnp.arrays(np.int64, (users, others), elements=rows))
    relevant[:, 0] = np.maximum(relevant[:, 0], 1)
    for user in range(users):
        found, wanted = set(lists[user, :k].tolist()) - {0}, set(relevant[user].tolist()) - {0}
        exact = set(relevant[user, :k].tolist()) - {0}
        r, p = len(found & wanted) / len(wanted), len(found & wanted) / k
        assert metrics.recall(lists, relevant, k)[user] == r
        assert metrics.precision(lists, relevant, k)[user] == p
        assert metrics.f1(lists, relevant, k)[user] == pytest.approx(2 * p * r / (p + r) if p + r else 0)
        order = list(dict.fromkeys(item for item in lists[user, :k].tolist()))
        places = [lists[user].tolist().index(item) + 1 for item in order if item in wanted]
        ideal = sum(1 / math.log2(1 + place) for place in range(1, min(k, len(wanted)) + 1))
        assert metrics.ndcg(lists, relevant, k)[user] == pytest.approx(sum(1 / math.log2(1 + place) for place in places) / ideal)
        assert metrics.reciprocal_rank(lists, relevant, k)[user] == pytest.approx(1 / min(places) if places else 0)
        assert metrics.coverage(lists, relevant, k)[user] == len(found & exact) / len(exact)
        assert metrics.count_hits(lists, relevant)[user] == len((set(lists[user].tolist()) - {0}) & wanted)
