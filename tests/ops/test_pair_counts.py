"""Counts of pairs: the native form, numpy's and a plain loop over dictionaries agree."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import pair_counts
from ops.data_library import load_data_library
from ops.pair_counts import PairCounter

ITEMS = 9
needs_native = pytest.mark.skipif(load_data_library() is None, reason="the native data library is not built; run `make install`")


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[list[int]], int, float, int]:
    users = draw(st.lists(st.lists(st.integers(1, ITEMS), max_size=12), max_size=6))
    return users, draw(st.integers(1, 4)), draw(st.sampled_from([0.0, 0.5, 1.0])), draw(st.integers(1, ITEMS))


def counter_of(users: list[list[int]], window: int) -> PairCounter:
    splits = np.cumsum([0, *map(len, users)])
    return PairCounter(np.array([item for user in users for item in user], np.int32), splits, num_items=ITEMS, window=window)


def by_hand(users: list[list[int]], weights: np.ndarray, window: int, source: int) -> tuple[dict[int, float], dict[int, float]]:
    forward, backward = defaultdict(float), defaultdict(float)
    for user, weight in zip(users, weights, strict=True):
        for place, item in enumerate(user):
            if item != source:
                continue
            for gap in range(1, window + 1):
                if place + gap < len(user):
                    forward[user[place + gap]] += weight / gap
                if place - gap >= 0:
                    backward[user[place - gap]] += weight / gap
    return forward, backward


@pytest.mark.parametrize("native", [pytest.param(True, marks=needs_native), False])
@given(log=logs())
@settings(deadline=None, max_examples=60)
def test_counts_are_those_of_a_loop_over_pairs(log, native) -> None:
    users, window, back, keep = log
    weights = np.array([1 / max(1, len(user)) for user in users])
    item_weights = np.linspace(1, 0.4, ITEMS + 1)
    with pytest.MonkeyPatch.context() as patch:
        if not native:
            patch.setattr(pair_counts, "load_data_library", lambda: None)
        counter = counter_of(users, window)
        found = counter.count(np.arange(1, ITEMS + 1), user_weights=weights, back=back, item_weights=item_weights, keep=keep, threads=2)
    assert counter.item_counts[1:].tolist() == [sum(user.count(item) for user in users) for item in range(1, ITEMS + 1)]
    for number, source in enumerate(range(1, ITEMS + 1)):
        forward, backward = by_hand(users, weights, window, source)
        np.testing.assert_allclose(found.totals[number], [sum(forward.values()), sum(backward.values())], rtol=1e-5)
        entries = slice(found.row_splits[number], found.row_splits[number + 1])
        items = found.items[entries].tolist()
        near = {item: (forward[item] + back * backward[item]) * item_weights[item] for item in {*forward, *backward}}
        assert items == sorted(items)
        assert len(items) == min(keep, len(near))
        assert set(items) <= set(near)
        left_out = [near[item] for item in near if item not in items]
        assert max(left_out, default=-1) <= min((near[item] for item in items), default=np.inf) * (1 + 1e-5)
        np.testing.assert_allclose(found.forward[entries], [forward[item] for item in items], rtol=1e-5)
        np.testing.assert_allclose(found.backward[entries], [backward[item] for item in items], rtol=1e-5)


def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_counts, "SOURCES_AT_ONCE", 2)
    rng = np.random.default_rng(0)
    users = [rng.integers(1, ITEMS + 1, rng.integers(0, 30)).tolist() for _ in range(50)]
    arguments = {"user_weights": np.ones(50), "back": 0.5, "item_weights": np.ones(ITEMS + 1), "keep": 4}
    one, many = (counter_of(users, 3).count(np.arange(1, ITEMS + 1), **arguments, threads=threads) for threads in (1, 3))
    for name in ("row_splits", "items", "forward", "backward", "totals"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))


@pytest.mark.parametrize(("rows", "window", "message"), [([0, 1], 1, "1..9, found 0"), ([10], 1, "found 10"), ([1], 0, "window is 0")])
def test_what_cannot_be_counted_is_refused(rows, window, message) -> None:
    with pytest.raises(ValueError, match=message):
        PairCounter(np.array(rows), np.array([0, len(rows)]), num_items=ITEMS, window=window)


def test_no_events_give_no_pairs() -> None:
    found = counter_of([], 2).count(np.array([1, 2]), user_weights=np.zeros(0), back=0, item_weights=np.ones(ITEMS + 1), keep=3)
    assert found.row_splits.tolist() == [0, 0, 0]
    assert len(found.items) == 0
