"""The walk's operations with the native ops: a bit per item instead of a byte, users in parallel, no sorting of whole rounds."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from nann.retrieval.walk import WIDTHS, Positions
from ops import retrieval
from ops.packed_table import PackedTable


class NativeWalk:
    """See `nann.retrieval.walk.Walk`.

    Args:
        widths: candidates are scored in blocks of these widths, see `padded_width`.

    Raises:
        RuntimeError: on the first call, if the native library is not there.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        self._widths = tuple(widths)

    def start(self, enter_points: tf.Tensor, batch: tf.Tensor, num_items: int) -> tf.Tensor:
        """[B, ceil(N / 8)] uint8."""
        return retrieval.start_walk(enter_points, batch, num_items)

    def expand(self, visited: tf.Tensor, frontier: Positions, links: tf.Tensor, row_splits: tf.Tensor) -> tuple[tf.Tensor, Positions]:
        """See `Walk.expand`; links [total] int32, row splits [N + 1] int64."""
        after, values, splits = retrieval.expand_frontier(visited, frontier.values, frontier.row_splits, links, row_splits)
        return after, Positions(values, splits)

    def gather(self, item_embs: PackedTable, candidates: Positions) -> tf.Tensor:
        """See `Walk.gather`; zeros after the last candidate."""
        return retrieval.gather_candidates(item_embs, candidates.values, candidates.row_splits, self._widths)

    def merge(
        self, positions: tf.Tensor, scores: tf.Tensor, candidates: Positions, new_scores: tf.Tensor, ef: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, Positions]:
        """See `Walk.merge`."""
        positions, scores, values, splits = retrieval.merge_top_ef(
            positions, scores, candidates.values, candidates.row_splits, new_scores, ef
        )
        return positions, scores, Positions(values, splits)
