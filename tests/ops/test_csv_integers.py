"""Native integers of CSV text against Python's own reading."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.csv_integers import csv_integers
from ops.data_library import load_data_library


@pytest.fixture(autouse=True)
def native_function() -> None:
    if load_data_library() is None:
        pytest.skip("the native data library is not there")


def expected(text: str, width: int, columns: list[int], delimiter: str) -> list[list[int]] | None:
    found: list[list[int]] = [[] for _ in columns]
    if text == "\r" or text.endswith("\n\r"):  # no line of its own, but nothing to be clever about
        return None
    for line in text.split("\n"):
        line = line.removesuffix("\r")
        if not line:
            continue
        fields = line.split(delimiter)
        if "\r" in line or len(fields) != width:
            return None
        for values, column in zip(found, columns, strict=True):
            digits = fields[column].removeprefix("-")
            if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
                return None
            if digits[0] == "0" and fields[column] != "0":  # a leading zero, or -0: no program writes an integer so
                return None
            values.append(int(fields[column]))
    return found


FIELD = (
    st.integers(-(10**18) + 1, 10**18 - 1).map(str)
    | st.integers(-(2**31) - 1, 2**31).map(str)
    | st.integers(-9, 99).map(str)
    | st.sampled_from(["0", "-0", "007", "pv"])
)
ODD = st.sampled_from(["", " 1", "1.5", "+1", "-", "9" * 19, "0x1f", "é", '"1"', "1,2", "1\r", "--1"])
LINE = st.lists(FIELD, min_size=3, max_size=3).map(",".join) | st.sampled_from(["", "\r"])


@settings(deadline=None, max_examples=300)
@given(
    lines=st.lists(LINE, max_size=12),
    odd=st.none() | st.tuples(st.integers(0, 11), st.lists(FIELD | ODD, min_size=1, max_size=4).map(",".join)),
    end=st.sampled_from(["\n", "\r\n", ""]),
    columns=st.permutations([0, 1, 2]).flatmap(lambda order: st.integers(1, 3).map(lambda size: order[:size])),
)
def test_against_python(lines: list[str], odd: tuple[int, str] | None, end: str, columns: list[int]) -> None:
    if odd is not None:
        lines = [*lines[: odd[0]], odd[1], *lines[odd[0] :]]
    text = (end or "\n").join(lines) + end
    found = csv_integers(text.encode(), width=3, columns=columns, delimiter=",")
    wanted = expected(text, 3, columns, ",")
    assert (found is None) == (wanted is None), text
    if found is not None:
        assert [values.tolist() for values in found] == wanted
        for values in found:
            fits = not len(values) or (values.min() >= -(2**31) and values.max() < 2**31)
            assert values.dtype == (np.int32 if fits else np.int64)


def test_other_delimiters_and_bytes_that_are_not_read() -> None:
    found = csv_integers(b"1\t\xff,\x00\t-2\n3\t\t4", width=3, columns=[2, 0], delimiter="\t")
    assert [values.tolist() for values in found] == [[-2, 4], [1, 3]]
    assert csv_integers(b"1;2\n", width=2, columns=[0], delimiter="–") is None
    assert [len(values) for values in csv_integers(b"\n\n", width=2, columns=[0], delimiter=",")] == [0]
