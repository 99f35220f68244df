"""The files of a log: directories expanded, formats recognised by their first bytes, refused when they cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from data_prep.errors import DataError

SUFFIXES = (".csv", ".tsv", ".txt", ".gz", ".zst", ".parquet")
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"


def expand_directories(paths: Sequence[Path]) -> list[Path]:
    """Replaces every directory by the log files in it, subdirectories included, in the order of their paths.

    Hidden files and those that begin with an underscore (``_SUCCESS``) are left out, as is what ends in none of `SUFFIXES`.

    Raises:
        DataError: a directory holds no log file.
    """
    expanded: list[Path] = []
    for path in paths:
        if not path.is_dir():
            expanded.append(path)
            continue
        found = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file() and file.suffix in SUFFIXES and not any(part[0] in "._" for part in file.relative_to(path).parts)
        ]
        if not found:
            raise DataError(f"{path} is a directory without log files ({', '.join(SUFFIXES)}); name the directory that holds them")
        expanded += found
    return expanded


def find_records(paths: Sequence[Path]) -> list[Path]:
    """The TFRecord files among files and in directories: names with ``.tfrecord`` in them, in the order of their paths.

    Raises:
        DataError: there is none, or a path does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist; check the path of the input")
        found += sorted(file for file in path.rglob("*.tfrecord*") if file.is_file()) if path.is_dir() else [path]
    if not found:
        raise DataError(f"{', '.join(map(str, paths))}: no file with .tfrecord in its name; name the directory of the records")
    return found


def require_files(paths: Sequence[Path]) -> None:
    """Refuses a path that is no readable, non-empty file.

    Raises:
        DataError: there is no path at all, or one does not exist, is a directory, is empty or cannot be opened.
    """
    if not paths:
        raise DataError("no input file is given; name at least one log")
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist; check the path of the input")
        if not path.is_file():
            raise DataError(f"{path} is not a regular file; name the log files one by one")
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty; it needs at least one row")
        try:
            path.open("rb").close()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from error


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def is_parquet(path: Path) -> bool:
    """Whether the file begins as Parquet does."""
    return _magic(path) == _PARQUET


class TextFile:
    """A text file opened for reading, gzip and zstd unpacked on the way.

    A cut or damaged compressed file raises OSError while it is read.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        magic = _magic(path)
        codec = "gzip" if magic[:2] == _GZIP else "zstd" if magic == _ZSTD else None
        self._raw = pa.OSFile(str(path))
        self._stream = pa.CompressedInputStream(self._raw, codec) if codec else self._raw
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Some ``size`` bytes of text; empty at the end."""
        data: bytes = self._stream.read(size)
        if self._rest:
            data, self._rest = self._rest + data, b""
        return data

    def read_all(self) -> bytes:
        """All text that is left."""
        parts = iter(lambda: self.read(1 << 24), b"")
        return b"".join(parts)

    def give_back(self, data: bytes) -> None:
        """Takes the end of what was read last, to be read again."""
        if self._stream is self._raw:
            self._raw.seek(self._raw.tell() - len(data))
        else:
            self._rest = data

    def tell(self) -> int:
        """Bytes of the file itself read so far."""
        return int(self._raw.tell())

    def __enter__(self) -> TextFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._raw.close()
