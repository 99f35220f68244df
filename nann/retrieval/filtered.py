"""Beam retrieval of items that pass a filter, by the operations of a walk.

The walk is that of `nann.retrieval.beam` with two pools. Items that pass compete for the answer; the others only lead on: they are expanded
while they score more than the passing item at place `ef`, at most `others_ef` of them at a time. Where everything passes the walk is the
same as without a filter, item by item. A user for whom few items pass is answered by scoring all of these, and so is one whose walk found
fewer than there are: the answer has K items where K exist.

Ties: in a walk those of `beam_search`, in a scan the lower position is ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from nann.retrieval.beam import Found, Score, SearchInputs, UserState, start
from nann.retrieval.filters import Passing, others_ef
from nann.retrieval.memory import Adjustment, as_they_are, best_entries
from nann.retrieval.stock_walk import dense_positions, leading
from nann.retrieval.tables import SearchTables
from nann.retrieval.walk import NEGATIVE_INFINITY, Pools, Positions, Walk
from ops.scoring import UserMemory


class SearchedUsers(NamedTuple):
    """Some users to search for.

    Attributes:
        user_state: tensors with leading axis B.
        passing: which items pass for each.
        memory: of these users, joined with every score; None: none.
    """

    user_state: UserState
    passing: Passing
    memory: UserMemory | None


def filtered_search(
    score: Score,
    users_of: Callable[[tf.Tensor], SearchedUsers],
    passing: Passing,
    tables: SearchTables,
    prior: tf.Tensor,
    search: SearchInputs,
    walk: Walk,
    *,
    exact_limit: tf.Tensor,
    memory_entries: tf.Tensor | int = 0,
) -> Found:
    """Finds the best passing items of B users, each by a walk or by a scan.

    Args:
        score: logits [B, n] of a user state and items [B, n, D] or [1, n, D].
        users_of: some of the users by their numbers [U] int64.
        passing: which items pass for each of all.
        tables: of the corpus.
        prior: [N] float32, added to the scores.
        search: the parameters.
        walk: the operations.
        exact_limit: [] int64: users for whom no more items pass are answered by scanning these.
        memory_entries: best items of each user's memory to start from.

    Returns:
        The best `search.top_k` items that pass; distinct items scored, counted twice where a walk was followed by a scan.
    """
    num_items = tables.item_embs.values.shape[0]
    search = search.within(num_items)
    scanned = passing.counts <= exact_limit
    walking = tf.where(tf.logical_not(scanned))[:, 0]
    users = users_of(walking)
    found = _filtered_walk(score, users, tables, prior, search, walk, memory_entries=memory_entries)
    places = tf.math.count_nonzero(found.positions >= 0, axis=1, dtype=tf.int64)
    short = tf.boolean_mask(walking, places < tf.minimum(users.passing.counts, search.top_k))
    scanning = tf.concat([tf.where(scanned)[:, 0], short], axis=0)
    exact = _filtered_scan(score, users_of(scanning), tables, prior, search.top_k, walk)
    shape = tf.stack([tf.size(passing.counts, tf.int64), search.top_k])

    def joined(empty: tf.Tensor, of_walk: tf.Tensor, of_scan: tf.Tensor) -> tf.Tensor:
        first = tf.tensor_scatter_nd_update(empty, walking[:, tf.newaxis], of_walk)
        return tf.tensor_scatter_nd_update(first, scanning[:, tf.newaxis], of_scan)

    size = tf.shape(passing.counts, tf.int64)
    walked = tf.scatter_nd(walking[:, tf.newaxis], found.items_scored, size)
    return Found(
        positions=joined(tf.fill(shape, tf.constant(-1, tf.int64)), found.positions, exact.positions),
        scores=joined(tf.fill(shape, NEGATIVE_INFINITY), found.scores, exact.scores),
        items_scored=walked + tf.scatter_nd(scanning[:, tf.newaxis], exact.items_scored, size),
    )


def _scores_of(score: Score, users: SearchedUsers, tables: SearchTables, prior: tf.Tensor, walk: Walk) -> Callable[[Positions], tf.Tensor]:
    """Scores [B, W] of candidates, joined with the memory and the prior."""
    item_embs = tables.item_embs.read()
    adjust = as_they_are if users.memory is None else Adjustment(users.memory)

    def scores_of(candidates: Positions) -> tf.Tensor:
        scores = score(users.user_state, walk.gather(item_embs, candidates))
        positions = dense_positions(candidates, tf.shape(scores, tf.int64)[1])
        return adjust(scores, positions) + tf.gather(prior, positions)

    return scores_of


def _filtered_walk(
    score: Score,
    users: SearchedUsers,
    tables: SearchTables,
    prior: tf.Tensor,
    search: SearchInputs,
    walk: Walk,
    *,
    memory_entries: tf.Tensor | int,
) -> Found:
    """Walks the graph, see the module."""
    num_items, (mask, counts) = tables.item_embs.values.shape[0], users.passing
    batch, ef, top_k = tf.size(counts, tf.int64), search.ef, search.top_k
    scores_of = _scores_of(score, users, tables, prior, walk)
    entries, walked = start(tables, search.start_level)
    num_entries = tf.size(entries, tf.int64)
    levels = min(len(tables.neighbor_values), ef.shape[0])
    others = [others_ef(ef[level], counts, num_items) for level in range(levels)]
    # of both pools, at least the one place that is read
    sizes = [tf.maximum(top_k, tf.reduce_max(ef)), tf.reduce_max(tf.concat([*others, [1]], axis=0))]
    pools = Pools(
        *(
            tf.fill(tf.stack([batch, size]), value)
            for size in sizes
            for value in (tf.constant(-1, tf.int64), tf.constant(NEGATIVE_INFINITY))
        )
    )
    visited = walk.start(entries, batch, num_items)
    first = Positions(tf.tile(entries, batch[tf.newaxis]), tf.range(batch + 1) * num_entries)
    nothing = tf.zeros_like(counts)
    shared = score(users.user_state, tables.item_embs.read().gather(entries)[tf.newaxis])
    adjusted = shared if users.memory is None else Adjustment(users.memory)(shared, entries)
    pools, _ = walk.merge_filtered(pools, first, adjusted + tf.gather(prior, entries), mask, num_items, (ef[0], nothing))
    items_scored = tf.fill([batch], num_entries)
    if users.memory is not None:
        themselves = tf.range(num_items, dtype=tf.int32), tf.range(num_items + 1, dtype=tf.int64)
        visited, candidates = walk.expand(visited, best_entries(users.memory, tf.cast(memory_entries, tf.int64)), *themselves)
        pools, _ = walk.merge_filtered(pools, candidates, scores_of(candidates), mask, num_items, (ef[0], nothing))
        items_scored += candidates.row_splits[1:] - candidates.row_splits[:-1]
    for level in reversed(range(levels)):
        links = tables.neighbor_values[level], tables.neighbor_row_splits[level]
        rounds = tf.where(walked[level], search.rounds[level], 0)

        def more(number: tf.Tensor, frontier: Positions, *_: tf.Tensor, rounds: tf.Tensor = rounds) -> tf.Tensor:
            return tf.logical_and(number < rounds, tf.size(frontier.values) > 0)

        def expand(
            number: tf.Tensor,
            frontier: Positions,
            visited: tf.Tensor,
            pools: Pools,
            items_scored: tf.Tensor,
            *,
            links: tuple[tf.Tensor, tf.Tensor] = links,
            widths: tuple[tf.Tensor, tf.Tensor] = (ef[level], others[level]),
        ) -> tuple[tf.Tensor, Positions, tf.Tensor, Pools, tf.Tensor]:
            visited, candidates = walk.expand(visited, frontier, *links)
            pools, frontier = walk.merge_filtered(pools, candidates, scores_of(candidates), mask, num_items, widths)
            return number + 1, frontier, visited, pools, items_scored + (candidates.row_splits[1:] - candidates.row_splits[:-1])

        vector, matrix = tf.TensorShape([None]), tf.TensorShape([None, None])
        state = (tf.constant(0, tf.int64), leading(pools, ef[level], others[level]), visited, pools, items_scored)
        record = tf.TensorShape([None] * visited.shape.rank)
        shapes = (tf.TensorShape([]), Positions(vector, vector), record, Pools(*[matrix] * 4), vector)
        _, _, visited, pools, items_scored = tf.while_loop(more, expand, state, shape_invariants=shapes, parallel_iterations=1)
    return Found(positions=pools.positions[:, :top_k], scores=pools.scores[:, :top_k], items_scored=items_scored)


def _filtered_scan(
    score: Score, users: SearchedUsers, tables: SearchTables, prior: tf.Tensor, top_k: tf.Tensor, walk: Walk, *, block: int = 4096
) -> Found:
    """Scores every passing item of each user, in blocks."""
    listed = walk.listed(users.passing.mask, tables.item_embs.values.shape[0])
    begins, ends = listed.row_splits[:-1, tf.newaxis], listed.row_splits[1:, tf.newaxis]
    lengths = (ends - begins)[:, 0]
    longest = tf.reduce_max(tf.concat([lengths, [0]], axis=0))
    scores_of = _scores_of(score, users, tables, prior, walk)
    shape = tf.stack([tf.size(lengths, tf.int64), top_k])

    def scan(first: tf.Tensor, positions: tf.Tensor, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        places = begins + first + tf.range(tf.minimum(longest - first, block))
        there = places < ends
        sizes = tf.concat([[0], tf.cumsum(tf.math.count_nonzero(there, axis=1, dtype=tf.int64))], axis=0)
        candidates = Positions(tf.gather(listed.values, tf.boolean_mask(places, there)), sizes)
        positions, scores, _ = walk.merge(positions, scores, candidates, scores_of(candidates), tf.constant(0, tf.int64))
        return first + block, positions, scores

    state = (tf.constant(0, tf.int64), tf.fill(shape, tf.constant(-1, tf.int64)), tf.fill(shape, tf.constant(NEGATIVE_INFINITY)))
    matrix = tf.TensorShape([None, None])
    shapes = (tf.TensorShape([]), matrix, matrix)
    _, positions, scores = tf.while_loop(lambda first, *_: first < longest, scan, state, shape_invariants=shapes, parallel_iterations=1)
    return Found(positions=positions, scores=scores, items_scored=lengths)
