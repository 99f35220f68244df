"""Figures and the users' table on literal lists."""

import numpy as np
import pytest

from nann.evaluation.intervals import wilson
from nann.evaluation.lists import Lists
from nann.evaluation.summary import summarize, users_table

EXACT = Lists(np.array([[1, 2, 3], [4, 5, 6]]), np.array([9, 9]))
RETRIEVED = Lists(np.array([[2, 1, 7], [6, 0, 0]]), np.array([4, 2]))
TARGETS = np.array([3, 6])
HISTORIES = np.array([[5, 3, 0], [1, 0, 0]])
TRAIN_COUNTS = np.array([0, 3, 1, 0, 2, 2, 7])
POPULAR = np.array([[1, 6, 2], [1, 6, 2]])


def test_figures() -> None:
    figures = summarize(
        targets=TARGETS,
        histories=HISTORIES,
        train_counts=TRAIN_COUNTS,
        exact=EXACT,
        retrieved=RETRIEVED,
        baselines={"popularity": POPULAR},
        ks=(2, 3),
        num_items=9,
    )
    errors, ranges, groups = figures.pop("standard_errors"), figures.pop("intervals"), figures.pop("groups")
    second = 1 / np.log2(3)
    assert figures.pop("baselines")["popularity"] == pytest.approx(
        {"recall@2": 0.5, "recall@3": 0.5, "ndcg@2": second / 2, "ndcg@3": second / 2, "mrr@2": 0.25, "mrr@3": 0.25}
        | {"catalogue_coverage@2": 2 / 9, "catalogue_coverage@3": 3 / 9}
    )
    assert figures.pop("best_baseline") == {"name@2": "popularity", "recall@2": 0.5, "name@3": "popularity", "recall@3": 0.5}
    assert figures == pytest.approx(
        {
            "ratio_to_best_baseline@2": 1,
            "ratio_to_best_baseline@3": 1,
            "recall_all@2": 0,
            "recall_all@3": 1,
            "recall_retrieval@2": 0.5,
            "recall_retrieval@3": 0.5,
            "ndcg_all@2": 0,
            "ndcg_all@3": 0.5,
            "ndcg_retrieval@2": 0.5,
            "ndcg_retrieval@3": 0.5,
            "mrr_all@2": 0,
            "mrr_all@3": 1 / 3,
            "mrr_retrieval@2": 0.5,
            "mrr_retrieval@3": 0.5,
            "catalogue_coverage@2": 3 / 9,
            "catalogue_coverage@3": 4 / 9,
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
    assert ranges["recall_retrieval@2"] == list(wilson(1, 2))
    assert ranges["baselines"]["popularity"]["recall@3"] == list(wilson(1, 2))
    assert "ratio_to_best_baseline@2" not in ranges  # some draws of two users leave the baseline without a hit
    low, high = ranges["items_scored_mean"]
    assert (low, high) == (2, 4)
    assert [(group["group"], group["users"], group["recall_all@3"], group["popularity@2"]) for group in groups["target_train_events"]] == [
        ("0", 1, 1, 0),
        ("5-19", 1, 1, 1),
    ]
    assert [group["group"] for group in groups["target_in_history"]] == ["no", "yes"]


def test_the_model_is_compared_with_the_best_baseline_of_each_length() -> None:
    rng = np.random.default_rng(6)
    users = 300
    targets = np.full(users, 5)
    lists = {name: np.where(rng.random((users, 4)) < share, 5, 1 + np.arange(4)) for name, share in (("a", 0.1), ("b", 0.2), ("m", 0.25))}
    lists["a"][: 9 * users // 10, 3] = 5  # weak at the top of the list, strong further down
    lists["hnswlib"] = np.full((users, 4), 5)
    model = Lists(lists.pop("m"), np.full(users, 9))
    figures = summarize(
        targets=targets,
        histories=np.zeros((users, 1), int),
        train_counts=np.ones(9, int),
        exact=model,
        retrieved=model,
        baselines=lists,
        ks=(2, 4),
        num_items=9,
    )
    for k, name in ((2, "b"), (4, "a")):
        best, ratio = figures["best_baseline"], figures[f"ratio_to_best_baseline@{k}"]
        assert best[f"name@{k}"] == name
        assert best[f"recall@{k}"] == figures["baselines"][name][f"recall@{k}"]
        assert ratio == pytest.approx(figures[f"recall_retrieval@{k}"] / best[f"recall@{k}"])
        low, high = figures["intervals"][f"ratio_to_best_baseline@{k}"]
        assert low < ratio < high
    assert figures["ratio_to_best_baseline@2"] > 1 > figures["ratio_to_best_baseline@4"]


def test_users_table() -> None:
    table = users_table(
        user_ids=np.array(["u", "v"]),
        item_ids=np.array(["", "a", "b", "c", "d", "e", "f"], object),
        histories=HISTORIES,
        train_counts=TRAIN_COUNTS,
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
            "target_train_events": events,
            "history_length": length,
            "target_in_history": seen,
            "rank_all": 3,
            "rank_retrieval": rank,
            "rank_popularity": popular,
            "items_scored": scored,
            "coverage@3": pytest.approx(coverage),
            "history": history,
            "exact": exact,
            "retrieved": retrieved,
        }
        for user, target, item, events, length, seen, rank, popular, scored, coverage, history, exact, retrieved in (
            ("u", 3, "c", 0, 2, True, 0, 0, 4, 2 / 3, [5, 3], [1, 2, 3], [2, 1, 7]),
            ("v", 6, "f", 7, 1, False, 1, 2, 2, 1 / 3, [1], [4, 5, 6], [6]),
        )
    ]
