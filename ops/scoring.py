"""Native retrieval with a scorer given as a program (`ops.scoring_program`); `ops/cc/scoring_ops.cc` has the documentation. CPU only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ops import native


def available() -> bool:
    """Whether the native library is built, of these sources, and loads."""
    return hasattr(native.load_library(), "nann_beam_search")


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
        name: of the op.

    Returns:
        Positions [B, K] int64, -1 where fewer than K items were found; scores [B, K] float32, -inf there; items scored [B] int64; and
        [2] int64, microseconds spent walking and scoring, of all threads together.

    Raises:
        RuntimeError: the native library is not there.
        tf.errors.InvalidArgumentError: shapes or ids do not fit; the message names them.
    """
    with tf.device("/CPU:0"):
        positions, scores, items_scored, microseconds = _library().nann_beam_search(
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
        )
    return positions, scores, items_scored, microseconds


def scan_items(
    *, program: str, parameters: Sequence[tf.Tensor], batch: tf.Tensor, top_k: tf.Tensor, item_embs: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The best of all items for B users; what does not depend on the user is computed once per item.

    Args:
        program: of `ops.scoring_program.lower_scorer`.
        parameters: its parameters.
        batch: [] int64, B.
        top_k: [] int64, K.
        item_embs: [N, D] float32, N >= 1.

    Returns:
        Positions [B, K] int64, -1 where there are fewer than K items, and scores [B, K] float32, -inf there. Of equal scores the lower
        position is ahead.

    Raises:
        RuntimeError: the native library is not there.
        tf.errors.InvalidArgumentError: shapes do not fit; the message names them.
    """
    with tf.device("/CPU:0"):
        positions, scores = _library().nann_scan_items(
            batch=batch, top_k=top_k, item_embs=item_embs, parameters=list(parameters), program=program
        )
    return positions, scores
