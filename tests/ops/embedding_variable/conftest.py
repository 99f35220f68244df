"""A model of an embedding variable in plain Python, and the variable with the native index and with stock TensorFlow's."""

import pytest
import tensorflow as tf

from ops import native


class Reference:
    """Counts, rows and versions of keys by the rules of `docs/embedding_variable.md`, with dictionaries."""

    def __init__(self, filter_freq=0, first_row=1):
        self.filter_freq, self.next_row = filter_freq, first_row
        self.frequency, self.version, self.row, self.lookups = {}, {}, {}, 0

    def insert(self, keys, mask=None):
        used = [key for number, key in enumerate(keys) if mask is None or mask[number]]
        for key in used:
            self.frequency[key] = self.frequency.get(key, 0) + 1
            self.version[key] = self.lookups
        for key in used:
            if key not in self.row and self.frequency[key] >= self.filter_freq:
                self.row[key], self.next_row = self.next_row, self.next_row + 1
        self.lookups += 1
        return [self.row.get(key, -1) if mask is None or mask[number] else -1 for number, key in enumerate(keys)]


@pytest.fixture
def reference():
    return Reference


@pytest.fixture(params=["native", "stock"])
def backend(request, monkeypatch):
    """The tests that take this run with the native index, and with the one for where the library is missing."""
    if request.param == "stock":
        monkeypatch.setattr(native, "load_library", lambda: None)
    return request.param


@pytest.fixture
def ones():
    return lambda shape, dtype: tf.ones(shape, dtype)
