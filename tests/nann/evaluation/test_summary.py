"""Figures and the users' table on literal lists."""

import numpy as np
import pytest

from nann.evaluation.lists import Lists
from nann.evaluation.summary import summarize, users_table

EXACT = Lists(np.array([[1, 2, 3], [4, 5, 6]]), np.array([9, 9]))
RETRIEVED = Lists(np.array([[2, 1, 7], [6, 0, 0]]), np.array([4, 2]))
TARGETS = np.array([3, 6])
POPULAR = np.array([[1, 6, 2], [1, 6, 2]])


def test_figures() -> None:
    figures = summarize(targets=TARGETS, exact=EXACT, retrieved=RETRIEVED, baselines={"popularity": POPULAR}, ks=(2, 3), num_items=9)
    errors = figures.pop("standard_errors")
    assert figures.pop("baselines") == {"popularity": {"recall@2": 0.5, "recall@3": 0.5}}
    assert figures == pytest.approx(
        {
            "recall_all@2": 0,
            "recall_all@3": 1,
            "recall_retrieval@2": 0.5,
            "recall_retrieval@3": 0.5,
            "recall_delta@2": None,
            "recall_delta@3": 0.5,
            "coverage@2": 0.5,
            "coverage@3": 0.5,
            "precision@2": 0.25,
            "precision@3": 1 / 6,
            "f1@2": 1 / 3,
            "f1@3": 0.25,
            "items_scored_mean": 3,
            "items_scored_share": 1 / 3,
            "num_test_users": 2,
            "num_items": 9,
        }
    )
    assert errors["recall_all@3"] == 0
    assert errors["recall_retrieval@3"] == pytest.approx(0.5)
    assert errors["baselines"]["popularity"]["recall@2"] == pytest.approx(0.5)
    assert errors["items_scored_mean"] == pytest.approx(1)


def test_users_table() -> None:
    table = users_table(
        user_ids=np.array(["u", "v"]),
        item_ids=np.array(["", "a", "b", "c", "d", "e", "f"], object),
        histories=np.array([[5, 3, 0], [1, 0, 0]]),
        targets=TARGETS,
        exact=EXACT,
        retrieved=RETRIEVED,
        baselines={"popularity": POPULAR},
        ks=(3,),
    )
    assert table.to_pylist() == [
        {
            "user_id": user,
            "target_row": target,
            "target_item_id": item,
            "history_length": length,
            "target_in_history": seen,
            "rank_all": 3,
            "rank_retrieval": rank,
            "rank_popularity": popular,
            "items_scored": scored,
            "coverage@3": pytest.approx(coverage),
            "exact": exact,
            "retrieved": retrieved,
        }
        for user, target, item, length, seen, rank, popular, scored, coverage, exact, retrieved in (
            ("u", 3, "c", 2, True, 0, 0, 4, 2 / 3, [1, 2, 3], [2, 1, 7]),
            ("v", 6, "f", 1, False, 1, 2, 2, 1 / 3, [4, 5, 6], [6]),
        )
    ]
