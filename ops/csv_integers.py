"""Integers out of well-formed CSV text, natively; everything that is not well-formed is left to the caller."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence

import numpy as np

from ops.data_library import address, load_data_library

_local = threading.local()


def csv_integers(
    block: bytes | memoryview, *, width: int, columns: Sequence[int], delimiter: str, quote: str = ""
) -> list[np.ndarray] | None:
    """Reads integer columns of a block of lines (`ops/cc/data/csv_integers.cc`). The interpreter lock is free meanwhile.

    Args:
        block: whole lines; empty ones do not count.
        width: fields of every row.
        columns: the columns wanted, from 0; distinct.
        delimiter: ASCII character between fields.
        quote: ASCII character that quoted fields begin with; empty if there is none.

    Returns:
        Per column [n] int32, or int64 if a value asks for it; None if a row has another number of fields or a wanted field is no plain
        integer (a minus, up to 18 digits, no leading zero), a field is quoted, or without the native library.
    """
    library = load_data_library()
    if library is None or len(delimiter) != 1 or not delimiter.isascii():
        return None
    text = np.frombuffer(block, np.uint8)
    capacity = len(text) // (2 * width) + 1
    arrays = _scratch(len(columns), capacity)
    pointers = (ctypes.c_void_p * len(arrays))(*(address(array) for array in arrays))
    wanted = np.full(width, -1, np.int32)
    wanted[list(columns)] = np.arange(len(arrays), dtype=np.int32)
    narrow = np.zeros(len(arrays), np.uint8)
    code = ord(quote) if quote else -1
    rows = library.nann_csv_integers(
        address(text), len(text), width, delimiter.encode(), code, address(wanted), pointers, len(arrays), capacity, address(narrow)
    )
    if rows < 0:
        return None
    return [(array.view(np.int32) if is_narrow else array)[:rows].copy() for array, is_narrow in zip(arrays, narrow, strict=True)]


def _scratch(count: int, size: int) -> list[np.ndarray]:
    """Arrays of at least ``size`` values that this thread writes again and again: memory touched for the first time costs a page fault."""
    arrays: list[np.ndarray] = getattr(_local, "arrays", [])
    if len(arrays) < count or len(arrays[0]) < size:
        arrays = _local.arrays = [np.empty(size, np.int64) for _ in range(count)]
    return arrays[:count]
