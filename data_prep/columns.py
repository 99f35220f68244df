"""Which columns of a file hold user, item, category and time, and whether a CSV file starts with a header.

Rules for `header` "auto": with a mapping by name the first line must be a header; with a mapping by position it is one if its time (or
last mapped) field is no time; with the default mapping it is one if it has the known names, or if its user is no number and its time no
time. In a log without a time it is one if one of its fields is no number where nearly all below are, or if its fields are unlike all
below.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from data_prep.errors import DataError

_NUMBER = re.compile(r"\s*[+-]?\d+(\.\d*)?([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Layout:
    """A default arrangement of a file.

    Attributes:
        names: role -> column name, used when there is a header.
        positions: role -> position from 0, used when there is none.
        optional: roles that may be absent.
    """

    names: Mapping[str, str]
    positions: Mapping[str, int]
    optional: frozenset[str] = frozenset({"category"})


USER_BEHAVIOR = Layout(
    names={"user": "user_id", "item": "item_id", "category": "category_id", "time": "timestamp"},
    positions={"user": 0, "item": 1, "category": 2, "time": 4},
)
WITH_BEHAVIOR = Layout(
    names={**USER_BEHAVIOR.names, "behavior": "behavior_type"},
    positions={**USER_BEHAVIOR.positions, "behavior": 3},
    optional=frozenset({"category", "behavior"}),
)
ITEM_CATEGORIES = Layout(names={"item": "item_id", "category": "category_id"}, positions={"item": 0, "category": 1}, optional=frozenset())


def is_number(text: str) -> bool:
    """Whether a field reads as a decimal number."""
    return _NUMBER.fullmatch(text) is not None


def _numbers_below(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a field of the first row is no number where nine in ten of those below are."""
    for position, name in enumerate(rows[0]):
        below = [row[position] for row in rows[1:] if position < len(row) and row[position].strip()]
        if below and not is_number(name) and sum(is_number(text) for text in below) >= 0.9 * len(below):
            return True
    return False


def _named(first: Sequence[str], layout: Layout, mapping: Mapping[str, str]) -> bool:
    """Whether the first row has one of the names of the default layout, where that is asked for."""
    return not mapping and bool(set(layout.names.values()) & {field.strip().casefold() for field in first})


def _alone(rows: Sequence[Sequence[str]], positions: Sequence[int]) -> bool:
    """Whether the first row's fields occur nowhere below, have no digit, and nearly all that stand below occur twice."""
    for position in positions:
        below = Counter(row[position] for row in rows[1:] if position < len(row))
        if position >= len(rows[0]) or rows[0][position] in below or any(char.isdigit() for char in rows[0][position]):
            return False
        if sum(count for count in below.values() if count > 1) <= 0.9 * below.total():
            return False
    return True


def decide_header(
    rows: Sequence[Sequence[str]],
    mapping: Mapping[str, str],
    header: Literal["auto", "yes", "no"],
    layout: Layout,
    is_time: Callable[[str], bool] = is_number,
) -> bool:
    """Decides whether the first of the sampled rows of a CSV file is a header.

    Args:
        rows: the fields of the file's first lines, at least one line.
        mapping: role -> column name or position, empty for the default layout.
        header: the user's word.
        layout: the default layout.
        is_time: whether a text can be read as a time.
    """
    if header != "auto":
        return header == "yes"
    first = rows[0]
    if any(not column.isdecimal() for column in mapping.values()):
        return True
    if "time" not in (mapping or layout.names) and "user" in layout.names:
        return _named(first, layout, mapping) or _numbers_below(rows) or _alone(rows, [int(place) for place in mapping.values()])
    if mapping:
        position = int(mapping.get("time", max(mapping.values(), key=int)))
        return position < len(first) and not (is_time if "time" in mapping else is_number)(first[position])
    if _named(first, layout, mapping):
        return True
    ends: dict[int, Callable[[str], bool]] = dict.fromkeys((min(layout.positions.values()), max(layout.positions.values())), is_number)
    if "time" in layout.positions:
        ends[layout.positions["time"]] = is_time
    return all(position < len(first) and not test(first[position]) for position, test in ends.items())


def usual_width(rows: Sequence[Sequence[object]]) -> int:
    """The most frequent number of fields among the sampled rows (the smaller one on a tie)."""
    counts = Counter(len(row) for row in rows)
    return min(counts, key=lambda width: (-counts[width], width))


def _places(names: Sequence[str], column: str) -> list[int]:
    """Where a column is named: exactly, or else in another case."""
    exact = [place for place, name in enumerate(names) if name == column]
    return exact or [place for place, name in enumerate(names) if name.casefold() == column.casefold()]


def locate(names: Sequence[str] | None, width: int, mapping: Mapping[str, str], layout: Layout, source: str) -> dict[str, int]:
    """Finds the position of every role's column.

    Args:
        names: the header's names (CSV) or the schema's (Parquet); None without a header.
        width: number of columns.
        mapping: role -> column name or position, empty for the default layout.
        layout: the default layout.
        source: the file, for messages.

    Returns:
        Role -> position; without a role that is optional and absent.

    Raises:
        DataError: a column does not exist or is named twice.
    """
    if names is None and not mapping:
        wanted: dict[str, str] = {role: str(position) for role, position in layout.positions.items()}
    else:
        wanted = dict(mapping) or dict(layout.names)
    found: dict[str, int] = {}
    for role, column in wanted.items():
        if names is not None and (places := _places(names, column)):
            if len(places) > 1:
                raise DataError(f"{source}: the header names column {column!r} twice; give its position instead")
            found[role] = places[0]
        elif column.isdecimal() and (mapping or names is None):
            if int(column) >= width:
                raise DataError(
                    f"{source}: {role} should be column {column} (from 0), but the file has {width} columns; give columns, for example "
                    f"{','.join(f'{known}=COLUMN' for known in layout.names)}"
                )
            found[role] = int(column)
        elif not mapping and role in layout.optional:
            continue
        elif names is None:
            raise DataError(f"{source}: {role} should be column {column!r}, but there is no header; give its position, or header yes")
        else:
            order = ", --time order if the log has none" if role == "time" else ""
            shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise DataError(
                f"{source}: {role} should be column {column!r}, but the columns are {shown}; give columns, for example "
                f"{','.join(f'{known}=COLUMN' for known in layout.names)}{order}, or header no if these are data"
            )
    return found
