"""Digests of files, and of the sources that a step's outcome depends on."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import nann
from data_prep.parallel import ordered_map, worker_count


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_files(paths: Sequence[Path]) -> list[str]:
    """`sha256_file` of each, as many at a time as there are cores; links to one file are read once."""
    files = [(found.st_dev, found.st_ino) for found in map(os.stat, paths)]
    distinct = dict(zip(files, paths, strict=True))
    digests = dict(zip(distinct, ordered_map(sha256_file, list(distinct.values()), worker_count(0)), strict=True))
    return [digests[file] for file in files]


@functools.cache
def code_digest() -> str:
    """Hex sha256 over the sources (Python and C++) of the packages a step's outcome depends on."""
    root = Path(nann.__file__).parent.parent
    digest = hashlib.sha256()
    for package in ("data_prep", "nann", "ops"):
        for path in sorted((root / package).rglob("*")):
            if path.suffix in {".py", ".cc", ".h", ".cu", ".j2"}:
                digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
