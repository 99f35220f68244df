"""The series of windows that a check is compared with: statistics of each, in a small file that the next check reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.json_text import read_json
from nann.data_checks.compare import Statistics
from nann.errors import ArtifactError

SERIES_NAME = "series.json"
SERIES_VERSION = 1


def read_series(paths: Sequence[Path], *, besides: str) -> list[dict[str, Any]]:
    """Statistics of the earlier windows, oldest first, each once.

    Args:
        paths: files that `series_of` describes, in the order of time.
        besides: digest of a dataset that is left out: the window that is checked.

    Raises:
        ArtifactError: one is none.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        try:
            kept = read_json(path)
            version, windows = kept["version"], kept["windows"]
            named = {window["dataset"]: window for window in windows}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{path} is no series of windows ({error}); name what `nann check-data` wrote") from error
        if version != SERIES_VERSION:
            raise ArtifactError(f"{path} is of version {version}, this code reads {SERIES_VERSION}; check its windows again")
        found |= named
    found.pop(besides, None)
    return sorted(found.values(), key=lambda window: window["range"][1] if window["range"] else 0)


def series_of(windows: Sequence[Statistics], keep: int) -> dict[str, Any]:
    """The contents of a series file: ``version`` and ``windows``, the last ``keep`` ones."""
    return {"version": SERIES_VERSION, "windows": list(windows[-keep:])}
