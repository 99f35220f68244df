"""Integers out of well-formed CSV text, natively; everything that is not well-formed is left to the caller."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from importlib import resources

import numpy as np

from ops import native


@functools.cache
def _function() -> Callable[..., int] | None:
    """`nann_csv_integers` of the native library (`ops/cc/csv_integers.cc`), or None without it."""
    if native.load_library() is None:  # also loads TensorFlow's libraries, which it needs
        return None
    with resources.as_file(resources.files("ops") / native.LIBRARY_NAME) as path:
        function: Callable[..., int] | None = getattr(ctypes.CDLL(str(path)), "nann_csv_integers", None)
    if function is not None:
        function.restype = ctypes.c_int64  # type: ignore[attr-defined]
    return function


def csv_integers(block: bytes, *, width: int, columns: Sequence[int], delimiter: str) -> list[np.ndarray] | None:
    """Reads integer columns of a block of lines. The interpreter lock is free meanwhile.

    Args:
        block: whole lines; empty ones do not count.
        width: fields of every row.
        columns: the columns wanted, from 0; distinct.
        delimiter: ASCII character between fields.

    Returns:
        Per column [n] int64; None if a row has another number of fields or a wanted field is no plain integer (a sign, up to 18 digits),
        or without the native library.
    """
    function = _function()
    if function is None or not delimiter.isascii():
        return None
    capacity = len(block) // (2 * width) + 1
    arrays = [np.empty(capacity, np.int64) for _ in columns]
    pointers = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
    wanted = np.full(width, -1, np.int32)
    wanted[list(columns)] = np.arange(len(arrays), dtype=np.int32)
    rows = function(
        ctypes.c_char_p(block),
        ctypes.c_size_t(len(block)),
        ctypes.c_int(width),
        ctypes.c_char(delimiter.encode()),
        ctypes.c_void_p(wanted.ctypes.data),
        pointers,
        ctypes.c_int64(capacity),
    )
    return None if rows < 0 else [array[:rows] for array in arrays]
