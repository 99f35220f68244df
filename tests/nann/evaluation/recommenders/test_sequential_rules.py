"""Lists by sequential rules do not depend on what was asked before; their formula is tested with the memory of pairs."""

from dataclasses import replace

import numpy as np
import pytest

from nann.dataset import Histories, Items
from nann.evaluation.recommenders import sequential_rules
from nann.evaluation.recommenders.sequential_rules import RuleLists
from nann.memory.rules import RuleOptions

NUM_ITEMS = 60


@pytest.fixture
def log() -> tuple[Histories, Items]:
    rng = np.random.default_rng(5)
    splits = np.concatenate([[0], np.cumsum(rng.integers(2, 30, 120))]).astype(np.int64)
    rows = np.minimum(rng.geometric(0.06, splits[-1]), NUM_ITEMS).astype(np.int32)
    categories = np.concatenate([[0], np.arange(NUM_ITEMS) % 5 + 1]).astype(np.int32)
    counts = np.bincount(rows, minlength=NUM_ITEMS + 1)
    return Histories(rows, splits, 1), Items(np.arange(NUM_ITEMS + 1), categories, counts / len(rows), counts, 5)


@pytest.mark.parametrize("successors", [4, 512])
def test_lists_are_those_of_a_method_that_was_asked_nothing_before(
    log: tuple[Histories, Items], successors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequential_rules, "SUCCESSORS", successors)
    rng = np.random.default_rng(9)
    asked = [rng.integers(0, NUM_ITEMS + 1, (8, 5)), rng.integers(1, 4, (8, 5))]
    plain = RuleOptions(own=0.0, category=0.0)
    every = [plain, replace(plain, decay=0.2), replace(plain, activity=1.0), replace(plain, back=0.0), replace(plain, popularity=0.0)]
    method = RuleLists(*log)
    for options in [*every, *every[::-1]]:
        for histories in (asked[0], asked[0], asked[1]):
            found = method.recommend_each(histories, 20, [options])[0]
            assert np.array_equal(found, RuleLists(*log).recommend_each(histories, 20, [options])[0])
    assert method.bounds == ({"successors_per_item": {"at_most": 4, "reached_by": 3}} if successors == 4 else {})
