"""The bytes of a text file: plain or gzip, sampled to see whether it is text at all, and made UTF-8 where it is not."""

from __future__ import annotations

import codecs
import io
from pathlib import Path

import pyarrow as pa

from data_prep.errors import DataError

SAMPLE_BYTES = 1 << 16
REPAIR_BYTES = 1 << 20


def open_stream(path: Path) -> pa.NativeFile:
    """Opens a file for reading; gzip is recognised by its first bytes. A cut or damaged gzip file raises OSError while it is read."""
    raw = pa.OSFile(str(path))
    is_gzip = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return pa.CompressedInputStream(raw, "gzip") if is_gzip else raw


def sample_lines(path: Path) -> list[str]:
    """The whole lines within the first `SAMPLE_BYTES`, without empty ones.

    Raises:
        DataError: there is no line, or the file is not text.
        OSError: it is damaged.
    """
    with open_stream(path) as stream:
        sample = stream.read(SAMPLE_BYTES)
    if not sample:
        raise DataError(f"{path} holds no data; it needs at least one row")
    whole = sample if len(sample) < SAMPLE_BYTES or b"\n" not in sample else sample[: sample.rindex(b"\n") + 1]
    text = whole.decode("utf-8-sig", errors="replace")
    damaged = text.count("\x00") + text.count("�")
    if "\x00" in text or damaged > len(text) // 100 + 1:
        raise DataError(f"{path} is neither CSV, gzip CSV nor Parquet (its start is not text); name a log in one of these formats")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} holds only empty lines; it needs at least one row")
    return lines


class Utf8Repair(io.RawIOBase):
    """A binary stream with everything that is not UTF-8 replaced by U+FFFD."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._ready = b""

    def readable(self) -> bool:
        """Always true."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes; empty at the end."""
        while not self._ready:
            chunk = self._stream.read(REPAIR_BYTES)
            self._ready = self._decoder.decode(chunk, final=not chunk).encode()
            if not chunk:
                break
        size = len(self._ready) if size < 0 else size
        part, self._ready = self._ready[:size], self._ready[size:]
        return part
