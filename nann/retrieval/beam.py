"""Beam retrieval over the graph for a batch of users (NANN, arXiv 2202.10226, section 4 and algorithm 1).

All entry points are scored. Then, per level and round: the neighbours of the frontier, minus those already visited, are scored in one
batch and merged into a pool of the best items scored so far. The first frontier of a level is the pool's best `ef`; every later one
those items of the last round that are among the best `ef`. The answer is the best `top_k` of everything scored.

The pool is one for all levels: where the paper cuts it to the level's `ef`, items scored on a higher level stay candidates here, which
costs nothing and can only help.

The parameters of the search are tensors, so that one graph serves all of them: rounds are a loop with a bound, which ends earlier only
where the frontiers of all users are empty and nothing is left to find.

Where there is a memory (`nann.memory.table`), every score is joined with the user's part of it, and the best items of that part are scored
after the entry points, before the first level.

Ties: of equal scores the item found first is ahead - by entry point, then round, then rank of the frontier item, then list order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from nann.retrieval.memory import Adjustment, as_they_are, best_entries
from nann.retrieval.plan import AS_BUILT, SearchParameters
from nann.retrieval.stock_walk import dense_positions, select
from nann.retrieval.tables import SearchTables
from nann.retrieval.walk import NEGATIVE_INFINITY, Positions, Walk
from ops.scoring import UserMemory

UserState = tuple[tf.Tensor, ...]
Score = Callable[[UserState, tf.Tensor], tf.Tensor]


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


ALWAYS_ALLOWED_RESULTS = 65536


class SearchInputs(NamedTuple):
    """`SearchParameters` as tensors; numbers too small or too large count as the smallest or largest allowed, see `within`.

    Attributes:
        ef: [levels] int64.
        rounds: [levels] int64.
        top_k: [] int64.
        start_level: [] int64.
    """

    ef: tf.Tensor
    rounds: tf.Tensor
    top_k: tf.Tensor
    start_level: tf.Tensor

    @classmethod
    def of(cls, parameters: SearchParameters) -> SearchInputs:
        """Constants."""
        values = (parameters.ef, parameters.rounds, parameters.top_k, parameters.start_level)
        return cls(*(tf.constant(value, tf.int64) for value in values))

    def within(self, num_items: int) -> SearchInputs:
        """The search with sizes that a corpus of N items has memory for: ef 1..N, top_k 1..max(N, 65536).

        A request says how large its pool is. An `ef` above N finds what N finds; `top_k` may exceed a small corpus, empty places are -1.
        """
        top_k = tf.clip_by_value(self.top_k, 1, max(num_items, ALWAYS_ALLOWED_RESULTS))
        return self._replace(ef=tf.clip_by_value(self.ef, 1, max(num_items, 1)), top_k=top_k)


def beam_search(
    score: Score,
    user_state: UserState,
    tables: SearchTables,
    search: SearchInputs,
    walk: Walk,
    *,
    memory: UserMemory | None = None,
    memory_entries: tf.Tensor | int = 0,
) -> Found:
    """Walks the graph for B users at once.

    Args:
        score: logits [B, n] of a user state and items [B, n, D] or [1, n, D].
        user_state: tensors with leading axis B.
        tables: of the corpus; its arrays have static shapes.
        search: the parameters; levels the tables do not have are not walked.
        walk: the operations.
        memory: of these users, joined with every score.
        memory_entries: best items of each user's memory to start from.

    Returns:
        The best `search.top_k` items scored.
    """
    batch = tf.shape(user_state[0], tf.int64)[0]
    num_items = tables.item_embs.values.shape[0]
    search = search.within(num_items)
    ef, top_k = search.ef, search.top_k
    size = tf.stack([batch, tf.maximum(top_k, tf.reduce_max(ef))])
    entries, walked = start(tables, search.start_level)
    num_entries = tf.size(entries, tf.int64)
    # Read once: a variable that is also gathered from directly (ResourceGather) is copied as a whole by every read.
    item_embs = tables.item_embs.read()

    adjust = as_they_are if memory is None else Adjustment(memory)

    def scores_of(candidates: Positions) -> tf.Tensor:
        scores = score(user_state, walk.gather(item_embs, candidates))
        return scores if memory is None else adjust(scores, dense_positions(candidates, tf.shape(scores, tf.int64)[1]))

    visited = walk.start(entries, batch, num_items)
    positions, scores, _ = walk.merge(
        tf.fill(size, tf.constant(-1, tf.int64)),
        tf.fill(size, NEGATIVE_INFINITY),
        Positions(tf.tile(entries, batch[tf.newaxis]), tf.range(batch + 1) * num_entries),
        adjust(score(user_state, item_embs.gather(entries)[tf.newaxis]), entries),
        tf.constant(0, tf.int64),
    )
    items_scored = tf.fill([batch], num_entries)
    if memory is not None:
        # every item its own neighbour: what expands is the entries themselves
        count = tf.shape(item_embs.values, tf.int64)[0]
        themselves = tf.range(tf.cast(count, tf.int32)), tf.range(count + 1)
        visited, candidates = walk.expand(visited, best_entries(memory, tf.cast(memory_entries, tf.int64)), *themselves)
        positions, scores, _ = walk.merge(positions, scores, candidates, scores_of(candidates), tf.constant(0, tf.int64))
        items_scored += candidates.row_splits[1:] - candidates.row_splits[:-1]
    pool = _Pool(visited, positions, scores, items_scored)
    for level in reversed(range(min(len(tables.neighbor_values), search.ef.shape[0]))):
        links = tables.neighbor_values[level], tables.neighbor_row_splits[level]
        rounds = tf.where(walked[level], search.rounds[level], 0)
        pool = _walk_level(pool, links, walk, scores_of, ef=ef[level], rounds=rounds)
    return Found(positions=pool.positions[:, :top_k], scores=pool.scores[:, :top_k], items_scored=pool.items_scored)


class _Pool(NamedTuple):
    """Where a walk is.

    Attributes:
        visited: the record of `Walk`.
        positions: [B, P] int64 of the best items scored so far, best first, -1 where there are fewer.
        scores: [B, P] float32.
        items_scored: [B] int64.
    """

    visited: tf.Tensor
    positions: tf.Tensor
    scores: tf.Tensor
    items_scored: tf.Tensor


def _walk_level(
    pool: _Pool,
    links: tuple[Any, Any],
    walk: Walk,
    scores_of: Callable[[Positions], tf.Tensor],
    *,
    ef: tf.Tensor,
    rounds: tf.Tensor,
) -> _Pool:
    """Walks a level: so many rounds, or until the frontiers of all users are empty.

    Args:
        pool: before.
        links: neighbours of the level and their row splits.
        walk: the operations.
        scores_of: scores [B, n] of candidates.
        ef: [] int64.
        rounds: [] int64.
    """

    def more(number: tf.Tensor, frontier: Positions, _: _Pool) -> tf.Tensor:
        return tf.logical_and(number < rounds, tf.size(frontier.values) > 0)

    def expand(number: tf.Tensor, frontier: Positions, before: _Pool) -> tuple[tf.Tensor, Positions, _Pool]:
        visited, candidates = walk.expand(before.visited, frontier, *links)
        positions, scores, frontier = walk.merge(before.positions, before.scores, candidates, scores_of(candidates), ef)
        items_scored = before.items_scored + (candidates.row_splits[1:] - candidates.row_splits[:-1])
        return number + 1, frontier, _Pool(visited, positions, scores, items_scored)

    best = pool.positions[:, :ef]
    vector, matrix = tf.TensorShape([None]), tf.TensorShape([None, None])
    shapes = (
        tf.TensorShape([]),
        Positions(vector, vector),
        _Pool(tf.TensorShape([None] * pool.visited.shape.rank), matrix, matrix, vector),
    )
    state = (tf.constant(0, tf.int64), select(best, best >= 0), pool)
    after: _Pool
    _, _, after = tf.while_loop(more, expand, state, shape_invariants=shapes, parallel_iterations=1)
    return after


def start(tables: SearchTables, start_level: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Entry points [P] int64, and [levels] bool: the levels to walk. See `nann.retrieval.plan.plan_walk`."""
    levels = tf.convert_to_tensor(tables.enter_levels)
    useful = tf.convert_to_tensor(tables.useful_levels)
    as_built = tf.equal(start_level, AS_BUILT)
    first = tf.minimum(start_level, tf.reduce_max(levels))
    chosen = tf.where(as_built, tf.convert_to_tensor(tables.enter_as_built), levels >= first)
    walked = tf.where(as_built, useful, tf.range(tf.size(useful, tf.int64)) < first)
    return tf.boolean_mask(tf.convert_to_tensor(tables.enter_points), chosen), walked
