"""Formats in which people write times, to be suggested where a time cannot be read."""

from __future__ import annotations

from ops.text_values import TimeFormat, read_time

COMMON_FORMATS = (
    *("%m/%d/%Y %I:%M:%S %p", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y"),
    *("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%d-%m-%Y %H:%M:%S", "%d-%m-%Y", "%Y.%m.%d %H:%M:%S", "%Y.%m.%d"),
    *("%Y%m%dT%H%M%SZ", "%Y%m%d %H:%M:%S", "%d/%b/%Y:%H:%M:%S %z", "%d %b %Y %H:%M:%S", "%a %b %d %H:%M:%S %Y", "%b %d, %Y", "%m %d, %Y"),
    *("%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S %Z", "%Y-%m-%d-%H:%M:%S", "%d-%b-%Y", "%d-%b-%y"),
)


def formats_of(text: str) -> list[str]:
    """Formats in which a text can be read as a time, likely ones first."""
    return [form for form in COMMON_FORMATS if read_time(text.strip().encode(), TimeFormat(form))[0] in (1, 2)]


def format_hint(text: str) -> str:
    """What to give for a text that is no time by itself."""
    found = formats_of(text)
    shown = " or ".join(repr(form) for form in found[:2]) if found else "'%d/%m/%Y %H:%M:%S'"
    return f"give --time-format, for example {shown}"
