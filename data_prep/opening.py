"""The one way in for files that may be damaged: JSON against a schema, everything else within `opening`.

What is damaged becomes one line that says what it is, where it lies and what to do; a bug of this code keeps its traceback, because only
reading and checking happen within.
"""

from __future__ import annotations

import errno
import functools
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from data_prep.errors import DataError

# What readers raise at bytes or values they did not expect, and the packages whose own exceptions mean the same.
_OF_DAMAGE = (
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    EOFError,
    RuntimeError,
    OverflowError,
    MemoryError,
)
_READERS = ("tokenize", "tensorflow", "google.protobuf", "google._upb", "pyarrow", "zipfile", "zlib", "struct", "numpy")
_OF_PATHS = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL)  # others say themselves what is wrong
_MOST_COMPLAINTS, _MOST_TEXT = 3, 200


class Stored(BaseModel):
    """Base of schemas of what is stored: values have the types that are written, and keys that a later version adds stay."""

    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())


@contextmanager
def opening(path: Path | str, what: str, *, remedy: str, error: type[Exception] = DataError) -> Iterator[None]:
    """Turns what readers raise within into one line.

    Args:
        path: of what is read.
        what: "an items table", after "is not".
        remedy: what to do, after a semicolon.
        error: what to raise.

    Raises:
        DataError: or ``error``; the content is damaged. Errors that are one line already pass, so do those of a disk or of permissions.
    """
    try:
        yield
    except Exception as found:
        if not _means_damage(found):
            raise
        raise error(f"{path} is not {what} ({reason_of(found)}); {remedy}") from found


def read_json(path: Path, form: Any, what: str, *, remedy: str, error: type[Exception] = DataError) -> Any:
    """The content of a JSON file, as plain values.

    Args:
        path: of the file.
        form: its schema: a `Stored` class, a list or a dict of such, or any other type that pydantic knows.
        what: as for `opening`.
        remedy: as for `opening`.
        error: as for `opening`.

    Raises:
        DataError: or ``error``; it is missing, no JSON, or has another form.
    """
    with opening(path, what, remedy=remedy, error=error):
        raw = Path(path).read_bytes()
    return parse_json(raw, form, path, what, remedy=remedy, error=error)


def parse_json(raw: bytes | str, form: Any, path: Path | str, what: str, *, remedy: str, error: type[Exception] = DataError) -> Any:
    """The content of a JSON text that was read from ``path``; otherwise as `read_json`."""
    with opening(path, what, remedy=remedy, error=error):
        adapter = _adapter(form)
        return adapter.dump_python(adapter.validate_json(raw), exclude_unset=True, warnings=False)


def read_json_lines(path: Path, form: Any, *, begin: int = 0) -> Iterator[Any]:
    """The lines of a JSON lines file that a killed process may have left, as plain values.

    Args:
        path: of the file.
        form: schema of a line.
        begin: byte of the file to begin at.

    Yields:
        per line its value, or None where it is cut off, no JSON, or of another form than the schema; nothing without the file.
    """
    adapter = _adapter(form)
    for line in path.read_bytes()[begin:].split(b"\n") if path.is_file() else ():
        if line.strip():
            try:
                yield adapter.dump_python(adapter.validate_json(line), exclude_unset=True, warnings=False)
            except ValidationError:
                yield None


def shown(value: Any) -> str:
    """A value as messages show it: short, whatever it is."""
    short = reprlib.Repr()
    short.maxdict, short.maxlist, short.maxstring, short.maxlevel, short.maxother = 3, 3, 60, 3, 60
    return short.repr(value)


def reason_of(error: BaseException) -> str:
    """What an exception says, in one short line."""
    if isinstance(error, ValidationError):
        return _complaints(error)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, KeyError):
        return f"it has no {error.args[0] if error.args else 'such key'}"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    text = " ".join(str(getattr(error, "message", "") or error).split()) or type(error).__name__
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."


def _complaints(error: ValidationError) -> str:
    listed = []
    for entry in error.errors(include_url=False, include_context=False)[:_MOST_COMPLAINTS]:
        where = ".".join(str(part) for part in entry["loc"])
        given = "" if entry["type"] in ("missing", "json_invalid") else f", got {shown(entry['input'])}"
        listed.append(f"{where}: {entry['msg']}{given}" if where else f"{entry['msg']}{given}")
    return "; ".join(" ".join(text.split()) for text in listed)


def _means_damage(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _OF_PATHS
    if isinstance(error, _OF_DAMAGE):
        return True
    return any(kind.__module__.startswith(_READERS) for kind in type(error).__mro__)


@functools.lru_cache(maxsize=64)
def _adapter(form: Any) -> TypeAdapter[Any]:
    return TypeAdapter(form)
