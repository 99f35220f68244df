"""The text of a file: sampled to see whether it is text at all, and cut into blocks of whole lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_prep.errors import DataError
from data_prep.sources import TextFile

SAMPLE_BYTES = 1 << 16
LONGEST_LINE_BLOCKS = 16


def sample_lines(path: Path) -> list[str]:
    """The whole lines within the first `SAMPLE_BYTES`, without empty ones.

    Raises:
        DataError: there is no line, or the file is not text.
        OSError: it is damaged.
    """
    with TextFile(path) as stream:
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


def line_blocks(stream: TextFile, size: int, source: str) -> Iterator[memoryview]:
    """Cuts a text into blocks of whole lines, of about ``size`` bytes each.

    Raises:
        DataError: a line is longer than `LONGEST_LINE_BLOCKS` blocks.
        OSError: the file is damaged.
    """
    while block := stream.read(size):
        while not (cut := _end_of_lines(block)) and (more := stream.read(size)):
            block += more
            if len(block) > LONGEST_LINE_BLOCKS * size:
                raise DataError(f"{source} has a line of more than {len(block):,} bytes; a log has one event per line")
        if cut:
            stream.give_back(block[cut:])
        yield memoryview(block)[: cut or len(block)]


def _end_of_lines(block: bytes) -> int:
    """Where the last whole line of a block ends, 0 if there is none."""
    return block.rfind(b"\n") + 1 or block.rfind(b"\r", 0, len(block) - 1) + 1  # lines that end in a carriage return alone
