"""Times: units found from the values, zones, and the forms that columns of times have."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from data_prep.config import ConvertConfig
from data_prep.parsing import Parsed
from data_prep.time_formats import formats_of
from data_prep.times import TimeFacts, TimeOptions, narrow_times, settle_times, time_facts
from ops.text_values import TimeFormat


def read(*chunks: pa.Array, **options) -> tuple[list[Parsed], str]:
    config = ConvertConfig(**options)
    how = TimeOptions.of(config)
    narrowed = [narrow_times(chunk, how) for chunk in chunks]
    facts = TimeFacts()
    for chunk in narrowed:
        facts.add(time_facts(chunk, how))
    rule = settle_times(facts, config)
    return [rule.read(chunk) for chunk in narrowed], rule.unit


@pytest.mark.parametrize(
    ("times", "unit", "expected"),
    [
        ([1511544070, 1511544071, 0], "s", 1511544070),
        ([1511544070000, 1511544071000, -1], "ms", 1511544070000),
        ([1511544070000005, 1511544071000000, 7], "us", 1511544070000005),
        ([1511544070000005999, 1511544071000000000, 7], "us", 1511544070000005),
    ],
)
@pytest.mark.parametrize("form", ["number", "text", "damaged"])
def test_the_unit_of_numbers_is_decided_by_the_median(times: list[int], unit: str, expected: int, form: str) -> None:
    array = pa.array(times) if form == "number" else pa.array([*map(str, times), *(["?"] if form == "damaged" else [])])
    (column,), found = read(array)
    assert (found, column.values[0]) == (unit, expected)
    assert read(array, time_unit="s")[1] == "s"


def test_numbers_may_have_fractions() -> None:
    (column,), unit = read(pa.array(["1511544070.9", "1.511544070e9", "oops", "inf", "", "1e999", "-1.5"]))
    assert unit == "s"
    assert column.values[[0, 1, 6]].tolist() == [1511544070, 1511544070, -2]
    assert column.bad.tolist() == [False, False, True, True, False, True, False]
    assert column.missing.tolist() == [False, False, False, False, True, False, False]
    (column,), _ = read(pa.array([1511544070.9, float("nan"), -1.5]))
    assert column.values[[0, 2]].tolist() == [1511544070, -2]
    assert column.missing.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("array", "unit"),
    [
        (pa.array(["2017-11-25T01:02:03Z"]), "s"),
        (pa.array(["2017-11-25 09:02:03.250+08:00"]), "ms"),
        (pa.array(["2017-11-25 01:02:03.000001 UTC"]), "us"),
        (pa.array([datetime(2017, 11, 25, 1, 2, 3)], pa.timestamp("s")), "s"),
        (pa.array([datetime(2017, 11, 25, 1, 2, 3, 250_000)], pa.timestamp("ms")), "ms"),
        (pa.array([datetime(2017, 11, 25, 1, 2, 3, 1)], pa.timestamp("us", "Asia/Shanghai")), "us"),
        (pa.array([1511571723_000000999], pa.timestamp("ns")), "s"),
    ],
)
def test_moments_of_any_storage_are_microseconds_that_lose_no_more_than_they_must(array: pa.Array, unit: str) -> None:
    (column,), found = read(array)
    assert found == unit
    assert column.values[0] // {"s": 1, "ms": 1000, "us": 1_000_000}[unit] == 1511571723


def test_dates_are_midnight_of_the_zone() -> None:
    for array in (pa.array([date(2019, 10, 2)]), pa.array([date(2019, 10, 2)], pa.date64()), pa.array(["2019-10-02"])):
        assert read(array)[0][0].values[0] == datetime(2019, 10, 2, tzinfo=UTC).timestamp()
        assert read(array, time_zone="+05:30")[0][0].values[0] == datetime(2019, 10, 2, tzinfo=UTC).timestamp() - 19800
        expected = datetime(2019, 10, 2, tzinfo=ZoneInfo("America/New_York")).timestamp()
        assert read(array, time_zone="America/New_York")[0][0].values[0] == expected


def test_an_hour_that_a_clock_shows_twice_or_skips() -> None:
    array = pa.array(["2019-10-27 02:30:00", "2019-03-31 02:30:00"])
    (column,), unit = read(array, time_zone="Europe/Berlin")
    assert unit == "s"
    assert column.values.tolist() == [int(datetime(2019, 10, 27, 0, 30, tzinfo=UTC).timestamp()), 1553994000]


def test_a_zone_does_not_move_times_that_have_one() -> None:
    array = pa.array(["2019-07-02 00:00:00Z", "2019-07-02 00:00:00"])
    (column,), _ = read(array, time_zone="Europe/Berlin")
    assert column.values[0] - column.values[1] == 7200


def test_numbers_by_a_format() -> None:
    for array in (pa.array([829, 1111]), pa.array(["829", "1111"]), pa.array([829.0, 1111.0])):
        (column,), _ = read(array, time_format="%m%d", time_year=2014)
        assert column.values.tolist() == [datetime(2014, 8, 29, tzinfo=UTC).timestamp(), datetime(2014, 11, 11, tzinfo=UTC).timestamp()]
    (column,), _ = read(pa.array([20171125]), time_format="%Y%m%d")
    assert column.values[0] == datetime(2017, 11, 25, tzinfo=UTC).timestamp()


def test_numbers_and_moments_meet_in_one_unit() -> None:
    (numbers, moments), unit = read(pa.array([1511571723, 1511571724]), pa.array(["2017-11-25 01:02:03.5"]))
    assert unit == "ms"
    assert np.concatenate([numbers.values, moments.values]).tolist() == [1511571723000, 1511571724000, 1511571723500]


def test_formats_are_suggested() -> None:
    assert formats_of("11/15/2019 8:55:22 AM")[0] == "%m/%d/%Y %I:%M:%S %p"
    assert formats_of("31/12/2019 08:55")[0] == "%d/%m/%Y %H:%M"
    assert formats_of("yesterday") == []
    assert TimeOptions(TimeFormat("%d/%m/%Y")).reads("31/12/2019")
