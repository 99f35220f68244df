"""Beam retrieval over the graph for a batch of users, with stock TensorFlow ops (NANN, arXiv 2202.10226, section 4 and algorithm 1).

All entry points are scored. Then, per level and round: the neighbours of the frontier, minus those already visited, are scored in one
batch and merged into a pool of the best items scored so far. The first frontier of a level is the pool's best `ef`; every later one
those items of the last round that are among the best `ef`. The answer is the best `top_k` of everything scored.

The pool is one for all levels: where the paper cuts it to the level's `ef`, items scored on a higher level stay candidates here, which
costs nothing and can only help.

Rounds are unrolled: their number is fixed, each level has its own tables, and a round whose frontier is empty works on empty tensors.
Visited nodes are a bitmap [B * N], filled once per call. Candidates are filtered by it and then made distinct with one hash-based
`tf.unique`, whose order of first occurrence makes the walk deterministic; against a mask over the whole bitmap (`tf.where`) it took about
as long at 40,000 items, 5-14 % less at 200,000, and does not grow with N.

Ties: of equal scores the item found first is ahead - by entry point, then round, then rank of the frontier item, then list order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from nann.retrieval.plan import WalkPlan
from nann.retrieval.tables import SearchTables

UserState = tuple[tf.Tensor, ...]
Score = Callable[[UserState, tf.Tensor], tf.Tensor]
NEGATIVE_INFINITY = float("-inf")
WIDTH_STEP = 256


class Found(NamedTuple):
    """Items per user, best first.

    Attributes:
        positions: [B, K] int64 positions, -1 where fewer than K items were found.
        scores: [B, K] float32, -inf there.
        items_scored: [B] int64, distinct items scored.
    """

    positions: tf.Tensor
    scores: tf.Tensor
    items_scored: tf.Tensor


def beam_search(score: Score, user_state: UserState, tables: SearchTables, plan: WalkPlan) -> Found:
    """Walks the graph for B users at once.

    Args:
        score: logits [B, n] of a user state and items [B, n, D] or [1, n, D].
        user_state: tensors with leading axis B.
        tables: of the corpus; its arrays have static shapes.
        plan: of `plan_walk` on the same graph.

    Returns:
        The best `plan.top_k` items scored.
    """
    batch = tf.shape(user_state[0], tf.int64)[0]
    count = tables.item_embs.shape[0]
    entries = tf.convert_to_tensor(tables.enter_points)
    num_entries = entries.shape[0]

    scores = score(user_state, tf.gather(tables.item_embs, entries)[tf.newaxis])
    positions = tf.tile(entries[tf.newaxis], tf.stack([batch, 1]))
    visited = tf.fill([batch * count], False)
    visited = _mark(visited, tf.reshape(_keys(positions, batch, count), [-1]))
    items_scored = tf.fill([batch], tf.constant(num_entries, tf.int64))
    missing = max(0, plan.pool_size - num_entries)
    positions = tf.pad(positions, [[0, 0], [0, missing]], constant_values=-1)
    scores = tf.pad(scores, [[0, 0], [0, missing]], constant_values=NEGATIVE_INFINITY)
    positions, scores, _ = _best(positions, scores, plan.pool_size)

    for level in plan.levels:
        links, row_splits = tables.neighbor_values[level.level], tables.neighbor_row_splits[level.level]
        in_frontier = positions[:, : level.ef] >= 0
        for _ in range(level.rounds):
            keys = _expand(positions[:, : level.ef], in_frontier, links, row_splits, count)
            keys, _ = tf.unique(tf.boolean_mask(keys, tf.logical_not(tf.gather(visited, keys))))
            visited = _mark(visited, keys)
            candidates, num_candidates = _by_user(keys, batch, count)
            items_scored += num_candidates
            real = candidates >= 0
            new_scores = score(user_state, tf.gather(tables.item_embs, tf.maximum(candidates, 0)))
            new_scores = tf.where(real, new_scores, NEGATIVE_INFINITY)
            positions, scores, origin = _best(
                tf.concat([positions, candidates], axis=1), tf.concat([scores, new_scores], axis=1), plan.pool_size
            )
            in_frontier = tf.logical_and(origin[:, : level.ef] >= plan.pool_size, positions[:, : level.ef] >= 0)
    return Found(positions=positions[:, : plan.top_k], scores=scores[:, : plan.top_k], items_scored=items_scored)


def _keys(positions: tf.Tensor, batch: tf.Tensor, count: int) -> tf.Tensor:
    """user * N + position, [B, n] int64: one number per user and item."""
    return tf.range(batch)[:, tf.newaxis] * count + positions


def _mark(visited: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    return tf.tensor_scatter_nd_update(visited, keys[:, tf.newaxis], tf.fill(tf.shape(keys), True))


def _best(positions: tf.Tensor, scores: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The `size` best of [B, n >= size] and the columns they came from; of equal scores the lower column is ahead."""
    scores, origin = tf.math.top_k(scores, size)
    return tf.gather(positions, origin, batch_dims=1), scores, origin


def _expand(positions: tf.Tensor, in_frontier: tf.Tensor, links: tf.Tensor, row_splits: tf.Tensor, count: int) -> tf.Tensor:
    """Keys [total] int64 of all neighbours of the frontier, user by user, repetitions included.

    Args:
        positions: [B, ef] int64.
        in_frontier: [B, ef] bool.
        links: [total links] int32.
        row_splits: [N + 1] int64.
        count: N.
    """
    gathered = tf.raw_ops.RaggedGather(
        params_nested_splits=[tf.convert_to_tensor(row_splits)],
        params_dense_values=tf.convert_to_tensor(links),
        indices=tf.boolean_mask(positions, in_frontier),
        OUTPUT_RAGGED_RANK=1,
    )
    frontier_ends = tf.cumsum(tf.reduce_sum(tf.cast(in_frontier, tf.int64), axis=1))
    user_ends = tf.gather(gathered.output_nested_splits[0], frontier_ends)
    neighbors = tf.cast(gathered.output_dense_values, tf.int64)
    users = tf.searchsorted(user_ends, tf.range(tf.size(neighbors, tf.int64)), side="right", out_type=tf.int64)
    return users * count + neighbors


def _by_user(keys: tf.Tensor, batch: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Distinct keys [total], user by user, as positions [B, n] padded with -1 to a multiple of 256, and their number [B] int64."""
    users = keys // count
    numbers = tf.math.unsorted_segment_sum(tf.ones_like(users), users, batch)
    columns = tf.range(tf.size(keys, tf.int64)) - tf.gather(tf.cumsum(numbers, exclusive=True), users)
    shape = tf.stack([batch, _padded_width(tf.reduce_max(tf.concat([numbers, [0]], axis=0)))])
    shifted = tf.scatter_nd(tf.stack([users, columns], axis=1), keys - users * count + 1, shape)
    return shifted - 1, numbers


def _padded_width(width: tf.Tensor) -> tf.Tensor:
    """The next multiple of 256, [] int64.

    The CPU kernels (oneDNN) build and keep code for every shape they meet: with widths as they come, a call took 1.5 times as long
    (9,500 of 42,000 items scored, one user) and left 5 MB behind, up to the kernels' own limit.
    """
    return (width + WIDTH_STEP - 1) // WIDTH_STEP * WIDTH_STEP
