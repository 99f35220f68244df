"""Numbers for distinct strings, natively (`ops/cc/data/string_table.cc`) or, without the native library, by a dict."""

from __future__ import annotations

import itertools
import weakref

import numpy as np

from ops.data_library import address, load_data_library


class StringTable:
    """Distinct strings, numbered from 0 in the order in which they are added.

    Strings are given and returned as offsets ([n + 1] int32) and bytes (uint8). Several threads may look up at once, while none adds.
    """

    def __init__(self) -> None:
        self._library = load_data_library()
        self._numbers: dict[bytes, int] = {}
        if self._library is not None:
            self._table = self._library.nann_strings_new()
            weakref.finalize(self, self._library.nann_strings_free, self._table)
        self.size = 0

    def add(self, offsets: np.ndarray, data: np.ndarray) -> np.ndarray:
        """[n] int32 numbers; strings that are new get the next ones."""
        return self._numbered(offsets, data, add=True)

    def find(self, offsets: np.ndarray, data: np.ndarray) -> np.ndarray:
        """[n] int32 numbers, -1 for strings that were never added."""
        return self._numbered(offsets, data, add=False)

    def _numbered(self, offsets: np.ndarray, data: np.ndarray, *, add: bool) -> np.ndarray:
        size = len(offsets) - 1
        if self._library is None:
            text, ends = data.tobytes(), offsets.tolist()
            values = [text[begin:end] for begin, end in itertools.pairwise(ends)]
            if add:
                for value in values:
                    self._numbers.setdefault(value, len(self._numbers))
                self.size = len(self._numbers)
            return np.fromiter((self._numbers.get(value, -1) for value in values), np.int32, size)
        offsets, data = np.ascontiguousarray(offsets, np.int32), np.ascontiguousarray(data)
        numbers = np.empty(size, np.int32)
        known = self._library.nann_strings_number(self._table, address(offsets), address(data), size, int(add), address(numbers))
        if add:
            self.size = int(known)
        return numbers

    def strings(self) -> tuple[np.ndarray, np.ndarray]:
        """All strings in the order of their numbers: offsets [size + 1] int64, bytes uint8."""
        if self._library is None:
            lengths = np.fromiter((len(value) for value in self._numbers), np.int64, len(self._numbers))
            return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), np.frombuffer(b"".join(self._numbers), np.uint8)
        offsets = np.empty(self.size + 1, np.int64)
        data = np.empty(self._library.nann_strings_bytes(self._table), np.uint8)
        self._library.nann_strings_export(self._table, address(offsets), address(data))
        return offsets, data
