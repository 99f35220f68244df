"""Native passes over id columns against plain Python, and against the form without the library."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import id_columns
from ops.data_library import load_data_library
from ops.id_columns import code_ids, count_ids, deal_events, note_categories

DTYPES = st.sampled_from([np.int32, np.int64])


@pytest.fixture(params=["native", "numpy"], autouse=True)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        monkeypatch.setattr(id_columns, "load_data_library", lambda: None)
    elif load_data_library() is None:
        pytest.skip("the native data library is not there")


@settings(deadline=None)
@given(low=st.integers(-(2**31), 2**31 - 60), places=st.lists(st.integers(0, 49)), dtype=DTYPES)
def test_counts(low: int, places: list[int], dtype: type) -> None:
    table = np.arange(50, dtype=np.uint32)
    count_ids(np.array([low + place for place in places], dtype), low, table)
    assert table.tolist() == [number + places.count(number) for number in range(50)]


@settings(deadline=None)
@given(
    low=st.integers(-(2**31), 2**31 - 1),
    values=st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-60, 60)),
    dtype=DTYPES,
    relative=st.booleans(),
)
def test_codes(low: int, values: list[int], dtype: type, relative: bool) -> None:
    values = [min(max(value + low * relative, -(2**31)), 2**31 - 1) for value in values]
    table = np.arange(100, 150, dtype=np.int32)
    expected = [100 + value - low if low <= value < low + 50 else -1 for value in values]
    assert code_ids(np.array(values, dtype), low, table).tolist() == expected


@settings(deadline=None)
@given(
    events=st.lists(st.tuples(st.integers(-1, 9), st.integers(-1, 5), st.integers(100, 131))),
    cuts=st.sets(st.integers(1, 9)),
    dtype=DTYPES,
    with_kinds=st.booleans(),
)
def test_dealing(events: list[tuple[int, int, int]], cuts: set[int], dtype: type, with_kinds: bool) -> None:
    firsts = [0, *sorted(cuts), 10]
    dealt = deal_events(
        np.array([event[0] for event in events], np.int32),
        np.array([event[1] for event in events], np.int32),
        np.array([event[2] for event in events], dtype),
        np.array([event[2] - 100 for event in events], np.uint8) if with_kinds else None,
        partition_of_user=np.repeat(np.arange(len(firsts) - 1, dtype=np.uint16), np.diff(firsts)),
        firsts=np.array(firsts),
        time_bits=5,
        first_time=100,
    )
    for number, (first, last) in enumerate(itertools.pairwise(firsts)):
        begin, end = dealt.bounds[number : number + 2]
        expected = [((user - first) << 5 | time - 100, item) for user, item, time in events if first <= user < last and item >= 0]
        assert list(zip(dealt.keys[begin:end].tolist(), dealt.item_codes[begin:end].tolist(), strict=True)) == expected
    assert (dealt.kinds is not None) == with_kinds
    if with_kinds:
        assert dealt.kinds.tolist() == [key & 31 for key in dealt.keys.tolist()]
    assert dealt.bounds[0] == 0
    assert dealt.bounds[-1] == len(dealt.keys) == len(dealt.item_codes)


@settings(deadline=None)
@given(batches=st.lists(st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 3)))))
def test_first_categories(batches: list[list[tuple[int, int]]]) -> None:
    category_of_item, changed = np.full(5, -1, np.int32), np.zeros(5, bool)
    for batch in batches:
        columns = [np.array([event[place] for event in batch], np.int32) for place in (0, 1)]
        note_categories(*columns, category_of_item, changed)
    seen = [[c for batch in batches for i, c in batch if i == item and c >= 0] for item in range(5)]
    assert category_of_item.tolist() == [categories[0] if categories else -1 for categories in seen]
    assert changed.tolist() == [len(set(categories)) > 1 for categories in seen]
