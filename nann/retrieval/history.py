"""Makes any [B, L] of integers a history the scorer may read."""

from __future__ import annotations

import tensorflow as tf


def prepare_history(
    item_rows: tf.Tensor, cate_rows: tf.Tensor, *of_events: tf.Tensor, num_items: int, num_categories: int, max_length: int
) -> tuple[tf.Tensor, ...]:
    """Drops what is missing or out of range and keeps the most recent items.

    An item row outside 1..num_items is missing; the others move together to the left, in order, and the last `max_length` of them
    stay. A category row outside 0..num_categories becomes 0.

    Args:
        item_rows: [B, L] int64, oldest first; zeros anywhere.
        cate_rows: [B, L] int64, the category row at each position.
        *of_events: [B, L] int64 each, whatever else stands beside the items; moved with them.
        num_items: item rows are 1..num_items.
        num_categories: category rows are 1..num_categories.
        max_length: history items the model reads, at least 1.

    Returns:
        Item rows, category rows and what else was given, [B, W] int64 with W = min(max(L, 1), max_length), padded with 0 at the end.
    """
    present = tf.logical_and(item_rows > 0, item_rows <= num_items)
    known = tf.logical_and(cate_rows > 0, cate_rows <= num_categories)
    newer = tf.cumsum(tf.cast(present, tf.int32), axis=1, exclusive=True, reverse=True)
    kept = tf.logical_and(present, newer < max_length)
    column = tf.cumsum(tf.cast(kept, tf.int32), axis=1, exclusive=True)
    where = tf.where(kept)
    target = tf.stack([where[:, 0], tf.cast(tf.gather_nd(column, where), tf.int64)], axis=1)
    length = tf.minimum(tf.maximum(tf.shape(item_rows, tf.int64)[1], 1), max_length)
    shape = tf.stack([tf.shape(item_rows, tf.int64)[0], length])
    items = tf.scatter_nd(target, tf.gather_nd(item_rows, where), shape)
    categories = tf.scatter_nd(target, tf.gather_nd(tf.where(known, cate_rows, 0), where), shape)
    others = (tf.scatter_nd(target, tf.gather_nd(values, where), shape) for values in of_events)
    return items, categories, *others
