"""JSON as it is written into artifacts: sorted keys and one value a line, so that equal values give equal bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def json_text(value: Any) -> str:
    """The text of a JSON file."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Writes a value into a JSON file (UTF-8)."""
    path.write_text(json_text(value), encoding="utf-8")


def read_json(path: Path) -> Any:
    """The value in a JSON file (UTF-8).

    Raises:
        OSError: it is not there.
        ValueError: it is no JSON.
    """
    return json.loads(path.read_text(encoding="utf-8"))
