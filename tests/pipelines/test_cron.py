from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cron import CronError, parse_cron

START = datetime(2024, 2, 27, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 30 2 * * *", ["2024-02-28 02:30:00", "2024-02-29 02:30:00"]),
        ("0 0 0 29 2 ?", ["2024-02-29 00:00:00", "2028-02-29 00:00:00"]),
        ("0 0 */8 ? * MON-FRI", ["2024-02-27 16:00:00", "2024-02-28 00:00:00"]),
        ("15,45 0 12 * * *", ["2024-02-27 12:00:15", "2024-02-27 12:00:45"]),
        ("0 0 6 1 * sun", ["2024-03-01 06:00:00", "2024-03-03 06:00:00"]),
        ("0 0 6 ? * 7", ["2024-03-03 06:00:00", "2024-03-10 06:00:00"]),
        ("0 10/25 6 ? jan *", ["2025-01-01 06:10:00", "2025-01-01 06:35:00"]),
    ],
)
def test_next_times(text: str, expected: list[str]) -> None:
    assert [f"{time:%Y-%m-%d %H:%M:%S}" for time in parse_cron(text).after(START, 2)] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("30 2 * * *", "has 5 fields, but needs 6"),
        ("60 * * * * *", "the second must be within 0 and 59, but it is '60'"),
        ("0 0 24 * * *", "the hour must be within 0 and 23"),
        ("0 0 0 * foo *", "the month must be within 1 and 12, but it is 'foo'"),
        ("0 0 0 5-2 * *", "the range '5-2' of the day of month ends before it begins"),
        ("0 */0 0 * * *", "the step of the minute must be a positive number"),
        ("0 0 0 L * *", "the day of month must be within"),
        ("0 0 0 , * *", "the day of month must be within"),
    ],
)
def test_malformed_expressions(text: str, message: str) -> None:
    with pytest.raises(CronError, match=message):
        parse_cron(text)


def test_what_never_fires_is_told() -> None:
    with pytest.raises(CronError, match="does not fire within four years"):
        parse_cron("0 0 0 30 2 ?").after(START, 1)


@given(st.integers(0, 59), st.integers(0, 23), st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
def test_a_daily_time_is_within_a_day(minute: int, hour: int, moment: datetime) -> None:
    [time] = parse_cron(f"0 {minute} {hour} * * *").after(moment.replace(tzinfo=UTC), 1)
    assert (time.hour, time.minute, time.second) == (hour, minute, 0)
    assert 0 < (time - moment.replace(tzinfo=UTC)).total_seconds() <= 86400
