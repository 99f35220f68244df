"""What differs between what an artifact was made with and what is asked for, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MOST_NAMED = 3
MOST_CHARACTERS = 60


def difference_text(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    """Which options differ: ``max_length was 50, is now 7``; of long values the names only.

    Args:
        before: what it was made with, JSON-able, None for nothing; names of mappings that lie in one another are joined by dots.
        now: what is asked for.

    Returns:
        The first few differences by name; "" where there is none.
    """
    flat_before, flat_now = _flat(before or {}), _flat(now or {})
    names = [name for name in {**flat_now, **flat_before} if flat_before.get(name, _ABSENT) != flat_now.get(name, _ABSENT)]
    texts = [_one(name, flat_before.get(name, _ABSENT), flat_now.get(name, _ABSENT)) for name in names[:MOST_NAMED]]
    return "; ".join(texts) + (f"; and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


_ABSENT = object()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _one(name: str, before: Any, now: Any) -> str:
    texts = ["absent" if value is _ABSENT else json.dumps(value) for value in (before, now)]
    if any(len(text) > MOST_CHARACTERS for text in texts):
        return name
    return f"{name} was {texts[0]}, is now {texts[1]}"
