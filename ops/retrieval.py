"""The ops of the walk of beam retrieval (`ops/cc/retrieval_ops.cc` has their documentation), CPU only.

Unlike the other native ops they have no stock form here: `nann.retrieval.stock_walk` is that form, one level up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ops import native
from ops.packed_table import PackedTable


def available() -> bool:
    """Whether the native library is built and loads."""
    return native.load_library() is not None


def _library() -> Any:
    library = native.load_library()
    if library is None:
        raise RuntimeError("the native library is not there; run `make install`, or use the stock form of the walk")
    return library


def start_walk(enter_points: tf.Tensor, batch: tf.Tensor, num_items: int) -> tf.Tensor:
    """Bitmaps of visited items, uint8 [B, ceil(N / 8)], with the entry points marked.

    Args:
        enter_points: [P] int64 positions in 0..num_items - 1.
        batch: [] int64, B.
        num_items: N.

    Raises:
        RuntimeError: the native library is not there.
    """
    with tf.device("/CPU:0"):
        return _library().nann_start_walk(enter_points=enter_points, batch=batch, num_items=num_items)


def expand_frontier(
    visited: tf.Tensor, frontier: tf.Tensor, frontier_splits: tf.Tensor, neighbor_values: tf.Tensor, neighbor_row_splits: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The bitmaps after, and the neighbours of each frontier that were not visited, [C] int64 with row splits [B + 1] int64.

    Args:
        visited: [B, ceil(N / 8)] uint8.
        frontier: [F] int64 positions, user by user.
        frontier_splits: [B + 1] int64.
        neighbor_values: [links] int32 positions.
        neighbor_row_splits: [N + 1] int64.

    Raises:
        RuntimeError: the native library is not there.
        tf.errors.InvalidArgumentError: an id lies outside its table; the message names it.
    """
    with tf.device("/CPU:0"):
        after, candidates, splits = _library().nann_expand_frontier(
            visited=visited,
            frontier=frontier,
            frontier_splits=frontier_splits,
            neighbor_values=neighbor_values,
            neighbor_row_splits=neighbor_row_splits,
        )
    return after, candidates, splits


def gather_candidates(item_embs: PackedTable, candidates: tf.Tensor, candidate_splits: tf.Tensor, widths: Sequence[int]) -> tf.Tensor:
    """The vectors of each user's candidates, [B, W, D] float32, zeros after the last.

    Args:
        item_embs: [N, D].
        candidates: [C] int64 positions, user by user.
        candidate_splits: [B + 1] int64.
        widths: ascending; W is the smallest that holds the longest list, beyond the last the next multiple of it.

    Raises:
        RuntimeError: the native library is not there.
    """
    with tf.device("/CPU:0"):
        return _library().nann_gather_candidates(
            item_embs=item_embs.values,
            scales=tf.zeros([0]) if item_embs.scales is None else item_embs.scales,
            candidates=candidates,
            candidate_splits=candidate_splits,
            widths=list(widths),
        )


def merge_top_ef(
    pool_positions: tf.Tensor,
    pool_scores: tf.Tensor,
    candidates: tf.Tensor,
    candidate_splits: tf.Tensor,
    scores: tf.Tensor,
    ef: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The pools after, [B, S] int64 and float32, and the next frontier, [F] int64 with row splits [B + 1] int64.

    Args:
        pool_positions: [B, S] int64, best first, -1 in empty places.
        pool_scores: [B, S] float32, -inf there.
        candidates: [C] int64 positions, user by user.
        candidate_splits: [B + 1] int64.
        scores: [B, W] float32 of the candidates, W at least the longest list.
        ef: [] int64.

    Raises:
        RuntimeError: the native library is not there.
    """
    with tf.device("/CPU:0"):
        positions, merged, frontier, splits = _library().nann_merge_top_ef(
            pool_positions=pool_positions,
            pool_scores=pool_scores,
            candidates=candidates,
            candidate_splits=candidate_splits,
            scores=scores,
            ef=ef,
        )
    return positions, merged, frontier, splits


def filter_items(
    excluded: tf.Tensor, categories: tf.Tensor, available: tf.Tensor, category_items: tf.Tensor, category_row_splits: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Bitmaps of the items that pass for each user, uint8 [B, ceil(N / 8)], and how many do, [B] int64.

    Args:
        excluded: [B, E] int64 positions; what is no position excludes nothing.
        categories: [B, C] int64 category rows of which one has to be the item's; 0 is none, without any all items pass.
        available: [N] bool, false for what passes for nobody.
        category_items: [N] int32 positions, category by category.
        category_row_splits: [categories + 2] int64, the lists of category 0, 1, ...

    Raises:
        RuntimeError: the native library is not there.
        tf.errors.InvalidArgumentError: shapes or positions do not fit; the message names them.
    """
    with tf.device("/CPU:0"):
        passing, counts = _library().nann_filter_items(
            excluded=excluded,
            categories=categories,
            available=available,
            category_items=category_items,
            category_row_splits=category_row_splits,
        )
    return passing, counts


def list_items(passing: tf.Tensor, num_items: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The positions in bitmaps [B, ceil(N / 8)] uint8, [I] int64 ascending for each user, with row splits [B + 1] int64.

    Raises:
        RuntimeError: the native library is not there.
    """
    with tf.device("/CPU:0"):
        items, splits = _library().nann_list_items(passing=passing, num_items=num_items)
    return items, splits


def merge_filtered(
    pools: Sequence[tf.Tensor],
    candidates: tf.Tensor,
    candidate_splits: tf.Tensor,
    scores: tf.Tensor,
    passing: tf.Tensor,
    num_items: int,
    ef: tf.Tensor,
    others_ef: tf.Tensor,
) -> tuple[tuple[tf.Tensor, ...], tf.Tensor, tf.Tensor]:
    """The pools after, and the next frontier, [F] int64 with row splits [B + 1] int64.

    Args:
        pools: positions [B, S] int64 and scores [B, S] float32 of items that pass, positions [B, T] and scores [B, T] of the others; best
            first, -1 and -inf in empty places.
        candidates: [C] int64 positions, user by user.
        candidate_splits: [B + 1] int64.
        scores: [B, W] float32 of the candidates, W at least the longest list.
        passing: [B, ceil(N / 8)] uint8 bitmaps of `filter_items`.
        num_items: N.
        ef: [] int64, at least 1: the frontier has candidates that are now among so many passing ones.
        others_ef: [B] int64: and those that are now among so many others, and score more than the passing item at place ``ef``.

    Raises:
        RuntimeError: the native library is not there.
    """
    with tf.device("/CPU:0"):
        *merged, frontier, splits = _library().nann_merge_filtered(
            pool_positions=pools[0],
            pool_scores=pools[1],
            other_positions=pools[2],
            other_scores=pools[3],
            candidates=candidates,
            candidate_splits=candidate_splits,
            scores=scores,
            passing=passing,
            num_items=num_items,
            ef=ef,
            others_ef=others_ef,
        )
    return tuple(merged), frontier, splits
