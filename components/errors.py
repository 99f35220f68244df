"""Which errors are an operator's to act on: these are shown as one line, anything else keeps its traceback."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pydantic import ValidationError

from nann.disk_errors import disk_failure
from nann.errors import NannError

_PACKAGES = ("nann", "data_prep", "ops", "components", "pipelines")


class ConfigError(NannError):
    """A config file, a flag or a ``--set`` names or holds something that the step's config refuses."""


def operator_message(error: BaseException) -> str | None:
    """One line for an operator, or None when the error is not theirs to act on."""
    from data_prep import DataError

    if isinstance(error, (NannError, DataError)):
        return " ".join(str(error).split())
    if isinstance(error, ValidationError):
        return validation_message(error)
    failure = disk_failure(error)
    if failure is not None and (failure.remedy or isinstance(error, OSError)) and _is_operators(failure.path, failure.remedy):
        return failure.told()
    return None


def validation_message(error: ValidationError, section: str = "") -> str:
    """All complaints of pydantic about one config in one line: field, rule, value."""
    complaints = []
    for entry in error.errors(include_url=False):
        where = ".".join(str(part) for part in ((section,) if section else ()) + entry["loc"])
        message = entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            complaints.append(f"{where}: no such option")
        elif entry["type"] == "missing":
            complaints.append(f"{where}: a value is needed")
        elif not entry["loc"]:  # a rule about several fields; the message names them
            complaints.append(f"{where}: {message}" if where else message)
        else:
            given = "" if repr(entry["input"]) in message else f", but it is {entry['input']!r}"
            complaints.append(f"{where}: {message[:1].lower()}{message[1:]}{given}")
    return "; ".join(complaints)


def _is_operators(path: str, remedy: str) -> bool:
    """An unreadable or unwritable path the operator gave, or a failing disk; not a file missing from this code itself."""
    if not path:
        return bool(remedy)
    return not any(Path(path.partition(" -> ")[0]).absolute().is_relative_to(root) for root in _source_roots())


def _source_roots() -> list[Path]:
    specs = [importlib.util.find_spec(name) for name in _PACKAGES]
    return [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ()]
