"""Numbers as text, on literal cases."""

import pytest

from nann.reporting.text import bytes_text, number_text, seconds_text, share_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (1234567, "1,234,567"),
        (3.0, "3"),
        (0.012345, "0.0123"),
        (1.23456, "1.23"),
        (12.3456, "12.3"),
        (1234.5, "1,234"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert number_text(value) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (5e15, "5000.0 TB")])
def test_bytes(size: float, text: str) -> None:
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (61, "1 min 01 s"), (7325, "2 h 02 min")]
)
def test_seconds(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_share() -> None:
    assert share_text(0.1234) == "12.3 %"
    assert share_text(None) == "-"
