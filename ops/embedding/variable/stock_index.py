"""The key index from stock TensorFlow: a `MutableHashTable` derived from the keys.

Slower than the native op and not for concurrent steps, but with its numbers: entries and rows come in the same order.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ops.embedding.variable.storage import ADMITTED, ENTRIES, ENTRY_FIELDS, EVICTED, LOOKUPS, ROWS, STAMP, Storage, assign, blank


class StockIndex:
    """What the native ops do, for one variable, where the library is missing.

    Args:
        storage: its keys and state are those that checkpoints hold; the table of this index is made from them when their stamp is new.
        filter_frequency: occurrences a key needs to be admitted; 0: none.
    """

    def __init__(self, storage: Storage, filter_frequency: int) -> None:
        self._storage, self._filter_frequency = storage, filter_frequency
        self._index = tf.lookup.experimental.MutableHashTable(storage.key_dtype, tf.int64, -1)
        make = tf.compat.v1.Variable if storage.graph_mode else tf.Variable
        options = {"use_resource": True} if storage.graph_mode else {}
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
        storage = self._storage
        keys = tf.reshape(self._keys(ids), [-1])
        wanted = tf.ones_like(keys, tf.bool) if keys.dtype == tf.string or not prune else keys >= 0
        if mask is not None:
            wanted = tf.logical_and(wanted, tf.equal(tf.reshape(mask, [-1]), 1))
        places = tf.where(wanted)[:, 0]
        with tf.control_dependencies([self._refresh()]):
            distinct, number, counts = tf.unique_with_counts(tf.gather(keys, places), tf.int64)
            entries = tf.reshape(self._index.lookup(distinct), [-1])
        state = storage.state.read_value()
        unknown = entries < 0
        entries = tf.where(unknown, state[ENTRIES] + tf.cumsum(tf.cast(unknown, tf.int64)) - 1, entries)
        num_new = tf.reduce_sum(tf.cast(unknown, tf.int64))
        num_entries = state[ENTRIES] + num_new
        new_keys = tf.boolean_mask(distinct, unknown)
        old = {name: getattr(storage, name).read_value() for name in ENTRY_FIELDS}
        missing = tf.maximum(tf.maximum(2 * tf.size(old["rows"], tf.int64), num_entries) - tf.size(old["rows"], tf.int64), 0)
        missing = tf.where(num_entries > tf.size(old["rows"], tf.int64), missing, 0)
        grown = {name: tf.concat([vector, blank(vector.dtype, missing)], axis=0) for name, vector in old.items()}
        at, new_at = entries[:, tf.newaxis], tf.boolean_mask(entries, unknown)[:, tf.newaxis]
        all_keys = tf.tensor_scatter_nd_update(grown["keys"], new_at, new_keys)
        rows = tf.tensor_scatter_nd_update(grown["rows"], new_at, -tf.ones([num_new], tf.int64))
        frequencies = tf.tensor_scatter_nd_update(grown["frequencies"], new_at, tf.zeros([num_new], tf.int64))
        frequencies = tf.tensor_scatter_nd_add(frequencies, at, counts)
        now = tf.where(step >= 0, step, state[LOOKUPS])
        versions = tf.tensor_scatter_nd_update(grown["versions"], at, tf.fill(tf.shape(entries), now))
        admitted = tf.logical_and(tf.gather(rows, entries) < 0, tf.gather(frequencies, entries) >= self._filter_frequency)
        count = tf.reduce_sum(tf.cast(admitted, tf.int64))
        new_rows = storage.partition_num + state[ROWS] + tf.range(count)
        rows = tf.tensor_scatter_nd_update(rows, tf.boolean_mask(entries, admitted)[:, tf.newaxis], new_rows)
        firsts = tf.math.unsorted_segment_min(places, number, tf.size(distinct))
        stamp = tf.where(num_new > 0, tf.random.uniform([], 1, tf.int64.max, tf.int64), state[STAMP])
        changed = tf.stack([num_entries, state[ROWS] + count, stamp, state[ADMITTED] + count, state[EVICTED], state[LOOKUPS] + 1])
        vectors = {"keys": all_keys, "rows": rows, "frequencies": frequencies, "versions": versions, "state": changed}
        made = [assign(getattr(storage, name), value) for name, value in vectors.items()]
        made += [self._index.insert(new_keys, new_at[:, 0]), assign(self._stamp, stamp)]
        made += self._grow(storage.partition_num + state[ROWS] + count)
        with tf.control_dependencies([op for op in made if op is not None]):
            own = tf.gather(tf.gather(rows, entries), number)
            found = tf.tensor_scatter_nd_update(-tf.ones_like(keys, tf.int64), places[:, tf.newaxis], own)
            return tf.ensure_shape(tf.reshape(found, tf.shape(ids)), ids.shape), tf.identity(new_rows), tf.boolean_mask(firsts, admitted)

    def start(self, new_rows: tf.Tensor, values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """As ``Nann>EmbeddingVariableStart``."""
        parts = self._storage.partition_num
        made = []
        for part, table in enumerate(self._storage.tables):
            own = tf.where(tf.equal(new_rows % parts, part))[:, 0]
            made.append(
                tf.raw_ops.ResourceScatterUpdate(
                    resource=table.handle, indices=tf.gather(new_rows // parts, own), updates=tf.gather(values, own)
                )
            )
        with tf.control_dependencies([op for op in made if op is not None]):
            return tf.identity(rows)

    def _keys(self, ids: tf.Tensor) -> tf.Tensor:
        return ids if self._storage.key_dtype == tf.string else tf.cast(ids, tf.int64)

    def _grow(self, needed: tf.Tensor) -> list[Any]:
        """Tables and slots that hold the needed rows: the old ones, and copies of row 0."""
        storage = self._storage
        size = tf.shape(storage.tables[0].read_value(), out_type=tf.int64)[0]
        wanted = (needed + storage.partition_num - 1) // storage.partition_num
        target = tf.where(wanted > size, tf.maximum(2 * size, wanted), size)
        made = []
        for held in [*storage.tables, *(slot for _, slot in storage.slots)]:
            value = held.read_value()
            more = tf.maximum(target - tf.shape(value, out_type=tf.int64)[0], 0)
            made.append(assign(held, tf.concat([value, tf.repeat(value[:1], more, axis=0)], axis=0)))
        return made

    def _refresh(self) -> tf.Tensor:
        """Makes the table anew if the keys are others than it was made from."""
        storage = self._storage
        state, stamp = storage.state.read_value(), self._stamp.read_value()

        def build() -> tf.Tensor:
            before, _ = self._index.export()
            with tf.control_dependencies([self._index.remove(before)]):
                used = storage.keys.read_value()[: state[ENTRIES]]
                filled = self._index.insert(used, tf.range(state[ENTRIES]))
            with tf.control_dependencies([op for op in (filled, assign(self._stamp, state[STAMP])) if op is not None]):
                return tf.constant(True)

        return tf.cond(tf.equal(state[STAMP], stamp), lambda: tf.constant(False), build)
