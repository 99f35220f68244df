"""Values of text columns: what kind of id each is, and times, natively (`id_classes.cc` and `times.cc` in `ops/cc/data/`) or in Python.

Values come as offsets ([n + 1] int32) and bytes (uint8): value i is data[offsets[i]:offsets[i + 1]].
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import IntEnum

import numpy as np

from ops.data_library import address, load_data_library

_INT64 = range(-(1 << 63), 1 << 63)
_EXACT = 1 << 53  # whole numbers up to here are exact as doubles
_SPELLED = re.compile(rb"([+-]?)([0-9]+)(?:(\.[0-9]*)|(\.[0-9]*)?([eE][+-]?[0-9]+))?")
_ISO = re.compile(
    rb"([0-9]{4})([-/])([0-9]{2})\2([0-9]{2})(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
    rb"(?: ?(Z|UTC|GMT|[+-][0-9]{2}:?(?:[0-9]{2})?))?)?",
    re.IGNORECASE,
)
_MONTHS = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"]
_WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class IdClass(IntEnum):
    """What a text is as an id."""

    MISSING = 0
    INTEGER = 1  # as a program writes a 64-bit integer
    SPELLED_INTEGER = 2  # one in another spelling: +7, 61.0
    LEADING_ZERO = 3  # digits whose zeros in front would be lost
    WIDE = 4  # an integer of 64 bits without a sign that does not fit one with a sign
    TEXT = 5
    BROKEN = 6  # not UTF-8, or with NUL or U+FFFD
    INEXACT = 7  # a whole number above 2^53 with an exponent, as floats are written: other ids may have been rounded to it


class TimeStatus(IntEnum):
    """What a text is as a time."""

    MISSING = 0
    WITH_ZONE = 1
    WITHOUT_ZONE = 2
    NO_TIME = 3


@dataclass(frozen=True)
class TimeFormat:
    """How a time is written.

    Attributes:
        directives: as of strptime (``%Y %y %m %d %H %I %M %S %f %p %b %B %a %A %z %Z %s %%``); empty for ISO 8601 and RFC 3339.
        year: of times whose format has none; -1 for none.
    """

    directives: str = ""
    year: int = -1

    @property
    def is_packed(self) -> bool:
        """Whether only digits stand there, so that zeros in front may be lacking (``%m%d``: 829 for 0829)."""
        return re.fullmatch(r"(%[YymdHMS])+", self.directives) is not None

    @property
    def digits(self) -> int:
        """Digits of a packed format."""
        return sum(4 if directive == "Y" else 2 for directive in self.directives[1::2])


def id_classes(offsets: np.ndarray, data: np.ndarray, null_words: Sequence[str] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Classifies ids.

    Args:
        offsets, data: the values.
        null_words: texts that mean "missing", beside the empty one.

    Returns:
        [n] uint8 `IdClass`, and [n] int64 the value as an integer, 0 where it is none.
    """
    library = load_data_library()
    size = len(offsets) - 1
    classes, values = np.zeros(size, np.uint8), np.zeros(size, np.int64)
    words = [word.encode() for word in null_words]
    if library is None:
        for place, text in enumerate(_texts(offsets, data)):
            if text and text not in words:
                classes[place], values[place] = _classify(text)
        return classes, values
    offsets, data = np.ascontiguousarray(offsets, np.int32), np.ascontiguousarray(data)
    ends = np.concatenate([[0], np.cumsum([len(word) for word in words])]).astype(np.int32)
    library.nann_id_classes(
        address(offsets), address(data), size, b"".join(words), address(ends), len(words), address(values), address(classes)
    )
    return classes, values


def _texts(offsets: np.ndarray, data: np.ndarray) -> list[bytes]:
    text, ends = data.tobytes(), offsets.tolist()
    return [text[begin:end] for begin, end in itertools.pairwise(ends)]


def _classify(text: bytes) -> tuple[IdClass, int]:
    found = _SPELLED.fullmatch(text)
    if found is None:
        return IdClass.TEXT if _is_clean(text) else IdClass.BROKEN, 0
    sign, digits, decimals, _, exponent = found.groups()
    number = int(sign + digits)
    leading_zero = len(digits) > 1 and digits.startswith(b"0")
    if decimals is None and exponent is None:
        if number not in _INT64:
            return (IdClass.WIDE if 0 < number < 1 << 64 and not leading_zero else IdClass.TEXT), 0
        if leading_zero:
            return IdClass.LEADING_ZERO, number
        return (IdClass.SPELLED_INTEGER if sign == b"+" or (sign == b"-" and not number) else IdClass.INTEGER), number
    if leading_zero:
        return IdClass.TEXT, 0
    if exponent is None:
        whole = not (decimals or b"").strip(b".0")
        return (IdClass.SPELLED_INTEGER, number) if whole and number in _INT64 else (IdClass.TEXT, 0)
    value = float(text)
    return (IdClass.INEXACT, int(value)) if _EXACT < abs(value) < 1 << 63 else (IdClass.TEXT, 0)


def _is_clean(text: bytes) -> bool:
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return False
    return "\0" not in decoded and "\N{REPLACEMENT CHARACTER}" not in decoded


def parse_times(offsets: np.ndarray, data: np.ndarray, form: TimeFormat) -> tuple[np.ndarray, np.ndarray]:
    """Reads times.

    Args:
        offsets, data: the values.
        form: how they are written.

    Returns:
        [n] uint8 `TimeStatus`, and [n] int64 microseconds since 1970 (as if in UTC where there is no zone), 0 where there is no time.
    """
    library = load_data_library()
    size = len(offsets) - 1
    statuses, micros = np.zeros(size, np.uint8), np.zeros(size, np.int64)
    if library is None:
        seen: dict[bytes, tuple[TimeStatus, int]] = {b"": (TimeStatus.MISSING, 0)}
        for place, text in enumerate(_texts(offsets, data)):
            if text not in seen:
                seen[text] = read_time(text, form)
            statuses[place], micros[place] = seen[text]
        return statuses, micros
    offsets, data = np.ascontiguousarray(offsets, np.int32), np.ascontiguousarray(data)
    directives = form.directives.encode()
    library.nann_parse_times(
        *(address(offsets), address(data), size, directives, len(directives), int(form.is_packed), form.digits, form.year),
        *(address(micros), address(statuses)),
    )
    return statuses, micros


def read_time(text: bytes, form: TimeFormat) -> tuple[TimeStatus, int]:
    """Status and microseconds of one time, in Python."""
    parts = _read_iso(text) if not form.directives else _read_format(text, form)
    if parts is None:
        return TimeStatus.NO_TIME, 0
    epoch = parts.get("epoch")
    if epoch is not None:
        return TimeStatus.WITH_ZONE, epoch * 1_000_000 + parts.get("micros", 0)
    hour, minute, second = (parts.get(name, 0) for name in ("hour", "minute", "second"))
    try:
        day = date(parts.get("year", form.year), parts.get("month", 1), parts.get("day", 1))
    except ValueError:
        return TimeStatus.NO_TIME, 0
    if hour > 23 or minute > 59 or second > 60:
        return TimeStatus.NO_TIME, 0
    seconds = (day - date(1970, 1, 1)).days * 86400 + hour * 3600 + minute * 60 + second - parts.get("offset", 0)
    status = TimeStatus.WITH_ZONE if "offset" in parts else TimeStatus.WITHOUT_ZONE
    return status, seconds * 1_000_000 + parts.get("micros", 0)


def _micros(digits: bytes) -> int:
    return int(digits[:6].ljust(6, b"0"))


def _offset(zone: bytes) -> int | None:
    """Seconds east of Greenwich; None if there is no such zone."""
    if zone.upper() in (b"Z", b"UTC", b"GMT"):
        return 0
    digits = zone[1:].replace(b":", b"").ljust(4, b"0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59 or zone.endswith(b":"):
        return None
    return (-1 if zone[:1] == b"-" else 1) * (hours * 3600 + minutes * 60)


def _read_iso(text: bytes) -> dict[str, int] | None:
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    year, _, month, day, hour, minute, second, fraction, zone = found.groups()
    parts = {"year": int(year), "month": int(month), "day": int(day)}
    parts |= {"hour": int(hour or 0), "minute": int(minute or 0), "second": int(second or 0), "micros": _micros(fraction or b"0")}
    if zone is not None:
        offset = _offset(zone)
        if offset is None:
            return None
        parts["offset"] = offset
    return parts


def _read_format(text: bytes, form: TimeFormat) -> dict[str, int] | None:
    found = _pattern(form).fullmatch(text.rjust(form.digits, b"0") if form.is_packed else text)
    if found is None:
        return None
    parts: dict[str, int] = {}
    for name, value in found.groupdict().items():
        directive = name[0]
        if directive in "YmdHMSs":
            key = {"Y": "year", "m": "month", "d": "day", "H": "hour", "M": "minute", "S": "second", "s": "epoch"}[directive]
            parts[key] = int(value)
        elif directive == "y":
            parts["year"] = int(value) + (2000 if int(value) < 69 else 1900)
        elif directive == "f":
            parts["micros"] = _micros(value)
        elif directive in "bB":
            parts["month"] = [month[:3] for month in _MONTHS].index(value[:3].decode().lower()) + 1
        elif directive in "zZ":
            offset = _offset(value)
            if offset is None:
                return None
            parts["offset"] = offset
        elif directive == "I" and not 1 <= int(value) <= 12:
            return None
    groups = found.groupdict()
    clock = next((int(value) for name, value in groups.items() if name[0] == "I"), None)
    if clock is not None:
        afternoon = any(name[0] == "p" and value.lower() == b"pm" for name, value in groups.items())
        parts["hour"] = clock % 12 + (12 if afternoon else 0)
    return parts


def _pattern(form: TimeFormat) -> re.Pattern[bytes]:
    two = "[0-9]{2}" if form.is_packed else "[0-9]{1,2}"
    zone = "Z|UTC|GMT|[+-][0-9]{2}:?(?:[0-9]{2})?"
    names = {"b": _MONTHS, "B": _MONTHS, "a": _WEEKDAYS, "A": _WEEKDAYS}
    patterns = {"Y": "[0-9]{4}", "y": "[0-9]{2}", "f": "[0-9]+", "p": "AM|PM", "z": zone, "Z": zone, "s": "[0-9]{1,12}"}
    patterns |= dict.fromkeys("mdHIMS", two) | {k: "|".join([*v, *(name[:3] for name in v)]) for k, v in names.items()}
    out = []
    for place, (directive, other) in enumerate(re.findall(r"%(.)|([^%]+)", form.directives)):
        if other:
            out.append("".join(" +" if char == " " else re.escape(char) for char in re.sub(" +", " ", other)))
        else:
            out.append("%" if directive == "%" else f"(?P<{directive}{place}>{patterns[directive]})")
    return re.compile("".join(out).encode(), re.IGNORECASE)


def format_micros(micros: int) -> str:
    """A time in UTC as a person reads it."""
    return datetime.fromtimestamp(micros / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
