"""An `EmbeddingVariable` as tensors that know neither capacity nor partition count: for checkpoints, eviction and export.

- ``keys`` [e], ``frequencies`` [e], ``versions`` [e]: an entry per key met;
- ``rows`` [e] int64: 0..n-1 for the n admitted keys, -1 for the others;
- ``values`` [n, dim]: the rows; ``slots`` [kinds, n, dim]: what optimizers keep beside them;
- ``state`` [6]: counts; ``bloom``: counters of the filter, if there is one.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ops.embedding.variable.storage import ENTRIES, ENTRY_FIELDS, ROWS, STAMP, Storage, assign, blank, new_stamp


def take(storage: Storage) -> dict[str, tf.Tensor]:
    """The tensors of a variable as it is; without its stamp, a random number, so that equal variables give equal bytes."""
    state = tf.tensor_scatter_nd_update(tf.convert_to_tensor(storage.state), [[STAMP]], [tf.constant(0, tf.int64)])
    used, rows = state[ENTRIES], state[ROWS]
    parts = storage.partition_num
    entries = {name: tf.convert_to_tensor(getattr(storage, name))[:used] for name in ENTRY_FIELDS}
    numbers = entries["rows"]
    by_part = [[slot for part, slot in storage.slots if part == number] for number in range(parts)]
    slots = [storage.all_rows([of_part[kind] for of_part in by_part])[parts : parts + rows] for kind in range(storage.slot_kinds)]
    tensors = {
        **entries,
        "rows": tf.where(numbers >= 0, numbers - parts, -tf.ones_like(numbers)),
        "values": storage.all_rows(storage.tables)[parts : parts + rows],
        "slots": tf.stack(slots) if slots else tf.zeros(tf.stack([0, rows, storage.dim]), storage.dtype),
        "state": state,
    }
    if storage.bloom is not None:
        tensors["bloom"] = tf.convert_to_tensor(storage.bloom)
    return tensors


def restore(storage: Storage, tensors: dict[str, tf.Tensor]) -> Any:
    """Puts tensors of `take` into a variable, whatever its capacity and partition count are, and gives its keys a new stamp.

    Slots go to the optimizer that is there, or to the one that comes.
    """
    parts = storage.partition_num
    size = tf.maximum(tf.shape(tensors["keys"], out_type=tf.int64)[0], storage.initial_capacity)
    numbers = tensors["rows"]
    entries = {name: tensors[name] for name in ENTRY_FIELDS}
    entries["rows"] = tf.where(numbers >= 0, numbers + parts, -tf.ones_like(numbers))
    made = [assign(getattr(storage, name), _padded(vector, size)) for name, vector in entries.items()]
    made += [assign(table, storage.share_of(part, tensors["values"], table)) for part, table in enumerate(storage.tables)]
    made += _restore_slots(storage, tensors["slots"], tf.shape(tensors["values"])[0])
    if storage.bloom is not None:
        made.append(assign(storage.bloom, tensors["bloom"]))
    stamped = tf.tensor_scatter_nd_update(tensors["state"], [[STAMP]], [tf.constant(new_stamp(), tf.int64)])
    made.append(assign(storage.state, stamped))
    return made


def _restore_slots(storage: Storage, saved: tf.Tensor, num_rows: tf.Tensor) -> list[Any]:
    """Slots [kinds, n, dim] into those that are there; where fewer were saved the rest start anew."""
    if tf.executing_eagerly():
        storage.keep_for_later(saved.numpy() if saved.shape[0] > storage.slot_kinds else None)
    made, seen = [], [0] * storage.partition_num
    for part, slot in storage.slots:
        kind, seen[part] = seen[part], seen[part] + 1
        was_saved = storage.graph_mode or kind < saved.shape[0]
        values = saved[kind] if was_saved else tf.repeat(tf.convert_to_tensor(slot)[:1], num_rows, axis=0)
        made.append(assign(slot, storage.share_of(part, values, slot)))
    return made


def _padded(vector: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    missing = tf.cast(size, tf.int64) - tf.shape(vector, out_type=tf.int64)[0]
    return tf.concat([vector, blank(vector.dtype, missing)], axis=0)
