"""Loads the native data library, once, when it is first needed.

`libnann_data.so` (`ops/cc/data`) reads and writes logs and records. It is plain C++ called through ctypes, which frees the interpreter lock
meanwhile, and needs no TensorFlow: a conversion starts without importing it. As with `ops.native`, a library that is missing or does not
load means a warning and slower forms, and with the environment variable NANN_REQUIRE_NATIVE=1 an error.
"""

from __future__ import annotations

import ctypes
import functools
from importlib import resources

import numpy as np

from ops.native import give_up

LIBRARY_NAME = "libnann_data.so"
_POINTER, _INT, _INT64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_FUNCTIONS = {
    "nann_csv_integers": [_POINTER, ctypes.c_size_t, _INT, ctypes.c_char, _INT, _POINTER, _POINTER, _INT, _INT64, _POINTER],
    "nann_csv_text": [
        *[_POINTER, _INT64, _INT, ctypes.c_char_p, _INT64, _INT, ctypes.c_char_p, _INT64, _INT, _INT64],
        *[_POINTER, _INT, _POINTER, _POINTER, _INT64, _POINTER],
    ],
    "nann_id_classes": [_POINTER, _POINTER, _INT64, ctypes.c_char_p, _POINTER, _INT, _POINTER, _POINTER],
    "nann_parse_times": [_POINTER, _POINTER, _INT64, ctypes.c_char_p, _INT64, _INT, _INT64, _INT64, _POINTER, _POINTER],
    "nann_strings_new": [],
    "nann_strings_free": [_POINTER],
    "nann_strings_number": [_POINTER, _POINTER, _POINTER, _INT64, _INT, _POINTER],
    "nann_strings_bytes": [_POINTER],
    "nann_strings_export": [_POINTER, _POINTER, _POINTER],
    "nann_pack_integers": [_POINTER, _INT, _INT64, _POINTER, _POINTER],
    "nann_pack_bytes": [_POINTER, _POINTER, _INT64, _POINTER, _POINTER],
    "nann_encode_examples": [_POINTER, _INT, _INT64, _POINTER, _INT64],
    "nann_count_ids": [_POINTER, _INT, _INT64, _INT64, _POINTER],
    "nann_code_ids": [_POINTER, _INT, _INT64, _INT64, _POINTER, _INT64, _POINTER],
    "nann_deal_events": [*[_POINTER] * 3, _INT, _POINTER, _INT64, _POINTER, _POINTER, _INT, _INT, _INT64, *[_POINTER] * 4],
    "nann_note_categories": [_POINTER, _POINTER, _INT64, _POINTER, _POINTER],
    "nann_index_events": [_POINTER, _INT64, _INT64, _POINTER, _POINTER],
    "nann_count_pairs": [
        *[_POINTER] * 6,
        _INT64,
        _POINTER,
        *[_INT64] * 2,
        ctypes.c_float,
        _POINTER,
        _INT64,
        *[_POINTER] * 6,
    ],
}


@functools.cache
def load_data_library() -> ctypes.CDLL | None:
    """The library with the signatures of its functions, or None if it is missing or does not load.

    Raises:
        RuntimeError: the same, with NANN_REQUIRE_NATIVE=1.
    """
    with resources.as_file(resources.files("ops") / LIBRARY_NAME) as path:
        if not path.is_file():
            give_up(f"{path} does not exist")
            return None
        try:
            library = ctypes.CDLL(str(path))
            for name, arguments in _FUNCTIONS.items():
                function = getattr(library, name)
                function.argtypes, function.restype = arguments, _POINTER if name == "nann_strings_new" else _INT64
        except (OSError, AttributeError) as error:
            give_up(f"{path} does not load, or is of another version: {str(error).splitlines()[0]}", error)
            return None
    return library


def address(array: np.ndarray) -> int:
    """Where a contiguous array's values lie.

    Raises:
        ValueError: they do not lie in a row.
    """
    if not array.flags.c_contiguous:
        raise ValueError(f"the values of an array of shape {array.shape} and strides {array.strides} do not lie in a row; copy it")
    return int(array.ctypes.data)
