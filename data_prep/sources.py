"""The files of a log: directories expanded, formats recognised by their first bytes, refused when they cannot be read."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote

import pyarrow as pa

from data_prep.errors import DataError

SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".log", ".json", ".jsonl", ".ndjson", ".gz", ".zst", ".bz2", ".xz", ".zip", ".parquet")
_PARQUET = b"PAR1"
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip"}
_DAMAGE = (EOFError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, NotImplementedError)


def expand_directories(paths: Sequence[Path]) -> list[Path]:
    """Replaces every directory by the log files in it, subdirectories included, in the order of their paths.

    Hidden files and those that begin with an underscore (``_SUCCESS``) are left out, as is what ends in none of `SUFFIXES` and does not
    begin with ``part-``.

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
            if file.is_file()
            and (file.suffix.lower() in SUFFIXES or file.name.startswith("part-"))
            and not any(part[0] in "._" for part in file.relative_to(path).parts)
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
            raise DataError(f"{path} is not a regular file; name the log files one by one, or give - to read standard input")
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty; it needs at least one row")
        try:
            path.open("rb").close()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from error


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(6)


def is_parquet(path: Path) -> bool:
    """Whether the file begins as Parquet does."""
    return _magic(path)[:4] == _PARQUET


def partition_values(path: Path) -> dict[str, str | None]:
    """The columns that the directories of a file stand for, ``day=2017-11-25/kind=buy/``: name -> value, None for Hive's null."""
    pairs = [part.partition("=") for part in path.parts[:-1] if "=" in part]
    return {unquote(name): None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value) for name, _, value in pairs if name}


def _open_member(file: IO[bytes], path: Path) -> IO[bytes]:
    """The one file of a zip archive.

    Raises:
        DataError: it has none or several, or is encrypted.
    """
    archive = zipfile.ZipFile(file)
    members = [
        member for member in archive.infolist() if not member.is_dir() and not PurePosixPath(member.filename).name.startswith(("._", ".DS"))
    ]
    if len(members) != 1:
        shown = ", ".join(member.filename for member in members[:5]) or "nothing"
        raise DataError(f"{path} must hold one file, but holds {len(members)} ({shown}); unpack it and name the log files")
    if members[0].flag_bits & 1:
        raise DataError(f"{path} is encrypted; unpack it first")
    return archive.open(members[0])


def _unpack(codec: str, file: IO[bytes], path: Path) -> IO[bytes]:
    if codec == "zip":
        return _open_member(file, path)
    stream: Any = bz2.BZ2File(file) if codec == "bz2" else lzma.LZMAFile(file)  # noqa: SIM115 (closed with the TextFile)
    return stream  # type: ignore[no-any-return]


class TextFile:
    """A text file opened for reading: gzip, zstd, bz2, xz or zip unpacked, and other encodings turned into UTF-8, on the way.

    A cut or damaged compressed file raises OSError while it is read.

    Args:
        path: the file.
        encoding: of the text; bytes that it does not have become U+FFFD. UTF-8 is taken as it is.

    Raises:
        DataError: it is an archive of several files.
    """

    def __init__(self, path: Path, encoding: str = "utf-8") -> None:
        magic = _magic(path)
        codec = next((name for begin, name in _PACKED.items() if magic.startswith(begin)), None)
        self._raw: Any = path.open("rb") if codec in ("bz2", "xz", "zip") else pa.OSFile(str(path))
        self._stream = self._raw
        with _damage_as_os_error():
            if codec in ("gzip", "zstd"):
                self._stream = pa.CompressedInputStream(self._raw, codec)
            elif codec is not None:
                self._stream = _unpack(codec, self._raw, path)
        self._decoder: Any = None if codecs.lookup(encoding).name == "utf-8" else codecs.getincrementaldecoder(encoding)(errors="replace")
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Some ``size`` bytes of text; empty at the end."""
        with _damage_as_os_error():
            data: bytes = self._stream.read(size)
            if self._decoder is not None:
                data = self._decoded(data, size)
        if self._rest:
            data, self._rest = self._rest + data, b""
        return data

    def _decoded(self, data: bytes, size: int) -> bytes:
        text = self._decoder.decode(data, final=not data)
        while data and not text:  # the first byte of a character alone
            data = self._stream.read(size)
            text = self._decoder.decode(data, final=not data)
        decoded: bytes = text.encode("utf-8", errors="replace")
        return decoded

    def read_all(self) -> bytes:
        """All text that is left."""
        parts = iter(lambda: self.read(1 << 24), b"")
        return b"".join(parts)

    def give_back(self, data: bytes) -> None:
        """Takes the end of what was read last, to be read again."""
        if self._stream is self._raw and self._decoder is None and not self._rest:
            self._raw.seek(self._raw.tell() - len(data))
        else:
            self._rest = data + self._rest

    def tell(self) -> int:
        """Bytes of the file itself read so far."""
        return int(self._raw.tell())

    def __enter__(self) -> TextFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._raw.close()


@contextlib.contextmanager
def _damage_as_os_error() -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
