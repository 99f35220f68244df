"""The fit of the weights, on examples whose best weights are known."""

from dataclasses import replace

import numpy as np
import pytest

from nann.memory.calibration import LEAST_EXAMPLES, Examples, fit_calibration, shift_own
from nann.memory.table import COUNT_KNOTS, Calibration

ITEMS = 300


def examples_of(count: int, *, by_rules: float, by_scorer: float, seed: int = 0, candidates: int = 250) -> Examples:
    """Examples whose targets were drawn from a softmax of rules and scorer with the weights given."""
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.permutation(ITEMS)[:candidates] + 1 for _ in range(count)]).astype(np.int32)
    logits = rng.normal(size=(count, candidates)).astype(np.float32)
    rules = np.where(rng.random((count, candidates)) < 0.3, rng.random((count, candidates)), 0).astype(np.float32)
    truth = by_scorer * logits + by_rules * np.log1p(1000 * rules) + rng.gumbel(size=(count, candidates))
    target = truth.argmax(axis=1)
    for array in (rows, logits, rules):
        first = array[:, 0].copy()
        array[:, 0] = array[np.arange(count), target]
        array[np.arange(count), target] = first
    return Examples(rows, logits, rules, np.zeros_like(rules), np.full(rows.shape, -1, np.int32), np.ones(count, bool))


@pytest.mark.parametrize(("by_rules", "by_scorer"), [(0.02, 2.0), (1.5, 0.05)])
def test_the_better_of_the_two_gets_the_weight(by_rules, by_scorer) -> None:
    fitted, report = fit_calibration(examples_of(400, by_rules=by_rules, by_scorer=by_scorer), np.full(ITEMS + 1, 30))
    knot = COUNT_KNOTS.index(15.0)
    ratio = np.exp(fitted.log_gain[knot] - fitted.log_tau[knot])
    assert ratio < 0.3 if by_rules < by_scorer else ratio > 3
    assert report["fitted"]["recall@20"] > report["scorer"]["recall@20"] - 0.02


@pytest.mark.parametrize("side", [1, -1])
def test_categories_get_a_weight_where_they_help_and_none_where_not(side) -> None:
    examples = examples_of(400, by_rules=0.5, by_scorer=0.5)
    rng = np.random.default_rng(1)
    shares = np.where(rng.random(examples.rules.shape) < 0.1, 1e-3, 0).astype(np.float32)
    shares[:, 0] = np.where(rng.random(len(shares)) < (0.9 if side > 0 else 0.01), 1e-3, 0)
    fitted, _ = fit_calibration(replace(examples, shares=shares), np.full(ITEMS + 1, 30))
    if side > 0:
        assert fitted.category_gain * np.log1p(np.exp(fitted.log_d) * 1e-3) > 2
    else:
        assert fitted.category_gain == 0


def test_own_items_get_a_place_where_the_lists_have_room() -> None:
    """A tenth of the targets are own items that the softmax, asked for the best of 250 alone, would leave in the middle."""
    examples = examples_of(400, by_rules=0.5, by_scorer=2.0)
    ages = np.full(examples.rules.shape, -1, np.int32)
    ages[:40, 0] = 1
    ages[40:, 1:3] = 1
    logits = examples.logits.copy()
    logits[ages >= 0] = -0.5
    of_lists = replace(examples, ages=ages, logits=logits)
    calibration = Calibration(own=(0.0,) * len(Calibration().own))
    shifted, report = shift_own(of_lists, np.full(ITEMS + 1, 30), calibration)
    assert report["own_shift"] > 0
    assert shifted == replace(calibration, own=(report["own_shift"],) * len(calibration.own))
    elsewhere = replace(of_lists, ages=np.where(np.arange(250) == 200, 1, -1).repeat(400).reshape(250, 400).T.astype(np.int32))
    assert shift_own(elsewhere, np.full(ITEMS + 1, 30), calibration)[1]["own_shift"] <= 0


def test_it_is_a_function_of_its_examples() -> None:
    examples = examples_of(100, by_rules=0.5, by_scorer=0.5)
    assert fit_calibration(examples, np.full(ITEMS + 1, 30)) == fit_calibration(examples, np.full(ITEMS + 1, 30))


def test_too_few_examples_change_nothing() -> None:
    start = Calibration(log_c=1.0)
    fitted, report = fit_calibration(examples_of(LEAST_EXAMPLES - 1, by_rules=1, by_scorer=1), np.full(ITEMS + 1, 30), start=start)
    assert fitted == start
    assert "fitted" not in report


def test_targets_out_of_reach_are_misses() -> None:
    """A target that is a candidate only for being the target says nothing of what finds targets."""
    examples = examples_of(200, by_rules=1.0, by_scorer=1.0)
    hidden = replace(examples, reachable=np.arange(200) < 100)
    _, report = fit_calibration(hidden, np.full(ITEMS + 1, 30))
    assert report["reachable"] == 100
    assert report["scorer"]["recall@200"] <= 0.5


def test_fixed_numbers_keep_their_first_values() -> None:
    start = Calibration(own=(0.0,) * len(Calibration().own), log_gain=(-30.0,) * len(COUNT_KNOTS))
    fitted, _ = fit_calibration(
        examples_of(100, by_rules=1.0, by_scorer=1.0), np.full(ITEMS + 1, 30), start=start, fixed=("own", "log_gain")
    )
    assert (fitted.own, fitted.log_gain) == (start.own, start.log_gain)
    assert fitted.log_tau != start.log_tau
