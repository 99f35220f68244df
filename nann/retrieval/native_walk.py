"""The walk's operations with the native ops: a bit per item instead of a byte, users in parallel, no sorting of whole rounds."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from nann.retrieval.filters import Filters, FilterTables, Passing
from nann.retrieval.walk import WIDTHS, Pools, Positions
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

    def passing(self, filters: Filters, tables: FilterTables) -> Passing:
        """The mask is [B, ceil(N / 8)] uint8, a bit per item."""
        lists = tf.convert_to_tensor(tables.category_items), tf.convert_to_tensor(tables.category_row_splits)
        return Passing(*retrieval.filter_items(filters.excluded, filters.categories, tf.convert_to_tensor(tables.available), *lists))

    def listed(self, mask: tf.Tensor, num_items: int) -> Positions:
        """See `Walk.listed`."""
        return Positions(*retrieval.list_items(mask, num_items))

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
        merged, values, splits = retrieval.merge_filtered(
            pools, candidates.values, candidates.row_splits, new_scores, mask, num_items, *widths
        )
        return Pools(*merged), Positions(values, splits)
