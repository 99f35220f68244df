"""A model's memory in a graph: a user's part of it by stock ops or by a native one, and how it changes scores."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import tensorflow as tf

from nann.memory.table import CorpusMemory
from nann.retrieval.history import prepare_history
from nann.retrieval.walk import Positions
from ops import scoring
from ops.scoring import UserMemory

PREFIX = "memory_"
SCALARS = ("max_length", "entries")
NUMBERS = 5


def memory_arrays(memory: CorpusMemory) -> dict[str, np.ndarray]:
    """Name in a checkpoint -> value of everything a memory consists of."""
    return {PREFIX + field.name: np.asarray(getattr(memory, field.name)) for field in fields(memory)}


def memory_of_arrays(arrays: dict[str, np.ndarray]) -> CorpusMemory:
    """The memory whose `memory_arrays` these are."""
    values: dict[str, Any] = {field.name: arrays[PREFIX + field.name] for field in fields(CorpusMemory)}
    if len(values["numbers"]) < NUMBERS:  # made before categories had a term of their own: their weight is in the values
        values["numbers"] = np.append(values["numbers"], np.array([1, 0, 0], np.float32))
    return CorpusMemory(**values | {name: int(values[name]) for name in SCALARS})


@dataclass(frozen=True)
class MemoryTables:
    """A `CorpusMemory` as tensors or variables of a graph.

    Attributes:
        of: name of each of its attributes -> tensor or variable.
        num_items: N.
        num_categories: C.
        num_positions: P.
        max_length: newest history items that are looked up.
    """

    of: dict[str, Any]
    num_items: int
    num_categories: int
    num_positions: int
    max_length: int

    @classmethod
    def create(cls, memory: CorpusMemory, make: Any = None) -> MemoryTables:
        """Variables, made by ``make`` of a name and a value; by default `tf.Variable`."""
        make = make or (lambda name, value: tf.Variable(value, trainable=False, name=name))
        num_items = len(memory.position_of_row) - 1
        return cls(
            of={name.removeprefix(PREFIX): make(name, value) for name, value in memory_arrays(memory).items()},
            num_items=num_items,
            num_categories=len(memory.row_splits) - 2 - num_items,
            num_positions=len(memory.gain),
            max_length=memory.max_length,
        )

    def entries(self) -> tf.Tensor:
        """[] number of a user's best items that a walk starts from."""
        return self._tensor("entries")

    def _tensor(self, name: str) -> tf.Tensor:
        return tf.convert_to_tensor(self.of[name])

    def _numbers(self) -> list[tf.Tensor]:
        numbers: list[tf.Tensor] = tf.unstack(self._tensor("numbers"), num=NUMBERS)
        return numbers

    def _prepared(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Sources [B, W] of the items and of their categories; 0 where there is none."""
        items, categories = prepare_history(
            item_rows, cate_rows, num_items=self.num_items, num_categories=self.num_categories, max_length=self.max_length
        )
        return items, tf.where(categories > 0, categories + self.num_items, 0)

    def native(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> UserMemory:
        """What the memory says to raw histories [B, L] int64, by one native op; best first for each user."""
        items, categories = self._prepared(item_rows, cate_rows)
        decay, rule_scale, category_weight, category_scale, category_gain = self._numbers()
        row_splits, positions, values = scoring.pair_memory(
            item_sources=items,
            category_sources=categories,
            item_positions=tf.cast(tf.gather(self._tensor("position_of_row"), items), tf.int64),
            table_row_splits=self._tensor("row_splits"),
            table_positions=self._tensor("positions"),
            table_values=self._tensor("values"),
            decay=decay,
            rule_scale=rule_scale,
            category_weight=category_weight,
            category_scale=category_scale,
            category_gain=category_gain,
            own=self._tensor("own"),
            gain=self._tensor("gain"),
        )
        return UserMemory(row_splits, positions, values, self._tensor("item_scale"), self._tensor("item_prior"))

    def stock(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> UserMemory:
        """The same by stock ops; in the order in which a user's positions are met."""
        items, categories = self._prepared(item_rows, cate_rows)
        batch, width = tf.shape(items, tf.int64)[0], tf.shape(items, tf.int64)[1]
        present = items > 0
        age = tf.cumsum(tf.cast(present, tf.int32), axis=1, exclusive=True, reverse=True)
        decay, rule_scale, category_weight, category_scale, category_gain = self._numbers()
        weights = tf.where(present, tf.pow(decay, tf.cast(age, tf.float32)), 0.0)
        weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=1, keepdims=True))
        alike = tf.cast(present, tf.float32)
        alike = tf.math.divide_no_nan(alike, tf.reduce_sum(alike, axis=1, keepdims=True))
        sources = tf.reshape(tf.stack([items, categories], axis=2), [-1])
        row_splits = self._tensor("row_splits")
        ends, positions = _gathered(row_splits, self._tensor("positions"), sources)
        _, values = _gathered(row_splits, self._tensor("values"), sources)
        source = tf.searchsorted(ends, tf.range(tf.size(positions, tf.int64)), side="right", out_type=tf.int64)
        added = values * tf.gather(tf.reshape(tf.stack([weights, category_weight * weights], axis=2), [-1]), source)
        shared = values * tf.gather(tf.reshape(tf.stack([tf.zeros_like(alike), alike], axis=2), [-1]), source)
        keys = source // tf.maximum(2 * width, 1) * self.num_positions + tf.cast(positions, tf.int64)

        own_keys, own = self._own(items, present, age)
        distinct, place = tf.unique(tf.concat([keys, own_keys], axis=0), out_idx=tf.int64)
        count = tf.size(distinct, tf.int64)
        rules, shares = (
            tf.math.unsorted_segment_sum(tf.concat([each, tf.zeros_like(own)], axis=0), place, count) for each in (added, shared)
        )
        bonus = tf.math.unsorted_segment_sum(tf.concat([tf.zeros_like(added), own], axis=0), place, count)
        users, positions = distinct // self.num_positions, distinct % self.num_positions
        memory = tf.gather(self._tensor("gain"), positions) * tf.math.log1p(rule_scale * rules) + bonus
        memory += category_gain * tf.math.log1p(category_scale * shares)
        order = tf.argsort(users, stable=True)
        lengths = tf.math.unsorted_segment_sum(tf.ones_like(users), users, batch)
        return UserMemory(
            tf.concat([[0], tf.cumsum(lengths)], axis=0),
            tf.gather(positions, order),
            tf.gather(memory, order),
            self._tensor("item_scale"),
            self._tensor("item_prior"),
        )

    def _own(self, items: tf.Tensor, present: tf.Tensor, age: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Keys and bonuses of the history's own items, each at its newest place."""
        same = tf.equal(items[:, :, tf.newaxis], items[:, tf.newaxis, :])
        newer = tf.logical_and(age[:, tf.newaxis, :] < age[:, :, tf.newaxis], present[:, tf.newaxis, :])
        newest = tf.logical_and(present, tf.logical_not(tf.reduce_any(tf.logical_and(same, newer), axis=2)))
        positions = tf.cast(tf.gather(self._tensor("position_of_row"), items), tf.int64)
        where = tf.where(tf.logical_and(newest, positions >= 0))
        own = self._tensor("own")
        bonus = tf.gather(own, tf.minimum(tf.gather_nd(age, where), tf.size(own) - 1))
        return where[:, 0] * self.num_positions + tf.gather_nd(positions, where), bonus


def _gathered(row_splits: tf.Tensor, values: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The ends and the values of some rows of a ragged table, one after the other."""
    found = tf.raw_ops.RaggedGather(params_nested_splits=[row_splits], params_dense_values=values, indices=rows, OUTPUT_RAGGED_RANK=1)
    return found.output_nested_splits[0][1:], found.output_dense_values


def best_entries(memory: UserMemory, count: tf.Tensor) -> Positions:
    """The ``count`` positions of each user's memory with the highest values, best first."""
    batch = tf.size(memory.row_splits, tf.int64) - 1
    longest = tf.reduce_max(tf.concat([memory.row_splits[1:] - memory.row_splits[:-1], [0]], axis=0))
    values, positions = (
        tf.raw_ops.RaggedTensorToTensor(
            shape=tf.stack([batch, longest]),
            values=tensor,
            default_value=default,
            row_partition_tensors=[memory.row_splits],
            row_partition_types=["ROW_SPLITS"],
        )
        for tensor, default in ((memory.values, tf.constant(float("-inf"))), (memory.positions, tf.constant(-1, tf.int64)))
    )
    _, place = tf.math.top_k(values, tf.cast(tf.minimum(count, longest), tf.int32))
    best = tf.gather(positions, place, batch_dims=1)
    there = best >= 0
    lengths = tf.reduce_sum(tf.cast(there, tf.int64), axis=1)
    return Positions(tf.boolean_mask(best, there), tf.concat([[0], tf.cumsum(lengths)], axis=0))


class Adjustment:
    """Joins the scorer's scores with the memory of some users.

    Args:
        memory: of B users.
    """

    def __init__(self, memory: UserMemory) -> None:
        self._memory = memory
        self._count = tf.size(memory.item_scale, tf.int64)
        batch = tf.size(memory.row_splits, tf.int64) - 1
        users = tf.searchsorted(memory.row_splits[1:], tf.range(tf.size(memory.positions, tf.int64)), side="right", out_type=tf.int64)
        keys = users * self._count + memory.positions
        self._dense = tf.scatter_nd(keys[:, tf.newaxis], memory.values, [batch * self._count])
        self._begins = tf.range(batch)[:, tf.newaxis] * self._count

    def __call__(self, scores: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
        """Adjusted scores [B, n] of scores [B, n] at positions [n], of all users, or [B, n]."""
        scale, prior = tf.gather(self._memory.item_scale, positions), tf.gather(self._memory.item_prior, positions)
        return scale * scores + prior + tf.gather(self._dense, self._begins + positions)


def as_they_are(scores: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """The scores, where there is no memory to join."""
    return scores
