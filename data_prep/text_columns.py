"""Arrow columns of any type as text, and text as the native library takes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ops.text_values import IdClass, id_classes

EXACT_FLOATS = 1 << 53  # whole numbers up to here are exact as doubles


def text_array(offsets: np.ndarray, data: np.ndarray, valid: np.ndarray | None = None) -> pa.Array:
    """A string array of [n + 1] int32 offsets and bytes, which need not be UTF-8; ``valid``: [n] bool, null where it is false."""
    bitmap = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    buffers = [bitmap, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.StringArray.from_buffers(len(offsets) - 1, buffers[1], buffers[2], buffers[0])


def text_buffers(text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """[n + 1] int32 offsets and the uint8 bytes of a string array; nulls are empty."""
    if text.null_count:
        text = pc.fill_null(text, "")
    if len(text) == 0:
        return np.zeros(1, np.int32), np.zeros(0, np.uint8)
    _, offsets, data = text.buffers()
    ends = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1]
    return ends, np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)


def to_text(array: pa.Array) -> pa.Array:
    """Any column as a string array, numbers as an integer column would have them; NaN is null, binary is taken for text."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return to_text(array.dictionary_decode())
    if pa.types.is_string(kind):
        return array
    if pa.types.is_floating(kind):
        return _floats_as_text(array)
    if pa.types.is_fixed_size_binary(kind):
        return pa.array([None if value is None else value.hex() for value in array.to_pylist()], pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        array = array.cast(pa.binary())
        return pa.StringArray.from_buffers(len(array), *(array.buffers()[place] for place in (1, 2, 0)), -1, array.offset)
    return array.cast(pa.string())


def _floats_as_text(array: pa.Array) -> pa.Array:
    values = array.cast(pa.float64()).to_pylist()
    return pa.array([None if value is None or value != value else _float_text(value) for value in values], pa.string())


def _float_text(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) <= EXACT_FLOATS else repr(value)


def clean_text(text: pa.Array, null_words: Sequence[str]) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Puts texts in order: null where nothing is there, U+FFFD where they are not UTF-8.

    Args:
        text: [n] string array without blanks at the ends of its values.
        null_words: texts that mean "missing".

    Returns:
        The array, the [n] uint8 `IdClass` of every value, and the [n] int64 value as an integer.
    """
    offsets, data = text_buffers(text)
    classes, values = id_classes(offsets, data, null_words)
    present = classes != IdClass.MISSING
    text = text_array(offsets, data, None if present.all() else present)
    broken = classes == IdClass.BROKEN
    if broken.any():
        raw = text.cast(pa.binary()).filter(pa.array(broken)).to_pylist()
        repaired = pa.array([value.decode("utf-8", errors="replace") for value in raw], pa.string())
        text = pc.replace_with_mask(text, pa.array(broken), repaired)
    return text, classes, values


def repeated(text: str | None, rows: int) -> pa.Array:
    """A column of one text."""
    return pa.repeat(pa.scalar(text, pa.string()), rows)
