"""The text of a file: sampled to see whether it is text at all, and cut into blocks of whole lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from data_prep.errors import DataError
from data_prep.sources import TextFile

SAMPLE_BYTES = 1 << 16
LONGEST_LINE_BLOCKS = 16
MAX_CONTROL_SHARE = 0.05  # of the characters of a text; random bytes have twice as many
_CONTROL = re.compile(rb"[\x00\x02-\x08\x0e-\x1e]")  # \x01 and \x1f stand between columns
_BOM = b"\xef\xbb\xbf"


def sample_text(path: Path, encoding: str) -> bytes:
    """The whole lines within the first `SAMPLE_BYTES`, as UTF-8, with a byte order mark if the file has one.

    Raises:
        DataError: there is no line, or the file is not text.
        OSError: it is damaged.
    """
    with TextFile(path, encoding) as stream:
        sample = stream.read(SAMPLE_BYTES)
    if not sample:
        raise DataError(f"{path} holds no data; it needs at least one row")
    if sample[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path} is UTF-16 text; give --encoding utf-16")
    if len(_CONTROL.findall(sample)) > MAX_CONTROL_SHARE * len(sample):
        raise DataError(
            f"{path} is neither CSV, gzip CSV nor Parquet (its start is not text); name a log in one of these formats, or give --encoding"
        )
    whole = sample if len(sample) < SAMPLE_BYTES or b"\n" not in sample else sample[: sample.rindex(b"\n") + 1]
    if not whole.removeprefix(_BOM).strip():
        raise DataError(f"{path} holds only empty lines; it needs at least one row")
    return whole


def skip_bytes(stream: TextFile, size: int) -> None:
    """Reads over the first ``size`` bytes of a text."""
    data = b""
    while len(data) < size and (more := stream.read(size)):
        data += more
    stream.give_back(data[size:])


def line_blocks(stream: TextFile, size: int, source: str, records_end: Callable[[bytes, int], int] | None = None) -> Iterator[memoryview]:
    """Cuts a text into blocks of whole lines, of about ``size`` bytes each.

    Args:
        stream: the text.
        size: of a block, bytes.
        source: the file, for messages.
        records_end: where the last whole record ends among the first bytes of a block, which are whole lines; 0 if it has none there.
            A record may have several lines.

    Raises:
        DataError: a line is longer than `LONGEST_LINE_BLOCKS` blocks.
        OSError: the file is damaged.
    """

    def end_of(block: bytes) -> int:
        lines = _end_of_lines(block)
        return lines if records_end is None or not lines else records_end(block, lines)

    while block := stream.read(size):
        while not (cut := end_of(block)) and (more := stream.read(size)):
            block += more
            if len(block) > LONGEST_LINE_BLOCKS * size:
                raise DataError(f"{source} has a line of more than {len(block):,} bytes; a log has one event per line")
        if cut:
            stream.give_back(block[cut:])
        yield memoryview(block)[: cut or len(block)]


def _end_of_lines(block: bytes) -> int:
    """Where the last whole line of a block ends, 0 if there is none."""
    return block.rfind(b"\n") + 1 or block.rfind(b"\r", 0, len(block) - 1) + 1  # lines that end in a carriage return alone
