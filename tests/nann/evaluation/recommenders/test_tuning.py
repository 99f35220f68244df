"""The search finds what is best, says what it tried, and asks for nothing twice."""

import logging
from collections.abc import Sequence

import numpy as np
import pytest

from nann.dataset import Samples
from nann.evaluation.recommenders import tuning
from nann.evaluation.recommenders.tuning import Settings, TunedMethod

USERS = 100
SAMPLES = Samples(np.zeros((USERS, 1), np.int32), np.ones(USERS, np.int32), np.arange(USERS))


class Recorded:
    """Finds item 1 for as many users as a function of the settings says, at place 1 of 3."""

    def __init__(self, found: dict[tuple[float, ...], int]) -> None:
        self.found, self.asked = found, []

    def __call__(self, samples: Samples, k: int, every: Sequence[Settings]) -> list[np.ndarray]:
        self.asked += [tuple(settings.values()) for settings in every]
        lists = []
        for settings in every:
            rows = np.full((len(samples.targets), k), 2)
            rows[: self.found[tuple(settings.values())], 0] = 1
            lists.append(rows)
        return lists


def test_every_value_of_a_single_parameter_is_tried_and_the_first_of_equals_taken() -> None:
    recorded = Recorded({(0.5,): 10, (0.7,): 30, (0.9,): 30})
    method = TunedMethod("plain", recorded, {"decay": (0.5, 0.7, 0.9)})
    assert method.choose(SAMPLES, (1, 3)) == {"decay": 0.7, "tried": {"0.5": 0.1, "0.7": 0.3, "0.9": 0.3}, "ks": [1, 3], "num_users": 100}
    assert recorded.asked == [(0.5,), (0.7,), (0.9,)]
    assert np.count_nonzero(method.lists(SAMPLES, 2)[:, 0] == 1) == 30


def test_coordinate_search_goes_round_twice_and_asks_for_nothing_twice() -> None:
    # b = 1 is better only once a is 2, and a = 3 only once b is 1.
    found = {(a, b): 10 * a for a in (1, 2) for b in (0, 1)} | {(2, 1): 40, (3, 0): 15, (3, 1): 50, (1, 1): 5}
    recorded = Recorded(found)
    method = TunedMethod("both", recorded, {"a": (1, 2, 3), "b": (0, 1)}, {"a": 1})
    chosen = method.choose(SAMPLES, (3,))
    assert (chosen["a"], chosen["b"]) == (3, 1)
    assert chosen["tried"]["a 3, b 1"] == max(chosen["tried"].values()) == 0.5
    assert len(recorded.asked) == len(set(recorded.asked)) == len(chosen["tried"])


def test_recall_is_the_mean_over_the_list_lengths() -> None:
    def places(samples: Samples, k: int, every: Sequence[Settings]) -> list[np.ndarray]:
        """Value 1 finds 40 users at place 3, value 2 finds 30 at place 1."""
        lists = []
        for settings in every:
            rows = np.full((USERS, k), 2)
            users, place = (40, 2) if settings["p"] == 1 else (30, 0)
            rows[:users, place] = 1
            lists.append(rows)
        return lists

    assert TunedMethod("m", places, {"p": (1, 2)}).choose(SAMPLES, (3,))["p"] == 1
    assert TunedMethod("m", places, {"p": (1, 2)}).choose(SAMPLES, (1, 3))["tried"] == {"1": 0.2, "2": 0.3}


def test_a_search_says_how_far_it_is_and_how_sure(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(tuning, "SECONDS_BETWEEN_REPORTS", 0)
    with caplog.at_level(logging.INFO):
        TunedMethod("both", Recorded({(a, b): 10 * a + b for a in (1, 2) for b in (0, 1)}), {"a": (1, 2), "b": (0, 1)}).choose(
            SAMPLES, (1,)
        )
    lines = [record.getMessage() for record in caplog.records]
    assert [line.rsplit(", at most", 1)[0] for line in lines[:-1]] == [
        "both: a chosen, 2 settings tried",
        "both: b chosen, 3 settings tried",
        "both: a chosen, 4 settings tried",
        "both: b chosen, 4 settings tried",
    ]
    assert lines[-2].endswith("at most 0 s left")
    # 21 of 100 users: sqrt(0.21 * 0.79 / 99)
    assert lines[-1] == "both: a 2, b 1, the best of 4 settings, recall 0.2100 with a standard error of 0.0409 on 100 users"


def test_a_method_tells_its_bounds() -> None:
    assert TunedMethod("free", Recorded({(): 1})).bounds() == {}
    reached = {"users_per_item": {"at_most": 10, "reached_by": 2}}
    assert TunedMethod("bounded", Recorded({(): 1}), bounds=lambda: reached).bounds() == reached


def test_single_values_nobody_to_choose_on_and_no_parameters() -> None:
    recorded = Recorded({(5, 7): 3})
    assert TunedMethod("given", recorded, {"a": (5,), "b": (7,)}).choose(SAMPLES, (1,)) == {
        "a": 5,
        "b": 7,
        "tried": {},
        "ks": [1],
        "num_users": 0,
    }
    nobody = SAMPLES.take(np.zeros(0, np.int64))
    assert TunedMethod("first", recorded, {"a": (5, 6), "b": (7, 8)}, {"b": 8}).choose(nobody, (1,))["b"] == 8
    assert recorded.asked == []
    assert TunedMethod("none", Recorded({(): 50})).choose(SAMPLES, (1,)) == {}


def test_refusals() -> None:
    with pytest.raises(ValueError, match="m: no value of a is given"):
        TunedMethod("m", Recorded({}), {"a": ()})
    with pytest.raises(ValueError, match=r"m: the search cannot begin with \['b'\]"):
        TunedMethod("m", Recorded({}), {"a": (1,)}, {"b": 2})
