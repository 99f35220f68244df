"""Spaces, the trials they hold, and refusals."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nann.config import TrainConfig
from nann.sweeping.space import Range, SpaceError, apply, draw, grid, parse_space


def test_a_grid_is_every_combination_in_order() -> None:
    space = parse_space({"train.max_length": [10, 20], "train.scorer": ["nann", "two-sided"]})
    assert [tuple(trial.values()) for trial in grid(space)] == [(10, "nann"), (10, "two-sided"), (20, "nann"), (20, "two-sided")]
    assert grid(space)[0] == {"train.max_length": 10, "train.scorer": "nann"}


@settings(max_examples=50, deadline=None)
@given(low=st.integers(1, 5), width=st.integers(1, 20), log=st.booleans(), seed=st.integers(0, 5))
def test_drawn_trials_differ_lie_within_and_are_seeded(low: int, width: int, log: bool, seed: int) -> None:
    content = {
        "train.epochs": {"low": float(low), "high": float(low + width), "log": log},
        "train.num_neg": {"low": low, "high": low + width, "log": log},
        "train.xla": [True, False],
    }
    trials = draw(parse_space(content), 6, seed)
    assert len({repr(trial) for trial in trials}) == len(trials) == 6
    assert trials == draw(parse_space(content), 6, seed)
    for trial in trials:
        assert low <= trial["train.epochs"] <= low + width
        assert isinstance(trial["train.num_neg"], int)
        assert low <= trial["train.num_neg"] <= low + width


def test_a_small_space_gives_no_more_than_it_has() -> None:
    assert len(draw(parse_space({"train.xla": [True, False]}), 10, 1)) == 2


def test_logarithms_are_drawn_evenly() -> None:
    space = parse_space({"train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}})
    values = [trial["train.learning_rate"] for trial in draw(space, 400, 3)]
    assert sum(value < 1e-3 for value in values) == pytest.approx(200, abs=40)


def test_settings_replace_options_and_are_checked() -> None:
    config = apply(TrainConfig(num_neg=7), {"train.epochs": 2.5})
    assert (config.num_neg, config.epochs) == (7, 2.5)
    with pytest.raises(ValidationError):
        apply(TrainConfig(), {"train.epochs": -1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "at least one line"),
        ({"rewrite.top_k": [1]}, "'rewrite.top_k' cannot be swept: all trials train on one dataset"),
        ({"train.epoch": [1]}, "'train.epoch' is no option of training"),
        ({"train.epochs": []}, "must list different values"),
        ({"train.epochs": [1, 1]}, "must list different values"),
        ({"train.epochs": 3}, "must be a list of values, or"),
        ({"train.epochs": {"low": 1}}, "must be a list of values, or"),
        ({"train.epochs": {"low": 3, "high": 1}}, "low must be a number below high"),
        ({"train.epochs": {"low": 0, "high": 1, "log": True}}, "above 0 with log"),
    ],
)
def test_spaces_that_cannot_be_searched(content: dict, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        parse_space(content)


def test_a_grid_has_no_ranges() -> None:
    with pytest.raises(SpaceError, match=r"train\.epochs is a range"):
        grid({"train.epochs": Range(1, 2, log=False, whole=False)})
