"""Record files put together from parts, plain or gzip."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

COPY_BYTES = 1 << 20
GZIP_LEVEL = 6


def concatenate(parts: Sequence[Path], path: Path, *, packed: bool, move: bool = False) -> None:
    """Joins files to one.

    Args:
        parts: files, in order; one that is not there any more was moved before.
        path: file to write.
        move: move a single plain part instead of copying it.
        packed: compress as one gzip stream, whose bytes depend on the content alone (no name, no time).
    """
    if move and not packed and len(parts) == 1:
        if parts[0].exists():
            os.replace(parts[0], path)
        return
    with path.open("wb") as file:
        if packed:
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=GZIP_LEVEL, mtime=0) as stream:
                for part in parts:
                    with part.open("rb") as source:
                        shutil.copyfileobj(source, stream, COPY_BYTES)
            return
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file, COPY_BYTES)
