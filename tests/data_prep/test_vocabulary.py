"""Codes, rows and look-ups against dictionaries."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.vocabulary import encode_ids, find_ids, popularity_rows, take_ids, type_name

integers = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5), max_size=40).map(lambda values: np.array(values, np.int64))
strings = st.lists(st.text(max_size=4), max_size=40).map(lambda values: pa.array(values, pa.string()))


def as_list(ids: np.ndarray | pa.Array) -> list:
    return ids.tolist() if isinstance(ids, np.ndarray) else ids.to_pylist()


@settings(deadline=None)
@given(values=integers | strings)
def test_codes_are_ranks_of_distinct_ids(values: np.ndarray | pa.Array) -> None:
    coded = encode_ids(values)
    expected = sorted(set(as_list(values)))  # Python compares code points, which is the order of UTF-8 bytes
    assert as_list(coded.ids) == expected
    assert [expected[code] for code in coded.codes] == as_list(values)
    assert type_name(coded.ids) == type_name(values)


@settings(deadline=None)
@given(values=st.lists(st.integers(0, 8), min_size=1, max_size=60))
def test_rows_go_by_count_then_id(values: list[int]) -> None:
    coded = encode_ids(np.array(values))
    order, row_of_code = popularity_rows(np.bincount(coded.codes))
    counts = Counter(values)
    assert take_ids(coded.ids, order).tolist() == sorted(counts, key=lambda value: (-counts[value], value))
    assert row_of_code[order].tolist() == list(range(1, len(order) + 1))


@pytest.mark.parametrize("make", [lambda values: np.array(values, np.int64), lambda values: pa.array(map(str, values), pa.string())])
def test_ids_are_found_or_not(make) -> None:
    assert find_ids(make([2, 4, 7]), make([7, 1, 2, 9, 4])).tolist() == [2, -1, 0, -1, 1]
    assert find_ids(make([]), make([1])).tolist() == [-1]
