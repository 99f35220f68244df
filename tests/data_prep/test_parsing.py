"""Ids and times from text, row by row against Python's own reading."""

from decimal import Decimal

import pyarrow as pa
import pytest

from data_prep.parsing import id_facts, narrow_ids, parse_ids, read_ids


def test_most_values_decide_the_type_of_ids() -> None:
    column = parse_ids([narrow_ids(pa.array(["1", " 22 ", "x", None, "", "-3", "+4", "1.5"]))], "auto")
    assert not column.is_string
    assert column.values[[0, 1, 5, 6]].tolist() == [1, 22, -3, 4]
    assert column.bad.tolist() == [False, False, True, False, False, False, False, True]
    assert column.missing.tolist() == [False, False, False, True, True, False, False, False]
    column = parse_ids([narrow_ids(pa.array(["a", "b", "3", ""]))], "auto")
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
    assert parse_ids([narrow_ids(pa.array(["1", "2", text]))], "auto").bad.tolist() == [False, False, True]


def test_large_integers_are_exact() -> None:
    column = parse_ids([narrow_ids(pa.array(["1541815603606036480", "-1541815603606036481", "x"]))], "int")
    assert column.values[:2].tolist() == [1541815603606036480, -1541815603606036481]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1, 2], pa.int32()),
        pa.array([1.0, 2.0]),
        pa.array(["1", "2"]),
        pa.array(["1", "2"]).dictionary_encode(),
        pa.array(["1", "2"], pa.large_string()),
        pa.array([b"1", b"2"]),
        pa.array([1, 2], pa.uint64()),
        pa.array([Decimal(1), Decimal(2)], pa.decimal128(38, 0)),
        pa.array([Decimal("1.00"), Decimal("2.00")], pa.decimal128(10, 2)).cast(pa.decimal128(8, 0)),
    ],
)
def test_integers_of_any_storage_become_integers(array: pa.Array) -> None:
    assert narrow_ids(array).cast(pa.int64()).equals(pa.array([1, 2]))


def test_floats_are_exact_integers_or_text_and_nan_is_missing() -> None:
    assert narrow_ids(pa.array([float("nan"), 2053013555631882.0, None])).to_pylist() == [None, 2053013555631882, None]
    assert narrow_ids(pa.array([1.5, 3.0, float("nan")])).to_pylist() == ["1.5", "3", None]
    facts = id_facts(narrow_ids(pa.array([2.0**60, 1.0])))
    assert (facts.inexact, facts.not_integers) == (1, 0)


def test_integers_without_a_sign_that_are_too_wide_are_text() -> None:
    column = narrow_ids(pa.array([2**63, 5], pa.uint64()))
    assert column.to_pylist() == ["9223372036854775808", "5"]
    assert id_facts(column).is_string("auto")
    assert narrow_ids(pa.array(["9223372036854775807", "-9223372036854775808"])).type == pa.int64()


def test_zeros_in_front_decide_for_strings() -> None:
    column = parse_ids([narrow_ids(pa.array(["1", "2", "3"])), narrow_ids(pa.array(["07"]))], "auto")
    assert column.values.to_pylist() == ["1", "2", "3", "07"]
    assert parse_ids([narrow_ids(pa.array(["1", "07"]))], "int").values.tolist() == [1, 7]


def test_categories_are_strings_already_if_a_few_are_no_integers() -> None:
    chunk = narrow_ids(pa.array(["1"] * 95 + ["S"] * 5))
    assert not parse_ids([chunk], "auto").is_string
    assert parse_ids([chunk], "auto", "category").is_string


def test_a_dictionary_reads_like_its_values() -> None:
    texts = pa.array(["a", "07", None, "5", "a", "b\0"])
    for as_string in (True, False):
        plain, coded = read_ids(texts, as_string=as_string), read_ids(texts.dictionary_encode(), as_string=as_string)
        assert (plain.bad.tolist(), plain.missing.tolist()) == (coded.bad.tolist(), coded.missing.tolist())
        if as_string:
            assert plain.bad.tolist() == [False, False, False, False, False, True]
        else:
            assert plain.values.tolist() == coded.values.tolist() == [0, 7, 0, 5, 0, 0]
    assert id_facts(texts) == id_facts(texts.dictionary_encode())


def test_null_words_and_bytes_that_are_no_text() -> None:
    column = narrow_ids(pa.array([b"NULL", b"u1", b"", b"\xff"]), ("NULL",))
    assert column.to_pylist() == [None, "u1", None, "\N{REPLACEMENT CHARACTER}"]
    assert narrow_ids(pa.array(["NULL", "7"]), ("NULL",)).equals(pa.array([None, 7]))
