"""An `EmbeddingVariable` as tensors that know neither capacity nor partition count: for checkpoints, eviction and export.

- ``keys`` [e], ``frequencies`` [e], ``versions`` [e]: an entry per key met;
- ``rows`` [e] int64: 0..n-1 for the n admitted keys, -1 for the others;
- ``values`` [n, dim]: the rows; ``slots`` [kinds, n, dim]: what optimizers keep beside them;
- ``state`` [6]: counts; ``bloom``: counters of the filter, if there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from ops.embedding_variable.variable import EmbeddingVariable

_ENTRIES, _ROWS, _STAMP = 0, 1, 2


def take(variable: EmbeddingVariable) -> dict[str, tf.Tensor]:
    """The tensors of a variable as it is."""
    state = tf.convert_to_tensor(variable.state)
    used, rows = state[_ENTRIES], state[_ROWS]
    parts = variable.partition_num
    numbers = tf.convert_to_tensor(variable.rows)[:used]
    kinds = len(variable.slots) // parts
    by_part = [[slot for part, slot in variable.slots if part == number] for number in range(parts)]
    slots = [_joined([of_part[kind] for of_part in by_part])[parts : parts + rows] for kind in range(kinds)]
    tensors = {
        "keys": tf.convert_to_tensor(variable.keys)[:used],
        "rows": tf.where(numbers >= 0, numbers - parts, -tf.ones_like(numbers)),
        "frequencies": tf.convert_to_tensor(variable.frequencies)[:used],
        "versions": tf.convert_to_tensor(variable.versions)[:used],
        "values": _joined(variable.tables)[parts : parts + rows],
        "slots": tf.stack(slots) if slots else tf.zeros(tf.stack([0, rows, variable.dim]), variable.dtype),
        "state": state,
    }
    if variable.bloom is not None:
        tensors["bloom"] = tf.convert_to_tensor(variable.bloom)
    return tensors


def restore(variable: EmbeddingVariable, tensors: dict[str, tf.Tensor]) -> Any:
    """Puts tensors of `take` into a variable, whatever its capacity and partition count are, and gives its keys a new stamp.

    Slots go to the optimizer that is there, or to the one that comes.
    """
    parts = variable.partition_num
    entries = tf.shape(tensors["keys"], out_type=tf.int64)[0]
    size = tf.maximum(entries, variable.initial_capacity)
    numbers = tensors["rows"]
    vectors = {
        "keys": tensors["keys"],
        "rows": tf.where(numbers >= 0, numbers + parts, -tf.ones_like(numbers)),
        "frequencies": tensors["frequencies"],
        "versions": tensors["versions"],
    }
    made = [_assign(getattr(variable, name), _padded(vector, size)) for name, vector in vectors.items()]
    for part, table in enumerate(variable.tables):
        made.append(_assign(table, _part_of(variable, tensors["values"], table, part)))
    kinds = len(variable.slots) // parts
    seen = [0] * parts
    saved = tensors["slots"]
    if tf.executing_eagerly():
        variable.__dict__["pending_slots"] = saved.numpy() if saved.shape[0] > kinds else None
    for part, slot in variable.slots:
        kind, seen[part] = seen[part], seen[part] + 1
        values = saved[kind] if variable.graph_mode or kind < saved.shape[0] else None
        made.append(restore_slot(variable, slot, part, values, rows=tensors["values"]))
    if variable.bloom is not None:
        made.append(_assign(variable.bloom, tensors["bloom"]))
    stamped = tf.tensor_scatter_nd_update(tensors["state"], [[_STAMP]], [tf.constant(variable.new_stamp(), tf.int64)])
    made.append(_assign(variable.state, stamped))
    return made


def restore_slot(variable: EmbeddingVariable, slot: tf.Variable, part: int, values: Any, *, rows: Any = None) -> Any:
    """Gives a slot of a part its share of values [n, dim]; None: start values for all rows."""
    if values is None:
        filler = tf.convert_to_tensor(slot)[:1]
        values = tf.repeat(filler, tf.shape(rows)[0], axis=0)
    return _assign(slot, _part_of(variable, values, slot, part))


def _part_of(variable: EmbeddingVariable, values: tf.Tensor, held: tf.Variable, part: int) -> tf.Tensor:
    """The rows [capacity, dim] of a part: row 0 as it is, the part's share of the values, and copies of row 0."""
    parts, filler = variable.partition_num, tf.convert_to_tensor(held)[:1]
    count = tf.shape(values)[0]
    per_part = tf.maximum(-(-variable.initial_capacity // parts), (count + parts - 1) // parts + 1)
    own = values[part::parts]
    return tf.concat([filler, own, tf.repeat(filler, per_part - 1 - tf.shape(own)[0], axis=0)], axis=0)


def _joined(tables: list[tf.Variable]) -> tf.Tensor:
    """The rows of all parts in the order of their numbers."""
    if len(tables) == 1:
        return tf.convert_to_tensor(tables[0])
    stacked = tf.stack([tf.convert_to_tensor(table) for table in tables], axis=1)
    return tf.reshape(stacked, [-1, tables[0].shape[1]])


def _padded(vector: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    missing = tf.cast(size, tf.int64) - tf.shape(vector, out_type=tf.int64)[0]
    return tf.concat([vector, tf.fill([missing], "") if vector.dtype == tf.string else tf.zeros([missing], vector.dtype)], axis=0)


def _assign(variable: tf.Variable, value: tf.Tensor) -> Any:
    """Also where the size is another, which `Variable.assign` of a TF1 graph would refuse."""
    return tf.raw_ops.AssignVariableOp(resource=variable.handle, value=tf.cast(value, variable.dtype))
