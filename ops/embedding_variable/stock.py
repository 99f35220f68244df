"""The key index from stock TensorFlow: a `MutableHashTable` derived from the keys, and searches in constants for frozen graphs.

Slower than the native op and not for concurrent steps, but with its numbers: entries and rows come in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from ops.embedding_variable.variable import EmbeddingVariable

_ENTRIES, _ROWS, _STAMP, _ADMITTED, _LOOKUPS = 0, 1, 2, 3, 5
_BUCKETS = 2**63 - 1


class StockIndex:
    """What the native ops do, for one variable, where the library is missing.

    Args:
        variable: its keys and state are those that checkpoints hold; the table of this index is made from them when their stamp is new.
    """

    def __init__(self, variable: EmbeddingVariable) -> None:
        self._variable = variable
        self._index = tf.lookup.experimental.MutableHashTable(variable.key_dtype, tf.int64, -1)
        make = tf.compat.v1.Variable if variable.graph_mode else tf.Variable
        options = {"use_resource": True} if variable.graph_mode else {}
        self._stamp = make(tf.constant(0, tf.int64), trainable=False, name="index_stamp", **options)

    @property
    def resources(self) -> dict[str, Any]:
        """The table and the stamp of the keys it was made from, by name: a SavedModel keeps both."""
        return {"index": self._index, "index_stamp": self._stamp}

    def find(self, values: tf.Variable, ids: tf.Tensor, *, prune: bool) -> tf.Tensor:
        """As ``Nann>EmbeddingVariableFind``."""
        with tf.control_dependencies([self._refresh()]):
            keys = self._keys(ids)
            entries = tf.ensure_shape(self._index.lookup(keys), keys.shape)  # within a function the table tells no shape
        if prune and keys.dtype != tf.string:
            entries = tf.where(keys < 0, -tf.ones_like(entries), entries)
        found = tf.gather(values, tf.maximum(entries, 0))
        return tf.where(entries >= 0, found, -tf.ones_like(entries))

    def insert(self, ids: tf.Tensor, *, prune: bool, mask: Any, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """As ``Nann>EmbeddingVariableRows`` without a Bloom filter: found, new_rows, positions."""
        variable = self._variable
        keys = tf.reshape(self._keys(ids), [-1])
        wanted = tf.ones_like(keys, tf.bool) if keys.dtype == tf.string or not prune else keys >= 0
        if mask is not None:
            wanted = tf.logical_and(wanted, tf.equal(tf.reshape(mask, [-1]), 1))
        places = tf.where(wanted)[:, 0]
        with tf.control_dependencies([self._refresh()]):
            distinct, number, counts = tf.unique_with_counts(tf.gather(keys, places), tf.int64)
            entries = tf.reshape(self._index.lookup(distinct), [-1])
        state = variable.state.read_value()
        unknown = entries < 0
        entries = tf.where(unknown, state[_ENTRIES] + tf.cumsum(tf.cast(unknown, tf.int64)) - 1, entries)
        num_new = tf.reduce_sum(tf.cast(unknown, tf.int64))
        num_entries = state[_ENTRIES] + num_new
        new_keys = tf.boolean_mask(distinct, unknown)
        old = {name: getattr(variable, name).read_value() for name in ("keys", "rows", "frequencies", "versions")}
        missing = tf.maximum(tf.maximum(2 * tf.size(old["rows"], tf.int64), num_entries) - tf.size(old["rows"], tf.int64), 0)
        missing = tf.where(num_entries > tf.size(old["rows"], tf.int64), missing, 0)
        grown = {name: tf.concat([vector, _blank(vector.dtype, missing)], axis=0) for name, vector in old.items()}
        at, new_at = entries[:, tf.newaxis], tf.boolean_mask(entries, unknown)[:, tf.newaxis]
        all_keys = tf.tensor_scatter_nd_update(grown["keys"], new_at, new_keys)
        rows = tf.tensor_scatter_nd_update(grown["rows"], new_at, -tf.ones([num_new], tf.int64))
        frequencies = tf.tensor_scatter_nd_update(grown["frequencies"], new_at, tf.zeros([num_new], tf.int64))
        frequencies = tf.tensor_scatter_nd_add(frequencies, at, counts)
        now = tf.where(step >= 0, step, state[_LOOKUPS])
        versions = tf.tensor_scatter_nd_update(grown["versions"], at, tf.fill(tf.shape(entries), now))
        admitted = tf.logical_and(tf.gather(rows, entries) < 0, tf.gather(frequencies, entries) >= variable.option.filter_frequency)
        count = tf.reduce_sum(tf.cast(admitted, tf.int64))
        new_rows = variable.partition_num + state[_ROWS] + tf.range(count)
        rows = tf.tensor_scatter_nd_update(rows, tf.boolean_mask(entries, admitted)[:, tf.newaxis], new_rows)
        firsts = tf.math.unsorted_segment_min(places, number, tf.size(distinct))
        stamp = tf.where(num_new > 0, tf.random.uniform([], 1, tf.int64.max, tf.int64), state[_STAMP])
        changed = tf.stack([num_entries, state[_ROWS] + count, stamp, state[_ADMITTED] + count, state[4], state[_LOOKUPS] + 1])
        vectors = {"keys": all_keys, "rows": rows, "frequencies": frequencies, "versions": versions, "state": changed}
        made = [_assign(getattr(variable, name), value) for name, value in vectors.items()]
        made += [self._index.insert(new_keys, new_at[:, 0]), _assign(self._stamp, stamp)]
        made += self._grow(variable.partition_num + state[_ROWS] + count)
        with tf.control_dependencies([op for op in made if op is not None]):
            own = tf.gather(tf.gather(rows, entries), number)
            found = tf.tensor_scatter_nd_update(-tf.ones_like(keys, tf.int64), places[:, tf.newaxis], own)
            return tf.ensure_shape(tf.reshape(found, tf.shape(ids)), ids.shape), tf.identity(new_rows), tf.boolean_mask(firsts, admitted)

    def start(self, new_rows: tf.Tensor, values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """As ``Nann>EmbeddingVariableStart``."""
        parts = self._variable.partition_num
        made = []
        for part, table in enumerate(self._variable.tables):
            own = tf.where(tf.equal(new_rows % parts, part))[:, 0]
            made.append(
                tf.raw_ops.ResourceScatterUpdate(
                    resource=table.handle, indices=tf.gather(new_rows // parts, own), updates=tf.gather(values, own)
                )
            )
        with tf.control_dependencies([op for op in made if op is not None]):
            return tf.identity(rows)

    def _keys(self, ids: tf.Tensor) -> tf.Tensor:
        return ids if self._variable.key_dtype == tf.string else tf.cast(ids, tf.int64)

    def _grow(self, needed: tf.Tensor) -> list[Any]:
        """Tables and slots that hold the needed rows: the old ones, and copies of row 0."""
        variable = self._variable
        size = tf.shape(variable.tables[0].read_value(), out_type=tf.int64)[0]
        wanted = (needed + variable.partition_num - 1) // variable.partition_num
        target = tf.where(wanted > size, tf.maximum(2 * size, wanted), size)
        made = []
        for held in [*variable.tables, *(slot for _, slot in variable.slots)]:
            value = held.read_value()
            more = tf.maximum(target - tf.shape(value, out_type=tf.int64)[0], 0)
            made.append(_assign(held, tf.concat([value, tf.repeat(value[:1], more, axis=0)], axis=0)))
        return made

    def _refresh(self) -> tf.Tensor:
        """Makes the table anew if the keys are others than it was made from."""
        variable = self._variable
        state, stamp = variable.state.read_value(), self._stamp.read_value()

        def build() -> tf.Tensor:
            before, _ = self._index.export()
            with tf.control_dependencies([self._index.remove(before)]):
                used = variable.keys.read_value()[: state[_ENTRIES]]
                filled = self._index.insert(used, tf.range(state[_ENTRIES]))
            with tf.control_dependencies([op for op in (filled, _assign(self._stamp, state[_STAMP])) if op is not None]):
                return tf.constant(True)

        return tf.cond(tf.equal(state[_STAMP], stamp), lambda: tf.constant(False), build)


class FrozenKeys:
    """Rows of keys by binary search in constants, from stock ops alone: what an inference lookup becomes in a frozen graph.

    Make it in eager mode, use it in any graph.

    Args:
        keys: [n] int64 or bytes.
        rows: [n] int64, -1 for keys without a row.

    Raises:
        ValueError: no hash tells the string keys apart.
    """

    def __init__(self, keys: np.ndarray, rows: np.ndarray) -> None:
        keys, rows = keys[rows >= 0], rows[rows >= 0]
        self._hash_key: list[int] | None = None
        hashes = keys
        if keys.dtype != np.int64:
            self._hash_key, hashes = _distinct_hashes(keys)
        order = np.argsort(hashes)
        self._hashes, self._keys, self._rows = hashes[order], keys[order], rows[order]

    def rows_of(self, ids: tf.Tensor, *, prune: bool) -> tf.Tensor:
        """Rows int64 of ids of any shape, -1 where there is none; ``prune``: negative ids have none."""
        if not len(self._keys):
            return -tf.ones(tf.shape(ids), tf.int64)
        flat = tf.reshape(ids if ids.dtype == tf.string else tf.cast(ids, tf.int64), [-1])
        wanted = flat if self._hash_key is None else tf.strings.to_hash_bucket_strong(flat, _BUCKETS, self._hash_key)
        at = tf.minimum(tf.searchsorted(tf.constant(self._hashes), wanted), len(self._keys) - 1)
        hit = tf.equal(tf.gather(tf.constant(self._keys), at), flat)
        if prune and flat.dtype != tf.string:
            hit = tf.logical_and(hit, flat >= 0)
        found = tf.where(hit, tf.gather(tf.constant(self._rows), at), -tf.ones_like(wanted))
        return tf.reshape(found, tf.shape(ids))


def _distinct_hashes(keys: np.ndarray) -> tuple[list[int], np.ndarray]:
    for number in range(4):
        hash_key = [number, 2 * number + 1]
        hashes: np.ndarray = tf.strings.to_hash_bucket_strong(tf.constant(keys, tf.string), _BUCKETS, hash_key).numpy()
        if len(np.unique(hashes)) == len(hashes):
            return hash_key, hashes
    raise ValueError(f"{len(keys)} string keys have no distinct 63-bit hashes; are they distinct?")


def _blank(dtype: tf.DType, count: tf.Tensor) -> tf.Tensor:
    return tf.fill([count], "") if dtype == tf.string else tf.zeros([count], dtype)


def _assign(variable: tf.Variable, value: tf.Tensor) -> Any:
    return tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
