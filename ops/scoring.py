"""Native retrieval with a scorer given as a program (`ops.scoring_program`); `ops/cc/scoring_ops.cc` has the documentation. CPU only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from ops import native


class UserMemory(NamedTuple):
    """What stands beside a scorer's logit s: the score of item v for user u is ``item_scale[v] * s(u, v) + item_prior[v] + M_u(v)``.

    Attributes:
        row_splits: [B + 1] int64: user b owns the entries ``row_splits[b]`` up to ``row_splits[b + 1]``.
        positions: [M] int64 in 0..N - 1, distinct within a user, best first. M may be 0.
        values: [M] float32, M_u at these positions; elsewhere it is 0.
        item_scale: [N] float32.
        item_prior: [N] float32.
    """

    row_splits: tf.Tensor
    positions: tf.Tensor
    values: tf.Tensor
    item_scale: tf.Tensor
    item_prior: tf.Tensor

    def inputs(self) -> dict[str, tf.Tensor]:
        """The inputs of the native ops, by name."""
        return {
            "memory_row_splits": self.row_splits,
            "memory_positions": self.positions,
            "memory_values": self.values,
            "item_scale": self.item_scale,
            "item_prior": self.item_prior,
        }


def available() -> bool:
    """Whether the native library is built, of these sources, and loads."""
    return hasattr(native.load_library(), "nann_filtered_search")


def _library() -> Any:
    library = native.load_library()
    if library is None:
        raise RuntimeError("the native library is not there; run `make install`, or score with the scorer's own ops")
    return library


def beam_search(
    *,
    program: str,
    parameters: Sequence[tf.Tensor],
    batch: tf.Tensor,
    top_k: tf.Tensor,
    ef: tf.Tensor,
    rounds: tf.Tensor,
    enter_points: tf.Tensor,
    item_embs: tf.Tensor,
    neighbor_values: Sequence[tf.Tensor],
    neighbor_row_splits: Sequence[tf.Tensor],
    memory: UserMemory | None = None,
    memory_entries: tf.Tensor | int = 0,
    name: str | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The whole walk for B users in one op.

    Args:
        program: of `ops.scoring_program.lower_scorer`.
        parameters: its parameters, float32 [R, k, n], [R, n, k] or [R, w], R being B or 1.
        batch: [] int64, B.
        top_k: [] int64, K.
        ef: [L] int64 per level from level 0 up, at least 1.
        rounds: [L] int64 per level.
        enter_points: [P] int64 positions.
        item_embs: [N, D] float32.
        neighbor_values: per level, [links] int32 positions.
        neighbor_row_splits: per level, [N + 1] int64.
        memory: the users' memories; scores, and the order of the walk, are then those of `UserMemory`.
        memory_entries: [] int64, at least 0: after the entry points those of each user's first entries, as many as this, that are no entry
            points are scored, before the top level is walked.
        name: of the op.

    Returns:
        Positions [B, K] int64, -1 where fewer than K items were found; scores [B, K] float32, -inf there; items scored [B] int64; and
        [2] int64, microseconds spent walking and scoring, of all threads together.

    Raises:
        RuntimeError: the native library is not there.
        ValueError: there are memory entries to score, but no memory.
        tf.errors.InvalidArgumentError: shapes or ids do not fit; the message names them.
    """
    beside: dict[str, Any] = {}
    if memory is not None:
        beside = memory.inputs() | {"memory_entries": tf.cast(memory_entries, tf.int64)}
    elif not isinstance(memory_entries, int) or memory_entries != 0:
        raise ValueError(f"memory_entries needs a memory, got {memory_entries} and none; give memory as well")
    library = _library()
    search = library.nann_beam_search if memory is None else library.nann_beam_search_memory
    with tf.device("/CPU:0"):
        positions, scores, items_scored, microseconds = search(
            batch=batch,
            top_k=top_k,
            ef=ef,
            rounds=rounds,
            enter_points=enter_points,
            item_embs=item_embs,
            neighbor_values=list(neighbor_values),
            neighbor_row_splits=list(neighbor_row_splits),
            parameters=list(parameters),
            program=program,
            name=name,
            **beside,
        )
    return positions, scores, items_scored, microseconds


class ItemFilter(NamedTuple):
    """Which items may be returned, and what is added to their scores.

    Attributes:
        passing: [B, ceil(N / 8)] uint8 bitmaps of `ops.retrieval.filter_items`.
        prior: [N] float32, added to the scores.
        exact_limit: [] int64: users for whom no more items pass are answered by scoring all that do.
    """

    passing: tf.Tensor
    prior: tf.Tensor
    exact_limit: tf.Tensor


def filtered_search(
    *,
    program: str,
    parameters: Sequence[tf.Tensor],
    batch: tf.Tensor,
    top_k: tf.Tensor,
    ef: tf.Tensor,
    rounds: tf.Tensor,
    enter_points: tf.Tensor,
    item_embs: tf.Tensor,
    neighbor_values: Sequence[tf.Tensor],
    neighbor_row_splits: Sequence[tf.Tensor],
    item_filter: ItemFilter,
    memory: UserMemory | None = None,
    memory_entries: tf.Tensor | int = 0,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """`beam_search` for items that pass a filter: a walk, or where few pass or it found too few, all of these scored.

    Args:
        program: as all others but `item_filter` see `beam_search`.
        parameters: see there.
        batch: see there.
        top_k: see there.
        ef: see there.
        rounds: see there.
        enter_points: see there.
        item_embs: see there.
        neighbor_values: see there.
        neighbor_row_splits: see there.
        item_filter: which items pass.
        memory: see there.
        memory_entries: see there.

    Returns:
        As `beam_search`; items scored count twice where all were scored after a walk.

    Raises:
        RuntimeError: the native library is not there.
        tf.errors.InvalidArgumentError: shapes or ids do not fit; the message names them.
    """
    nothing = UserMemory(tf.zeros([0], tf.int64), tf.zeros([0], tf.int64), *(tf.zeros([0]) for _ in range(3)))
    with tf.device("/CPU:0"):
        positions, scores, items_scored, microseconds = _library().nann_filtered_search(
            batch=batch,
            top_k=top_k,
            ef=ef,
            rounds=rounds,
            enter_points=enter_points,
            item_embs=item_embs,
            neighbor_values=list(neighbor_values),
            neighbor_row_splits=list(neighbor_row_splits),
            parameters=list(parameters),
            program=program,
            **(memory or nothing).inputs(),
            memory_entries=tf.cast(memory_entries, tf.int64),
            with_memory=memory is not None,
            **item_filter._asdict(),
        )
    return positions, scores, items_scored, microseconds


def scan_items(
    *,
    program: str,
    parameters: Sequence[tf.Tensor],
    batch: tf.Tensor,
    top_k: tf.Tensor,
    item_embs: tf.Tensor,
    memory: UserMemory | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The best of all items for B users; what does not depend on the user is computed once per item.

    Args:
        program: of `ops.scoring_program.lower_scorer`.
        parameters: its parameters.
        batch: [] int64, B.
        top_k: [] int64, K.
        item_embs: [N, D] float32, N >= 1.
        memory: the users' memories; scores are then those of `UserMemory`.

    Returns:
        Positions [B, K] int64, -1 where there are fewer than K items, and scores [B, K] float32, -inf there. Of equal scores the lower
        position is ahead.

    Raises:
        RuntimeError: the native library is not there.
        tf.errors.InvalidArgumentError: shapes do not fit; the message names them.
    """
    library = _library()
    scan = library.nann_scan_items if memory is None else library.nann_scan_items_memory
    beside = {} if memory is None else memory.inputs()
    with tf.device("/CPU:0"):
        positions, scores = scan(batch=batch, top_k=top_k, item_embs=item_embs, parameters=list(parameters), program=program, **beside)
    return positions, scores


def pair_memory(
    *,
    item_sources: tf.Tensor,
    category_sources: tf.Tensor,
    item_positions: tf.Tensor,
    table_row_splits: tf.Tensor,
    table_positions: tf.Tensor,
    table_values: tf.Tensor,
    decay: tf.Tensor,
    rule_scale: tf.Tensor,
    category_weight: tf.Tensor,
    category_scale: tf.Tensor,
    category_gain: tf.Tensor,
    own: tf.Tensor,
    gain: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Which items the histories of B users lead to by a table of pairs, with what to add to their scores.

    A place of a history has the weight ``w = decay ** age`` over the sum of these, its age being the number of present places after it.
    ``r[p]`` is the sum of w times the table's values at p in the rows of the places' items, and of ``category_weight`` w times those in the
    rows of their categories; ``k[p]`` is the mean over the places of the latter values. The memory of p is
    ``gain[p] * log1p(rule_scale * r[p]) + category_gain * log1p(category_scale * k[p])`` where one of these rows names p, plus
    ``own[min(age, R - 1)]`` where p is itself in the history, by the age of its newest place.

    Args:
        item_sources: [B, W] int64, oldest first: row 1..S - 1 of the table for each history item; 0 where nothing stands, anywhere.
        category_sources: [B, W] int64: row of the table for its category, 0 for none.
        item_positions: [B, W] int64: position 0..N - 1 of the history item, -1 where it is not in the corpus.
        table_row_splits: [S + 1] int64; row 0 is never read.
        table_positions: [T] int32 in 0..N - 1.
        table_values: [T] float32.
        decay: [] float32, above 0 and at most 1.
        rule_scale, category_weight, category_scale: [] float32, at least 0.
        category_gain: [] float32.
        own: [R] float32, R at least 1.
        gain: [N] float32.

    Returns:
        Row splits [B + 1] int64, positions [M] int64 and values [M] float32, as `UserMemory` has them; within a user best first, of equal
        values the lower position first. A user without a history has no entries.

    Raises:
        RuntimeError: the native library is not there.
        tf.errors.InvalidArgumentError: something is out of range, or a value of the memory is not finite; the message names it.
    """
    with tf.device("/CPU:0"):
        row_splits, positions, values = _library().nann_pair_and_category_memory(
            item_sources=item_sources,
            category_sources=category_sources,
            item_positions=item_positions,
            table_row_splits=table_row_splits,
            table_positions=table_positions,
            table_values=table_values,
            decay=decay,
            rule_scale=rule_scale,
            category_weight=category_weight,
            category_scale=category_scale,
            category_gain=category_gain,
            own=own,
            gain=gain,
        )
    return row_splits, positions, values
