"""Which items may be returned to a user, and what is added to their scores: tables of the corpus, and what a request says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nann.retrieval.tables import MakeVariable

# A walk of width ef scores about this many times ef items, and the more the fewer pass, a scan those that pass: the two meet where the
# square of the passing items is this times ef times N (docs/decisions/filters.md).
ITEMS_PER_EF = 40
# What is expanded of the items that do not pass: a share of ef, and a share of what they are to the passing ones.
OTHERS_SHARE = 4


def exact_limit(ef: tuple[int, ...], num_items: int) -> int:
    """Passing items up to which a scan of them costs no more than a walk with these widths over N items."""
    return int((ITEMS_PER_EF * max(ef) * num_items) ** 0.5)


class Filters(NamedTuple):
    """What a request leaves out.

    Attributes:
        excluded: [B, E] int64 positions that are not returned; what is no position excludes nothing.
        categories: [B, C] int64 category rows of which one has to be the item's; 0 stands for nothing. A user without any allows all,
            one of which no item has the category gets no item.
    """

    excluded: tf.Tensor
    categories: tf.Tensor


class Passing(NamedTuple):
    """Which items pass for each user.

    Attributes:
        mask: [B, ...] in the form of the walk's operations, see `nann.retrieval.walk.Walk`.
        counts: [B] int64, how many pass.
    """

    mask: tf.Tensor
    counts: tf.Tensor


@dataclass(frozen=True)
class FilterTables:
    """The tables of a corpus of N items, by position, each a tensor or a variable; R item rows, C categories.

    Attributes:
        row_positions: [R + 1] int32, the position of each item row, -1 where it is not in the corpus.
        position_categories: [N] int32 category rows.
        category_items: [N] int32 positions, category by category, ascending within one.
        category_row_splits: [C + 2] int64: category c has ``category_items[category_row_splits[c]]`` up to ``[c + 1]``.
        available: [N] bool, false for an item that is returned to nobody.
        prior: [N] float32, added to the logit.
        num_items: N.
        num_rows: R.
        num_categories: C.
    """

    row_positions: Any
    position_categories: Any
    category_items: Any
    category_row_splits: Any
    available: Any
    prior: Any
    num_items: int
    num_rows: int
    num_categories: int

    @classmethod
    def create(
        cls, item_rows: np.ndarray, category_rows: np.ndarray, num_categories: int, *, make: MakeVariable | None = None
    ) -> FilterTables:
        """Variables with all items available and a prior of 0.

        Args:
            item_rows: [N] the item row at each position.
            category_rows: [R + 1] the category row of each item row, 0 where it is missing.
            num_categories: C.
            make: makes one variable of a name and a value; `tf.Variable` by default.
        """
        make = make or (lambda name, value: tf.Variable(value, trainable=False, name=name))
        count, categories = len(item_rows), category_rows[item_rows].astype(np.int32)
        positions = np.full(len(category_rows), -1, np.int32)
        positions[item_rows] = np.arange(count)
        sizes = np.bincount(categories, minlength=num_categories + 1)
        return cls(
            row_positions=make("row_positions", positions),
            position_categories=make("position_categories", categories),
            category_items=make("category_items", np.argsort(categories, kind="stable").astype(np.int32)),
            category_row_splits=make("category_items_row_splits", np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)),
            available=make("item_available", np.ones(count, bool)),
            prior=make("item_table_prior", np.zeros(count, np.float32)),
            num_items=count,
            num_rows=len(category_rows) - 1,
            num_categories=num_categories,
        )

    def positions_of(self, rows: tf.Tensor) -> tf.Tensor:
        """Positions int64 of any integers, -1 for what is no item row of the corpus."""
        known = tf.logical_and(rows > 0, rows <= self.num_rows)
        positions = tf.gather(tf.convert_to_tensor(self.row_positions), tf.where(known, rows, 0))
        return tf.where(known, tf.cast(positions, tf.int64), -1)

    def filters(self, item_rows: tf.Tensor, exclude_rows: tf.Tensor, exclude_history: tf.Tensor, category_rows: tf.Tensor) -> Filters:
        """What a request leaves out.

        Args:
            item_rows: [B, L] int64, the history.
            exclude_rows: [B, E] int64 item rows; what is none excludes nothing.
            exclude_history: [B] bool.
            category_rows: [B, C] int64, see `Filters`.
        """
        sizes = [tf.shape(tensor)[1] for tensor in (item_rows, exclude_rows)]
        # one matrix: numbers of users that differ are an error of its own
        asked = tf.concat([item_rows, exclude_rows, tf.cast(exclude_history, tf.int64)[:, tf.newaxis], category_rows], axis=1)
        history, excluded = asked[:, : sizes[0]], asked[:, sizes[0] : sizes[0] + sizes[1]]
        also, categories = asked[:, sizes[0] + sizes[1]], asked[:, sizes[0] + sizes[1] + 1 :]
        rows = tf.concat([tf.where(also[:, tf.newaxis] > 0, history, 0), excluded], axis=1)
        return Filters(self.positions_of(rows), categories)

    def assign(self, available: tf.Tensor, prior: tf.Tensor) -> tf.Tensor:
        """Replaces two tables; they have to be variables.

        Args:
            available: [R + 1] bool by item row.
            prior: [R + 1] float32 by item row, finite.

        Returns:
            [] int64, the number of items that are available now.
        """
        size = self.num_rows + 1
        checks = [
            tf.debugging.Assert(tf.equal(tf.size(values), size), [f"a table needs {size} values, one per item row from 0 on, got", values])
            for values in (available, prior)
        ]
        checks.append(tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(prior)), ["priors must be finite numbers, got", prior]))
        with tf.control_dependencies(checks):
            rows = tf.convert_to_tensor(self.row_positions)
            there = tf.boolean_mask(tf.range(tf.size(rows)), rows >= 0)
            target = tf.gather(rows, there)[:, tf.newaxis]
            shape = [self.num_items]
            found = tf.scatter_nd(target, tf.gather(tf.cast(available, tf.int32), there), shape) > 0
            added = tf.scatter_nd(target, tf.gather(prior, there), shape)
        with tf.control_dependencies([self.available.assign(found, read_value=False), self.prior.assign(added, read_value=False)]):
            return tf.reduce_sum(tf.cast(found, tf.int64))


def others_ef(ef: tf.Tensor, counts: tf.Tensor, num_items: int) -> tf.Tensor:
    """How many of the items that do not pass a frontier may hold, [B] int64, where `counts` [B] of N pass and `ef` that do."""
    blocked = num_items - counts
    return tf.minimum(ef // OTHERS_SHARE + ef * blocked // (OTHERS_SHARE * tf.maximum(counts, 1)), blocked)
