"""The log of a local run: everything kfp and its tasks print, of which people are shown the steps' own lines."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

_STARTS = re.compile(r"step [\w-]+ starts$")
_ENDS = re.compile(r"step [\w-]+ (done|was up to date|failed) after [\d.]+ s$")
_INDENTATION = "    "  # kfp's, before every line of a task
# TensorFlow prints these on import whatever its log level is.
_NOISE = re.compile(r"WARNING: All log messages before absl::InitializeLog|oneDNN custom operations are on")


class RunLog(io.TextIOBase):
    """A text stream that writes to a file and shows lines between the start and the end of every step as they come.

    Args:
        path: the file, replaced.
        show: called with a line, without its line end.
        everything: show all lines.
    """

    def __init__(self, path: Path, *, show: Callable[[str], None], everything: bool = False) -> None:
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 (closed by __exit__)
        self._show = show
        self._everything = everything
        self._inside = False
        self._line = ""

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, text: str) -> int:
        """Takes any piece of text; lines are shown when they are complete."""
        self._file.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._see(line.removeprefix(_INDENTATION).rstrip())
        return len(text)

    def flush(self) -> None:
        """Flushes the file."""
        if not self._file.closed:
            self._file.flush()

    def _see(self, line: str) -> None:
        if _STARTS.search(line):
            self._inside = True
        if line and (self._everything or (self._inside and not _NOISE.search(line))):
            self._show(line)
        if _ENDS.search(line):
            self._inside = False

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
