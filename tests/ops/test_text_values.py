"""Ids and times out of text: against Python's own, and natively as without the library."""

import itertools
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import string_table, text_values
from ops.string_table import StringTable
from ops.text_values import IdClass, TimeFormat, TimeStatus, id_classes, parse_times


def packed(texts: list[str | bytes]) -> tuple[np.ndarray, np.ndarray]:
    raw = [text if isinstance(text, bytes) else text.encode() for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in raw])]).astype(np.int32)
    return offsets, np.frombuffer(b"".join(raw), np.uint8)


@pytest.mark.parametrize(
    ("text", "expected", "value"),
    [
        ("", IdClass.MISSING, 0),
        ("NULL", IdClass.MISSING, 0),
        ("0", IdClass.INTEGER, 0),
        ("-17", IdClass.INTEGER, -17),
        ("9223372036854775807", IdClass.INTEGER, 2**63 - 1),
        ("-9223372036854775808", IdClass.INTEGER, -(2**63)),
        ("9223372036854775808", IdClass.WIDE, 0),
        ("18446744073709551615", IdClass.WIDE, 0),
        ("18446744073709551616", IdClass.TEXT, 0),
        ("-9223372036854775809", IdClass.TEXT, 0),
        ("007", IdClass.LEADING_ZERO, 7),
        ("0000000000", IdClass.LEADING_ZERO, 0),
        ("+7", IdClass.SPELLED_INTEGER, 7),
        ("-0", IdClass.SPELLED_INTEGER, 0),
        ("61.0", IdClass.SPELLED_INTEGER, 61),
        ("61.", IdClass.SPELLED_INTEGER, 61),
        ("61.50", IdClass.TEXT, 0),
        ("2053013555631882655.0", IdClass.SPELLED_INTEGER, 2053013555631882655),
        ("1.5e3", IdClass.TEXT, 0),
        ("2.0530135556318827e+18", IdClass.INEXACT, 2053013555631882752),
        ("1e-1", IdClass.TEXT, 0),
        ("1e400", IdClass.TEXT, 0),
        ("0x1f", IdClass.TEXT, 0),
        ("u1", IdClass.TEXT, 0),
        ("ç", IdClass.TEXT, 0),
        (b"\xe7", IdClass.BROKEN, 0),
        ("a\0b", IdClass.BROKEN, 0),
        (b"1\xff", IdClass.BROKEN, 0),
    ],
)
def test_classes_of_ids(text: str | bytes, expected: IdClass, value: int) -> None:
    classes, values = id_classes(*packed([text]), ["NULL"])
    assert (IdClass(classes[0]), values[0]) == (expected, value)


@settings(deadline=None, max_examples=400)
@given(texts=st.lists(st.text(alphabet="0129.+-eE xé\0", max_size=8) | st.binary(max_size=5) | st.integers().map(str), max_size=6))
def test_ids_are_equal_without_the_library(texts: list[str | bytes]) -> None:
    native = id_classes(*packed(texts), ["1", ""])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_values, "load_data_library", lambda: None)
        plain = id_classes(*packed(texts), ["1", ""])
    assert [a.tolist() for a in native] == [a.tolist() for a in plain]


MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))


@settings(deadline=None, max_examples=200)
@given(moment=MOMENTS, separator=st.sampled_from("T t"), zone=st.sampled_from(["", "Z", " UTC", "+08:00", "-0330", "+05"]))
def test_iso_times_are_those_of_datetime(moment: datetime, separator: str, zone: str) -> None:
    text = moment.isoformat(separator) + zone
    statuses, micros = parse_times(*packed([text]), TimeFormat())
    expected = datetime.fromisoformat(moment.isoformat() + zone.strip().replace("UTC", "Z"))
    aware = expected if expected.tzinfo else expected.replace(tzinfo=UTC)
    delta = aware - datetime(1970, 1, 1, tzinfo=UTC)
    assert micros[0] == (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds
    assert statuses[0] == (TimeStatus.WITH_ZONE if zone else TimeStatus.WITHOUT_ZONE)


FORMATS = [
    "%m/%d/%Y %I:%M:%S %p",
    "%d.%m.%y %H:%M",
    "%Y%m%d",
    "%d %b %Y %H:%M:%S.%f",
    "%A, %B %d, %Y",
    "%Y%m%d%H%M%S",
    "%Y-%m-%dT%H:%M:%S%z",
]


@settings(deadline=None, max_examples=200)
@given(moment=st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)), form=st.sampled_from(FORMATS))
def test_formats_are_those_of_strptime(moment: datetime, form: str) -> None:
    text = moment.replace(tzinfo=UTC).strftime(form)
    statuses, micros = parse_times(*packed([text]), TimeFormat(form))
    delta = datetime.strptime(text, form).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    assert statuses[0] in (TimeStatus.WITH_ZONE, TimeStatus.WITHOUT_ZONE)
    assert micros[0] == (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds


TIME_TEXT = (
    st.text(alphabet="0129-/: TZUC.+", max_size=24) | MOMENTS.map(str) | st.sampled_from(["2020-02-30", "2020-01-01 24:00:00", "829"])
)


@settings(deadline=None, max_examples=400)
@given(texts=st.lists(TIME_TEXT, max_size=6), form=st.sampled_from(["", "%m%d", "%H:%M %z", "%s", "%y%%%m", *FORMATS]))
def test_times_are_equal_without_the_library(texts: list[str], form: str) -> None:
    native = parse_times(*packed(texts), TimeFormat(form, 2015))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_values, "load_data_library", lambda: None)
        plain = parse_times(*packed(texts), TimeFormat(form, 2015))
    assert [a.tolist() for a in native] == [a.tolist() for a in plain]


def test_a_day_of_the_year_needs_the_year_and_may_lack_its_zero() -> None:
    statuses, micros = parse_times(*packed(["829", "1111", "0230"]), TimeFormat("%m%d", 2014))
    assert statuses.tolist() == [TimeStatus.WITHOUT_ZONE, TimeStatus.WITHOUT_ZONE, TimeStatus.NO_TIME]
    assert [text_values.format_micros(value) for value in micros[:2].tolist()] == ["2014-08-29 00:00:00", "2014-11-11 00:00:00"]


@settings(deadline=None, max_examples=100)
@given(texts=st.lists(st.text(max_size=12), max_size=40), others=st.lists(st.text(max_size=3), max_size=10), native=st.booleans())
def test_a_string_table_numbers_like_a_dict(texts: list[str], others: list[str], native: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if not native:
            patch.setattr(string_table, "load_data_library", lambda: None)
        table, expected = StringTable(), {}
        for text in texts:
            expected.setdefault(text, len(expected))
        half = len(texts) // 2
        found = [*table.add(*packed(texts[:half])), *table.add(*packed(texts[half:]))]
        assert found == [expected[text] for text in texts]
        assert table.size == len(expected)
        assert table.find(*packed(others)).tolist() == [expected.get(text, -1) for text in others]
        offsets, data = table.strings()
        raw = data.tobytes()
        assert [raw[a:b].decode() for a, b in itertools.pairwise(offsets)] == list(expected)
