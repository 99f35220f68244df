"""Keys of an `EmbeddingVariable` in a frozen graph: constants, and stock ops that search in them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from ops.key_search import KeySearch


class FrozenKeys:
    """Rows of keys: what an inference lookup becomes in a frozen graph. Make it in eager mode, use it in any graph.

    Args:
        keys: [n] int64 or bytes, distinct.
        rows: [n] int64, -1 for keys without a row.
    """

    def __init__(self, keys: np.ndarray, rows: np.ndarray) -> None:
        keys, rows = keys[rows >= 0], rows[rows >= 0]
        self._search = KeySearch(keys)
        self._keys, self._rows = keys[self._search.order], rows[self._search.order]

    def rows_of(self, ids: tf.Tensor, *, prune: bool) -> tf.Tensor:
        """Rows int64 of ids of any shape, -1 where there is none; ``prune``: negative ids have none."""
        if not len(self._keys):
            return -tf.ones(tf.shape(ids), tf.int64)
        wanted = tf.reshape(ids if ids.dtype == tf.string else tf.cast(ids, tf.int64), [-1])
        at = self._search.places_of(wanted)
        hit = tf.equal(tf.gather(tf.constant(self._keys), at), wanted)
        if prune and wanted.dtype != tf.string:
            hit = tf.logical_and(hit, wanted >= 0)
        found = tf.gather(tf.constant(self._rows), at)
        return tf.reshape(tf.where(hit, found, -tf.ones_like(found)), tf.shape(ids))
