"""Keys found by binary search in sorted int64s, from stock ops alone: a form of lookup that any frozen graph can hold.

An int64 key is searched for as it is, a string by a 63-bit hash (`StringToHashBucketStrong`) under which the known keys differ. A key that
is not there ends up at another's place: callers compare the key found with the one asked for. Keys may hold any bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

_BUCKETS = 2**63 - 1
_HASH_KEYS = 4


class KeySearch:
    """The search among known keys. Make it in eager mode, use it in any graph.

    Args:
        keys: [n] int64 or bytes, distinct.

    Attributes:
        order: [n] int64, the keys' places in the order of the search.
        sorted_keys: [n] int64, what is searched; a variable of this value may take the array's place.

    Raises:
        ValueError: the keys are not distinct.
    """

    def __init__(self, keys: np.ndarray) -> None:
        self._hash_key: list[int] | None = None
        hashes = keys
        if keys.dtype != np.int64:
            self._hash_key, hashes = _distinct_hashes(keys)
        self.order = np.argsort(hashes).astype(np.int64)
        self.sorted_keys: Any = hashes[self.order]
        if np.any(self.sorted_keys[1:] == self.sorted_keys[:-1]):
            raise ValueError(f"the {len(keys)} keys are not distinct; each of them may be there once")
        self._last = len(keys) - 1

    def places_of(self, wanted: tf.Tensor) -> tf.Tensor:
        """The only place in the order of the search, 0..n-1, where each wanted key [m] can be; n must be at least 1."""
        hashes = wanted if self._hash_key is None else tf.strings.to_hash_bucket_strong(wanted, _BUCKETS, self._hash_key)
        return tf.minimum(tf.searchsorted(tf.convert_to_tensor(self.sorted_keys), hashes), self._last)


def _distinct_hashes(keys: np.ndarray) -> tuple[list[int], np.ndarray]:
    """The first hash key under which no two keys collide (the last one if there is none), and the hashes [n] int64."""
    for number in range(_HASH_KEYS):
        hash_key = [number, 2 * number + 1]
        hashes: np.ndarray = tf.strings.to_hash_bucket_strong(tf.constant(keys, tf.string), _BUCKETS, hash_key).numpy()
        if len(np.unique(hashes)) == len(hashes):
            break
    return hash_key, hashes
