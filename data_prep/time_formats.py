"""Formats in which people write times, to be suggested where a time cannot be read."""

from __future__ import annotations

from ops.text_values import TimeFormat, TimeStatus, read_time

COMMON_FORMATS = (
    *("%m/%d/%Y %I:%M:%S %p", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y"),
    *("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%d-%m-%Y %H:%M:%S", "%d-%m-%Y", "%Y.%m.%d %H:%M:%S", "%Y.%m.%d"),
    *("%Y%m%dT%H%M%SZ", "%Y%m%d %H:%M:%S", "%d/%b/%Y:%H:%M:%S %z", "%d %b %Y %H:%M:%S", "%a %b %d %H:%M:%S %Y", "%b %d, %Y", "%m %d, %Y"),
    *("%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S %Z", "%Y-%m-%d-%H:%M:%S", "%d-%b-%Y", "%d-%b-%y", "%m/%d/%Y %I:%M %p"),
    *("[%d/%b/%Y:%H:%M:%S %z]", "%a %d %b %Y %H:%M:%S %Z", "%Y-%m-%d %H:%M:%S %Z", "%Y-%m-%d %H", "%Y%m%dT%H%M%S", "%d %B %Y"),
    *(
        "%B %d %Y %H:%M:%S",
        "%b %d %Y %H:%M:%S",
        "%b %d %Y %H:%M",
        "%B %d %Y %H:%M",
        "%B %d %Y",
        "%B %d, %Y",
        "%b %d, %Y %I:%M %p",
        "%b %d, %Y %I:%M:%S %p",
        "%d %b %Y",
    ),
    *("%d.%m.%y", "%d.%m.%y %H:%M", "%m/%d/%y", "%m/%d/%y %H:%M", "%d/%m/%y", "%d/%m/%y %H:%M", "%d-%m-%Y %H:%M"),
)
PACKED_FORMATS = ("%Y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S")


def formats_of(text: str) -> list[str]:
    """Formats in which a text can be read as a time, likely ones first."""
    return [form for form in COMMON_FORMATS if read_time(text.strip().encode(), TimeFormat(form))[0] in (1, 2)]


def format_hint(text: str) -> str:
    """What to give for a text that is no time by itself."""
    if not (found := formats_of(text)):
        return "give --time-format with the directives of strptime (31/12/2019 23:59:59 is '%d/%m/%Y %H:%M:%S')"
    return f"give --time-format, for example {' or '.join(repr(form) for form in found[:2])}"


def packed_hint(number: str) -> str:
    """What to give for a number that is out of range as a time, but a date in digits; empty if it is none."""
    for form in PACKED_FORMATS:
        packed = TimeFormat(form)
        if len(number) == packed.digits and number[:2] in ("19", "20") and read_time(number.encode(), packed)[0] == TimeStatus.WITHOUT_ZONE:
            return f"give --time-format '{form}' if these are dates"
    return ""
