"""The variables that an `EmbeddingVariable` consists of, and their layout: what snapshots, eviction and the indexes work on.

A key that was met has an entry e: ``keys[e]``, ``rows[e]`` (its row in the table, -1 without one), ``frequencies[e]``, ``versions[e]``.
Row r is row r // P of part r % P of the table, P parts; row 0 of every part is never handed out, and holds what new rows of slots start
from. ``state`` holds counts in the order below, which `ops/cc/embedding_entries.h` repeats.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.trackable.base import no_automatic_dependency_tracking

from ops.embedding.slots import OWNER

STATE_SIZE = 6
ENTRIES, ROWS, STAMP, ADMITTED, EVICTED, LOOKUPS = range(STATE_SIZE)
ENTRY_FIELDS = ("keys", "rows", "frequencies", "versions")
_KEY_BYTES = {tf.int64: 8, tf.string: 24}  # a string of more than 22 bytes has those elsewhere
_NUMBERS_BYTES = 3 * 8


class Storage(tf.Module):
    """The variables of one table.

    Args:
        dim: size of a row.
        dtype: of the rows.
        key_dtype: int64 or string.
        num_counters: of a counting Bloom filter; 0: none.
        initial_capacity: rows and entries before the first growth.
        partition_num: parts of the table.
        trainable: whether optimizers see the table.
        name: of the table.

    Attributes:
        graph_mode: made in a TF1 graph.
        tables: the parts [rows, dim].
        keys: [capacity] of the key dtype; ``rows``, ``frequencies``, ``versions``: [capacity] int64.
        state: [6] int64.
        bloom: [num_counters] int32, or None.
        slots: each slot of an optimizer with the number of the part it belongs to, in the order of their making.
        pending_slots: [kinds, n, dim] of a checkpoint whose optimizer is not there yet, or None.
    """

    graph_mode: bool
    slots: list[tuple[int, tf.Variable]]
    tables: list[tf.Variable]

    @no_automatic_dependency_tracking
    def __init__(
        self,
        dim: int,
        *,
        dtype: tf.DType,
        key_dtype: tf.DType,
        num_counters: int,
        initial_capacity: int,
        partition_num: int,
        trainable: bool,
        name: str,
    ) -> None:
        super().__init__(name="storage")
        self.dim, self.dtype, self.key_dtype = dim, dtype, key_dtype
        self.initial_capacity, self.partition_num = initial_capacity, partition_num
        self.graph_mode = not tf.executing_eagerly()
        self.slots = []
        self.pending_slots: np.ndarray | None = None
        rows = -(-initial_capacity // partition_num)
        names = [name] if partition_num == 1 else [f"{name}/part_{part}" for part in range(partition_num)]
        self.tables = [self._variable(tf.zeros([rows, dim], dtype), part, trainable) for part in names]
        empty = tf.zeros([initial_capacity], tf.int64)
        self.keys = self._variable(empty if key_dtype == tf.int64 else tf.fill([initial_capacity], ""), f"{name}_keys", False)
        self.rows = self._variable(empty, f"{name}_rows", False)
        self.frequencies = self._variable(empty, f"{name}_frequencies", False)
        self.versions = self._variable(empty, f"{name}_versions", False)
        self.state = self._variable(tf.zeros([STATE_SIZE], tf.int64), f"{name}_state", False)
        self.bloom = self._variable(tf.zeros([num_counters], tf.int32), f"{name}_bloom", False) if num_counters else None
        for table in self.tables:
            setattr(table, OWNER, self)

    def _variable(self, value: tf.Tensor, name: str, trainable: bool) -> tf.Variable:
        if self.graph_mode:  # optimizers of TF1 want a known shape, though the table may outgrow it
            return tf.compat.v1.Variable(value, trainable=trainable, use_resource=True, name=name)
        return tf.Variable(value, trainable=trainable, name=name, shape=[None, *value.shape[1:]])

    @property
    def fields(self) -> dict[str, tf.Variable]:
        """All variables but tables and slots, by name."""
        names = [*ENTRY_FIELDS, "state", *(["bloom"] if self.bloom is not None else [])]
        return {name: getattr(self, name) for name in names}

    @property
    def slot_kinds(self) -> int:
        """Slots per part."""
        return len(self.slots) // self.partition_num

    @property
    def size_bytes(self) -> int:
        """Memory of the table and the entries, unused ones too; in eager mode."""
        table: int = sum(int(tf.size(part)) for part in self.tables) * self.dtype.size
        return table + (_KEY_BYTES[self.key_dtype] + _NUMBERS_BYTES) * int(tf.size(self.rows))

    @no_automatic_dependency_tracking
    def attach_slot(self, table: tf.Variable, slot: tf.Variable) -> None:
        """Lets an optimizer's slot grow, shrink and be saved with the table; checkpoints of the optimizer need not hold it.

        Args:
            table: the part of the table it belongs to.
            slot: variable of shape [None, dim], as many rows as the part.
        """
        part = next(number for number, known in enumerate(self.tables) if known is table)
        kind = sum(known == part for known, _ in self.slots)
        self.slots.append((part, slot))
        if self.pending_slots is not None and kind < len(self.pending_slots):
            with tf.init_scope():  # in a function that is being traced it would be done at every call
                assign(slot, self.share_of(part, tf.constant(self.pending_slots[kind]), slot))
        if not self.graph_mode and not isinstance(slot, tf.distribute.DistributedValues):
            lengthen(slot, table)  # lookups of this step, and of the function that is traced, did not know the slot

    @no_automatic_dependency_tracking
    def detach_slot(self, slot: tf.Variable) -> None:
        """Lets go of a slot whose optimizer is gone."""
        self.slots = [(part, known) for part, known in self.slots if known is not slot]

    def fit_slots(self) -> None:
        """Makes slots as long as their tables, after those were given other values; in eager mode."""
        for part, slot in self.slots:
            rows, held = tf.shape(self.tables[part])[0], tf.convert_to_tensor(slot)
            if rows != tf.shape(held)[0]:
                more = tf.repeat(held[:1], tf.maximum(rows - tf.shape(held)[0], 0), axis=0)
                assign(slot, tf.concat([held[:rows], more], axis=0))

    @no_automatic_dependency_tracking
    def forget_slots(self) -> None:
        """Checkpoints from now on hold no slots."""
        self.slots, self.pending_slots = [], None

    @no_automatic_dependency_tracking
    def keep_for_later(self, slots: np.ndarray | None) -> None:
        """Slots [kinds, n, dim] for the optimizer to come."""
        self.pending_slots = slots

    def all_rows(self, parts: list[tf.Variable]) -> tf.Tensor:
        """The rows [P * capacity, dim] of a table's or a slot's parts, in the order of their numbers."""
        if len(parts) == 1:
            return tf.convert_to_tensor(parts[0])
        return tf.reshape(tf.stack([tf.convert_to_tensor(part) for part in parts], axis=1), [-1, self.dim])

    def share_of(self, part: int, values: tf.Tensor, held: tf.Variable) -> tf.Tensor:
        """What a part holds when the rows in use are values [n, dim]: row 0 as it is, the part's share, and copies of row 0."""
        parts, filler = self.partition_num, tf.convert_to_tensor(held)[:1]
        count = tf.shape(values)[0]
        per_part = tf.maximum(-(-self.initial_capacity // parts), (count + parts - 1) // parts + 1)
        own = values[part::parts]
        return tf.concat([filler, own, tf.repeat(filler, per_part - 1 - tf.shape(own)[0], axis=0)], axis=0)


def assign(variable: tf.Variable, value: tf.Tensor) -> Any:
    """Also where the size is another, which `Variable.assign` of a TF1 graph would refuse; all copies of a mirrored variable."""
    if isinstance(variable, tf.distribute.DistributedValues):
        return [assign(copy, value) for copy in variable.values]
    return tf.raw_ops.AssignVariableOp(resource=variable.handle, value=tf.cast(value, variable.dtype))


def lengthen(slot: tf.Variable, table: tf.Variable) -> None:
    """Gives a slot copies of its row 0 until it is as long as its table."""
    rows, held = (tf.shape(variable.read_value(), out_type=tf.int64)[0] for variable in (table, slot))

    def grow() -> tf.Tensor:
        value = slot.read_value()
        assign(slot, tf.concat([value, tf.repeat(value[:1], rows - held, axis=0)], axis=0))
        return rows

    tf.cond(rows > held, grow, lambda: rows)


def blank(dtype: tf.DType, count: tf.Tensor) -> tf.Tensor:
    """Values [count] of entries that are not in use."""
    return tf.fill([count], "") if dtype == tf.string else tf.zeros([count], dtype)


def new_stamp() -> int:
    """A number no keys were stamped with before: the index is then built from the keys again."""
    return secrets.randbits(62) | 1
