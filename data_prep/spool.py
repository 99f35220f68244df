"""The log on disk between two passes: batches of Arrow columns one after the other, each readable alone.

A column is int64 in one batch and text in another where a log has bad rows, so every batch is an Arrow IPC stream of its own. Integers are
stored in 32 bits where they fit, which halves the reads and writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_INT32 = np.iinfo(np.int32)


def pack_batch(batch: Mapping[str, pa.Array]) -> pa.Buffer:
    """The bytes of a batch."""
    columns = {role: _shortened(column) for role, column in batch.items()}
    record_batch = pa.record_batch(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, record_batch.schema) as writer:
        writer.write_batch(record_batch)
    return sink.getvalue()


def _shortened(column: pa.Array) -> pa.Array:
    if not pa.types.is_int64(column.type) or len(column) == column.null_count:
        return column
    limits = pc.min_max(column)
    fits = limits["min"].as_py() >= _INT32.min and limits["max"].as_py() <= _INT32.max
    return column.cast(pa.int32()) if fits else column


def unpack_batch(data: bytes) -> dict[str, pa.Array]:
    """The batch of `pack_batch`; integers are int32 where they fit."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        batch = reader.read_next_batch()
    return dict(zip(batch.schema.names, batch.columns, strict=True))


class SpoolWriter:
    """Appends packed batches to a file; a context manager.

    Args:
        path: file to write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.offsets = [0]

    def __enter__(self) -> SpoolWriter:
        self._file = self._path.open("wb")
        return self

    def write(self, packed: pa.Buffer) -> None:
        """Appends one batch."""
        self._file.write(packed)
        self.offsets.append(self.offsets[-1] + packed.size)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


class Spool:
    """A written spool.

    Args:
        path: the file.
        offsets: [n + 1] where each batch begins and ends.
    """

    def __init__(self, path: Path, offsets: list[int]) -> None:
        self._path, self.offsets = path, offsets

    def __iter__(self) -> Iterator[bytes]:
        """The packed batches in order, for `unpack_batch`."""
        with self._path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            for begin, end in zip(self.offsets, self.offsets[1:], strict=False):
                yield _read_exactly(file.fileno(), begin, end - begin)


def _read_exactly(descriptor: int, offset: int, size: int) -> bytes:
    parts = []
    while size:
        part = os.pread(descriptor, size, offset)
        if not part:
            raise OSError(f"a temporary file of the conversion is {size:,} bytes too short; convert again")
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
