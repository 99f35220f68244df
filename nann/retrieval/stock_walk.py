"""The walk's operations with stock TensorFlow ops, for servers that load no other.

Visited nodes are a bitmap [B * N], filled once per call. Candidates are filtered by it and then made distinct with one hash-based
`tf.unique`, whose order of first occurrence makes the walk deterministic; against a mask over the whole bitmap (`tf.where`) it took about
as long at 40,000 items, 5-14 % less at 200,000, and does not grow with N.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from nann.retrieval.filters import Filters, FilterTables, Passing
from nann.retrieval.walk import NEGATIVE_INFINITY, WIDTHS, Pools, Positions, padded_width
from ops.packed_table import PackedTable


class StockWalk:
    """See `nann.retrieval.walk.Walk`.

    Args:
        widths: candidates are scored in blocks of these widths, see `padded_width`.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        self._widths = tuple(widths)

    def start(self, enter_points: tf.Tensor, batch: tf.Tensor, num_items: int) -> tf.Tensor:
        """[B * N] bool."""
        keys = tf.range(batch)[:, tf.newaxis] * num_items + enter_points
        return _mark(tf.fill([batch * num_items], False), tf.reshape(keys, [-1]))

    def expand(self, visited: tf.Tensor, frontier: Positions, links: tf.Tensor, row_splits: tf.Tensor) -> tuple[tf.Tensor, Positions]:
        """See `Walk.expand`; links [total] int32, row splits [N + 1] int64."""
        batch, count = tf.size(frontier.row_splits, tf.int64) - 1, tf.size(row_splits, tf.int64) - 1
        gathered = tf.raw_ops.RaggedGather(
            params_nested_splits=[tf.convert_to_tensor(row_splits)],
            params_dense_values=tf.convert_to_tensor(links),
            indices=frontier.values,
            OUTPUT_RAGGED_RANK=1,
        )
        user_ends = tf.gather(gathered.output_nested_splits[0], frontier.row_splits[1:])
        neighbors = tf.cast(gathered.output_dense_values, tf.int64)
        users = tf.searchsorted(user_ends, tf.range(tf.size(neighbors, tf.int64)), side="right", out_type=tf.int64)
        keys = users * count + neighbors
        keys, _ = tf.unique(tf.boolean_mask(keys, tf.logical_not(tf.gather(visited, keys))))
        users = keys // count
        lengths = tf.math.unsorted_segment_sum(tf.ones_like(users), users, batch)
        return _mark(visited, keys), Positions(keys - users * count, _row_splits(lengths))

    def gather(self, item_embs: PackedTable, candidates: Positions) -> tf.Tensor:
        """See `Walk.gather`; after the last candidate comes item 0."""
        longest = tf.reduce_max(tf.concat([candidates.row_splits[1:] - candidates.row_splits[:-1], [0]], axis=0))
        return item_embs.gather(dense_positions(candidates, padded_width(longest, self._widths)))

    def merge(
        self, positions: tf.Tensor, scores: tf.Tensor, candidates: Positions, new_scores: tf.Tensor, ef: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, Positions]:
        """See `Walk.merge`; `top_k` puts the lower column ahead where scores are equal, and the pool comes first."""
        size = tf.shape(positions)[1]
        new_positions = dense_positions(candidates, tf.shape(new_scores, tf.int64)[1], padding=-1)
        new_scores = tf.where(new_positions >= 0, new_scores, NEGATIVE_INFINITY)
        scores, origin = tf.math.top_k(tf.concat([scores, new_scores], axis=1), size)
        positions = tf.gather(tf.concat([positions, new_positions], axis=1), origin, batch_dims=1)
        entered = tf.logical_and(origin[:, :ef] >= size, positions[:, :ef] >= 0)
        return positions, scores, select(positions[:, :ef], entered)

    def passing(self, filters: Filters, tables: FilterTables) -> Passing:
        """The mask is [B, N] bool."""
        batch, count = tf.shape(filters.categories, tf.int64)[0], tables.num_items
        wanted = tf.logical_and(filters.categories > 0, filters.categories <= tables.num_categories)
        width = tables.num_categories + 1
        keys = tf.where(wanted, tf.range(batch)[:, tf.newaxis] * width + filters.categories, -1)
        # category 0 is that of items without one, which no list of categories names
        allowed = _mark(tf.fill([batch * width], False), tf.boolean_mask(keys, wanted))
        unrestricted = tf.logical_not(tf.reduce_any(tf.not_equal(filters.categories, 0), axis=1))
        allowed = tf.logical_or(tf.reshape(allowed, [batch, width]), unrestricted[:, tf.newaxis])
        mask = tf.gather(allowed, tf.convert_to_tensor(tables.position_categories), axis=1)
        mask = tf.logical_and(mask, tf.convert_to_tensor(tables.available))
        keys = tf.range(batch)[:, tf.newaxis] * count + filters.excluded
        keys = tf.boolean_mask(keys, tf.logical_and(filters.excluded >= 0, filters.excluded < count))
        mask = tf.reshape(_mark(tf.reshape(mask, [-1]), keys, value=False), [batch, count])
        return Passing(mask, tf.math.count_nonzero(mask, axis=1, dtype=tf.int64))

    def listed(self, mask: tf.Tensor, num_items: int) -> Positions:
        """See `Walk.listed`."""
        lengths = tf.math.count_nonzero(mask, axis=1, dtype=tf.int64)
        return Positions(tf.where(mask)[:, 1], _row_splits(lengths))

    def merge_filtered(
        self,
        pools: Pools,
        candidates: Positions,
        new_scores: tf.Tensor,
        mask: tf.Tensor,
        num_items: int,
        widths: tuple[tf.Tensor, tf.Tensor],
    ) -> tuple[Pools, Positions]:
        """See `Walk.merge_filtered`."""
        new = dense_positions(candidates, tf.shape(new_scores, tf.int64)[1], padding=-1)
        present = new >= 0
        keys = tf.range(tf.shape(mask, tf.int64)[0])[:, tf.newaxis] * num_items + tf.maximum(new, 0)
        passes = tf.gather(tf.reshape(mask, [-1]), keys)

        def merged(positions: tf.Tensor, scores: tf.Tensor, own: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            ours = tf.where(tf.logical_and(present, own), new_scores, NEGATIVE_INFINITY)
            count = tf.shape(positions)[1]
            best, origin = tf.math.top_k(tf.concat([scores, ours], axis=1), count)
            return tf.gather(tf.concat([positions, new], axis=1), origin, batch_dims=1), best, origin >= count

        positions, scores, entered = merged(pools.positions, pools.scores, passes)
        other_positions, other_scores, others_entered = merged(pools.other_positions, pools.other_scores, tf.logical_not(passes))
        after = Pools(positions, scores, other_positions, other_scores)
        return after, leading(after, *widths, tf.concat([entered, others_entered], axis=1))


def leading(pools: Pools, ef: tf.Tensor, others_ef: tf.Tensor, chosen: tf.Tensor | None = None) -> Positions:
    """The items of the pools to expand, see `Walk.merge_filtered`; with a mask [B, S + T] only those."""
    size, others = tf.shape(pools.positions, tf.int64)[1], tf.shape(pools.other_positions, tf.int64)[1]
    least = pools.scores[:, ef - 1, tf.newaxis]
    first = tf.range(size)[tf.newaxis] < tf.fill([tf.shape(pools.positions)[0], 1], ef)
    more = tf.logical_and(tf.range(others)[tf.newaxis] < others_ef[:, tf.newaxis], pools.other_scores > least)
    positions = tf.concat([pools.positions, pools.other_positions], axis=1)
    mask = tf.logical_and(tf.concat([first, more], axis=1), positions >= 0)
    return select(positions, mask if chosen is None else tf.logical_and(mask, chosen))


def select(positions: tf.Tensor, mask: tf.Tensor) -> Positions:
    """The positions [B, n] where a mask [B, n] holds, row by row."""
    return Positions(tf.boolean_mask(positions, mask), _row_splits(tf.reduce_sum(tf.cast(mask, tf.int64), axis=1)))


def _row_splits(lengths: tf.Tensor) -> tf.Tensor:
    return tf.concat([[0], tf.cumsum(lengths)], axis=0)


def _mark(visited: tf.Tensor, keys: tf.Tensor, *, value: bool = True) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(visited, keys[:, tf.newaxis], tf.fill(tf.shape(keys), value))


def dense_positions(lists: Positions, width: tf.Tensor, *, padding: int = 0) -> tf.Tensor:
    """The lists as [B, width], padded at the end."""
    shape = tf.stack([tf.size(lists.row_splits, tf.int64) - 1, width])
    return tf.raw_ops.RaggedTensorToTensor(
        shape=shape,
        values=lists.values,
        default_value=tf.constant(padding, tf.int64),
        row_partition_tensors=[lists.row_splits],
        row_partition_types=["ROW_SPLITS"],
    )
