"""Values of the options of `nann convert` as they are typed: mappings, times, weights, characters."""

from __future__ import annotations

import codecs
import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_OFFSET = re.compile(r"[+-]\d\d:?\d\d")
_ESCAPES = {"\\t": "\t", "tab": "\t"}


def parse_mapping(value: Any, roles: tuple[str, ...]) -> Any:
    """Turns ``"user=user_id,item=article_id"`` into a dict and checks the keys; a mapping is only checked.

    Raises:
        ValueError: a part has no ``=``, a key is unknown or given twice, or a column is empty.
    """
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        for key, equals, _ in pairs:
            if not equals:
                raise ValueError(f"{key!r} is no ROLE=COLUMN pair; write for example {roles[0]}=some_column")
        keys = [key.strip() for key, _, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"{key!r} is given twice; give every role once")
        value = {key.strip(): column.strip() for key, _, column in pairs}
    if isinstance(value, dict):
        value = {key: str(column) for key, column in value.items()}
        unknown = sorted(set(value) - set(roles))
        if unknown:
            raise ValueError(f"unknown role {unknown[0]!r}; the roles are {', '.join(roles)}")
        empty = sorted(key for key, column in value.items() if not column)
        if empty:
            raise ValueError(f"role {empty[0]!r} names no column")
    return value


def unix_seconds(text: str) -> int:
    """A point in time as unix seconds, from digits or ISO 8601 (UTC unless it has an offset).

    Raises:
        ValueError: it is neither.
    """
    if text.strip().lstrip("-").isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is no time; write unix seconds, or for example 2017-11-25 or 2017-11-25T08:00:00+08:00") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def memory_gib(value: Any) -> Any:
    """An amount of memory in GiB, from a number (GiB) or a text with a unit: ``2500MiB``, ``1.5GiB``; ``M`` and ``G`` are the same.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(|m|mib|g|gib)\s*", value, re.IGNORECASE)
    if found is None:
        raise ValueError(f"{value!r} is no amount of memory; write for example 2500MiB or 4GiB (a number alone is GiB)")
    return float(found[1]) / (1024 if found[2].lower().startswith("m") else 1)


def split_weight(text: str) -> tuple[str, float | None]:
    """``"pv:0.2"`` as kind and weight; the weight is None where there is none. What follows another colon belongs to the kind."""
    name, colon, weight = text.rpartition(":")
    try:
        return (name, float(weight)) if colon else (text, None)
    except ValueError:
        return text, None


def check_time_format(directives: str) -> str:
    """A format of times, as of strptime.

    Raises:
        ValueError: it has a directive that is not known.
    """
    for directive in re.findall(r"%(.?)", directives.replace("%%", "")):
        if directive not in set("YymdHIMSfpbBaAzZs"):
            raise ValueError(f"%{directive} in {directives!r} is not known; use %Y %y %m %d %H %I %M %S %f %p %b %B %a %A %z %Z %s")
    if "%" not in directives:
        raise ValueError(f"{directives!r} has no directive; write for example '%Y-%m-%d %H:%M:%S'")
    return directives


def check_delimiter(value: str) -> str:
    """The characters between two columns; ``\\t`` and ``tab`` are a tabulator, ``\\x01`` is a control character.

    Raises:
        ValueError: it is empty, or has a line end or a quote.
    """
    value = re.sub(r"\\x([0-7][0-9a-fA-F])", lambda found: chr(int(found[1], 16)), _ESCAPES.get(value, value))
    if not value or set(value) & set('\r\n"'):
        raise ValueError(f"the delimiter {value!r} must be one or more characters without line end and quote")
    return value


def shown_delimiter(value: str) -> str:
    """A delimiter as `check_delimiter` takes it, without control characters."""
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in value).replace("\\x09", "\\t")


def check_quote(value: str) -> str:
    """``auto``, ``none``, or the character itself.

    Raises:
        ValueError: it is something else.
    """
    if value not in ("auto", "none") and (len(value) != 1 or not value.isascii() or value in "\r\n "):
        raise ValueError(f"the quote {value!r} must be auto, none, or one ASCII character")
    return value


def check_encoding(value: str) -> str:
    """The name of an encoding of text.

    Raises:
        ValueError: there is none of this name.
    """
    try:
        codecs.getincrementaldecoder(value)
        "a".encode(value).decode(value)
    except (LookupError, UnicodeError, AttributeError):
        raise ValueError(f"there is no encoding {value!r}; write for example latin-1, cp1252, utf-16, gb18030") from None
    return value


def check_time_zone(value: str) -> str:
    """A zone of the time zone database such as ``Asia/Shanghai``, or an offset such as ``+08:00``.

    Raises:
        ValueError: it is neither.
    """
    if _OFFSET.fullmatch(value):
        return value
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {value!r}; write for example Asia/Shanghai, or an offset such as +08:00") from None
    return value
