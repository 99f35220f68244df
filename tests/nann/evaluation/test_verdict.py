"""Sentences about figures: the thresholds, the number of users that is needed, and what is to be done next."""

import math
from typing import Any

import pytest

from nann.evaluation.verdict import evaluation_warnings, training_warnings, users_needed, verdict


def figures(
    *, recall: float = 0.3, users: int = 4000, share: float = 0.2, ratio: float | None = 1.1, width: float = 0.02
) -> dict[str, Any]:
    error = math.sqrt(recall * (1 - recall) / (users - 1))
    best = {"name@50": "vsknn", "recall@50": 0.1, "name@200": "item_cf", "recall@200": recall / ratio if ratio else 0.0}
    return {
        **{f"recall_retrieval@{k}": recall * k / 200 for k in (50, 200)},
        "standard_errors": {"recall_retrieval@200": error},
        "intervals": {"ratio_to_best_baseline@200": [ratio - width, ratio + width]} if ratio else {},
        "ratio_to_best_baseline@200": ratio,
        "best_baseline": best,
        "items_scored_share": share,
        "num_items": 5000,
        "num_test_users": users,
        "coverage@200": 0.99,
        "split": "test",
    }


def test_a_measured_run_has_no_warnings_and_may_be_published() -> None:
    assert evaluation_warnings(figures()) == []
    lines = dict(verdict(figures()))
    assert lines["Against the best baseline"] == "Better: recall@200 0.300 beside 0.273 of item_cf, 1.10 times that (1.08 to 1.12)."
    assert lines["Test users"].startswith("4,000 test users are enough: the standard error of recall@200 0.300 is 0.007, 2.4% of it")
    assert "publish" in lines["Next"]


@pytest.mark.parametrize("recall", [0.02, 0.3, 0.9])
def test_the_users_needed_give_that_error(recall: float) -> None:
    users = users_needed(recall)
    assert math.sqrt(recall * (1 - recall) / users) <= 0.05 * recall < math.sqrt(recall * (1 - recall) / (users - 1))


@pytest.mark.parametrize(
    ("changed", "warning", "following"),
    [
        (
            {"users": 40},
            "40 test users are few: the standard error of recall@200 0.300 is 0.073, 24% of it; 5% needs 934",
            "more users",
        ),
        ({"share": 0.63}, "the walk scores 63.0% of the 5,000 items, so it is a scan in disguise", "narrower search"),
        ({"ratio": 0.8}, "the model is below the best baseline: recall@200 0.300 beside 0.375 of item_cf, 0.80 times that", "nann sweep"),
        ({"recall": 0.0}, "none finds the held-out item", "Train longer"),
    ],
)
def test_each_warning_has_its_remedy(changed: dict[str, Any], warning: str, following: str) -> None:
    metrics = figures(**changed)
    [found] = evaluation_warnings(metrics)
    assert warning in found
    assert following in dict(verdict(metrics))["Next"]


def test_an_interval_that_holds_one_decides_nothing() -> None:
    assert dict(verdict(figures(width=0.2)))["Against the best baseline"].startswith("Not decided, the interval holds 1")
    assert dict(verdict(figures(ratio=0.8)))["Against the best baseline"].startswith("Worse")
    [warning] = evaluation_warnings(figures(ratio=0.99, width=0.02))
    assert warning.startswith("the model is not shown to be above the best baseline: recall@200 0.300 beside 0.303 of item_cf, 0.99 times")


def test_an_evaluation_without_baselines_and_of_one_user() -> None:
    metrics = {**figures(), "best_baseline": {}, "num_test_users": 1, "standard_errors": {"recall_retrieval@200": None}}
    assert "1 test users are few: the standard error of recall@200 0.300 is unknown" in evaluation_warnings(metrics)[0]
    assert "--baselines" in dict(verdict(metrics))["Against the best baseline"]


def test_a_training_that_was_cut_short_says_by_what() -> None:
    whole = {"steps": 100, "samples": 1000, "samples_per_epoch": 500, "planned_steps": 100, "allowed_steps": 100, "wanted_steps": 100}
    assert training_warnings(**whole, max_minutes=5) == []
    assert training_warnings(**{**whole, "wanted_steps": 300}, max_minutes=0) == []  # two passes
    [early] = training_warnings(**{**whole, "wanted_steps": 800, "samples": 250}, max_minutes=0)
    assert early == "training was cut short by --max-steps 100, after 0.50 of a pass over the samples; one pass is 200 steps"
    [timed] = training_warnings(**{**whole, "planned_steps": 40, "steps": 40, "samples": 400}, max_minutes=2)
    assert timed.startswith("training was cut short by --max-minutes 2, after 40 steps (0.80 passes)")
    assert dict(verdict(figures(), [timed]))["Next"].startswith("Train longer")
