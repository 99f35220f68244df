"""Ids and times from text, row by row against Python's own reading."""

import numpy as np
import pyarrow as pa
import pytest

from data_prep.parsing import narrow, parse_ids, parse_times


def test_most_values_decide_the_type_of_ids() -> None:
    column = parse_ids([narrow(pa.array(["1", " 22 ", "x", None, "", "-3", "+4", "1.5"]))], "auto")
    assert not column.is_string
    assert column.values[[0, 1, 5, 6]].tolist() == [1, 22, -3, 4]
    assert column.bad.tolist() == [False, False, True, False, False, False, False, True]
    assert column.missing.tolist() == [False, False, False, True, True, False, False, False]
    column = parse_ids([narrow(pa.array(["a", "b", "3", ""]))], "auto")
    assert column.is_string
    assert column.values.to_pylist()[:3] == ["a", "b", "3"]
    assert column.missing.tolist() == [False, False, False, True]


def test_the_type_of_ids_can_be_demanded() -> None:
    assert parse_ids([pa.array([1, 2])], "string").values.to_pylist() == ["1", "2"]
    assert parse_ids([pa.array(["a", "b"])], "int").bad.all()


def test_chunks_of_different_types_become_one_column() -> None:
    column = parse_ids([pa.array([1, 2]), pa.array(["3", "x", "5"])], "auto")
    assert column.values[[0, 1, 2, 4]].tolist() == [1, 2, 3, 5]
    assert column.bad.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("text", ["99999999999999999999", "0x1f", "1_000", "1e3", "٣"])
def test_what_is_no_plain_integer_is_bad(text: str) -> None:
    assert parse_ids([narrow(pa.array(["1", "2", text]))], "auto").bad.tolist() == [False, False, True]


def test_large_integers_are_exact() -> None:
    column = parse_ids([narrow(pa.array(["1541815603606036480", "-1541815603606036481", "x"]))], "int")
    assert column.values[:2].tolist() == [1541815603606036480, -1541815603606036481]


@pytest.mark.parametrize(("times", "unit"), [([1511544070, 1511544071, 0], "s"), ([1511544070000, 1511544071000, -1], "ms")])
def test_the_unit_of_time_is_decided_by_the_median(times: list[int], unit: str) -> None:
    assert parse_times([pa.array(times)], "auto")[1] == unit
    assert parse_times([pa.array(times)], "s")[1] == "s"


def test_times_may_have_fractions() -> None:
    column, unit = parse_times([pa.array(["1511544070.9", "1.511544070e9", "nan", "inf", "", "1e999", "-1.5"])], "auto")
    assert unit == "s"
    assert column.values[[0, 1, 6]].tolist() == [1511544070, 1511544070, -2]
    assert column.bad.tolist() == [False, False, True, True, False, True, False]
    assert column.missing.tolist() == [False, False, False, False, True, False, False]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1, 2], pa.int32()),
        pa.array([1.0, 2.0]),
        pa.array(["1", "2"]),
        pa.array(["1", "2"]).dictionary_encode(),
        pa.array(["1", "2"], pa.large_string()),
        pa.array([1, 2], pa.uint64()),
    ],
)
def test_integers_of_any_storage_become_int64(array: pa.Array) -> None:
    assert narrow(array).equals(pa.array([1, 2]))


def test_parquet_timestamps_become_milliseconds() -> None:
    assert narrow(pa.array([1_500_000], pa.timestamp("us"))).to_pylist() == [1500]
    assert narrow(pa.array([2**63 - 1], pa.uint64())).to_pylist() == [2**63 - 1]
    assert narrow(pa.array([1.5])).type == pa.float64()
    assert np.isnan(narrow(pa.array([float("nan")])).to_pylist()[0])
