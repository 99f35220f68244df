"""The best baseline is chosen at each K, among simple methods only, and compared with user by user."""

import numpy as np
import pytest

from nann.evaluation.best_baseline import against_best, best_names
from nann.evaluation.comparison import compare_paired

RECALLS = {
    "popularity": {"recall@5": 0.1, "recall@20": 0.3},
    "item_cf": {"recall@5": 0.2, "recall@20": 0.25},
    "vsknn": {"recall@5": 0.2, "recall@20": 0.3},
    "hnswlib": {"recall@5": 0.9, "recall@20": 0.9},
}


def test_the_best_one_at_each_length_the_first_of_equals_and_no_search_of_the_model() -> None:
    assert best_names(RECALLS, (5, 20)) == {5: "item_cf", 20: "popularity"}
    assert best_names({"hnswlib": RECALLS["hnswlib"]}, (5, 20)) == {}
    assert best_names({}, (5,)) == {}


def test_the_comparison_is_paired_with_the_best_one() -> None:
    rng = np.random.default_rng(2)
    values = {name: {k: (rng.random(200) < recalls[f"recall@{k}"]).astype(float) for k in (5, 20)} for name, recalls in RECALLS.items()}
    recalls = {name: {f"recall@{k}": float(each.mean()) for k, each in by_k.items()} for name, by_k in values.items()}
    own = {k: np.maximum(values["vsknn"][k], values["item_cf"][k]) for k in (5, 20)}
    figures, paired = against_best(recalls, own, values)
    for k in (5, 20):
        best = max(("popularity", "item_cf", "vsknn"), key=lambda name: recalls[name][f"recall@{k}"])
        assert (figures[f"name@{k}"], figures[f"recall@{k}"]) == (best, recalls[best][f"recall@{k}"])
        assert paired[k] == compare_paired(own[k][None], values[best][k][None])
        assert paired[k].ratio == pytest.approx(own[k].mean() / recalls[best][f"recall@{k}"])
    assert against_best({}, own, {}) == ({}, {})
