"""What a walk is made of: four operations on a batch of users, of which there is a stock and a native form with equal results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import tensorflow as tf

from nann.retrieval.filters import Filters, FilterTables, Passing
from ops.packed_table import PackedTable

NEGATIVE_INFINITY = float("-inf")
# The CPU kernels (oneDNN) build and keep code for every shape they meet: with widths as they come, a call took 1.5 times as long
# (9,500 of 42,000 items scored, one user) and left 5 MB behind, up to the kernels' own limit.
WIDTHS = (256,)
# XLA compiles once per shape, which takes a tenth of a second and more: few shapes, the last one for the longest rounds to be expected.
COMPILED_WIDTHS = (256, 512, 1024, 1536, 2048, 3072, 4096)


class Positions(NamedTuple):
    """Positions per user.

    Attributes:
        values: [total] int64, user by user.
        row_splits: [B + 1] int64.
    """

    values: tf.Tensor
    row_splits: tf.Tensor


class Pools(NamedTuple):
    """The best items scored so far, best first: those that pass, and the others, which only lead on; -1 and -inf in empty places.

    Attributes:
        positions: [B, S] int64 of items that pass.
        scores: [B, S] float32.
        other_positions: [B, T] int64 of items that do not.
        other_scores: [B, T] float32.
    """

    positions: tf.Tensor
    scores: tf.Tensor
    other_positions: tf.Tensor
    other_scores: tf.Tensor


class Walk(Protocol):
    """The operations; B users, N items, pools of size S."""

    def start(self, enter_points: tf.Tensor, batch: tf.Tensor, num_items: int) -> tf.Tensor:
        """The record of visited items, with the entry points [P] int64 in it; only `expand` knows its form."""

    def expand(self, visited: tf.Tensor, frontier: Positions, links: tf.Tensor, row_splits: tf.Tensor) -> tuple[tf.Tensor, Positions]:
        """The record after, and the neighbours of each frontier that were not visited: distinct, in the order they are met."""

    def gather(self, item_embs: PackedTable, candidates: Positions) -> tf.Tensor:
        """The vectors [B, W, D] of the candidates; what comes after a user's last candidate has no meaning."""

    def merge(
        self, positions: tf.Tensor, scores: tf.Tensor, candidates: Positions, new_scores: tf.Tensor, ef: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, Positions]:
        """The pool [B, S] with candidates of scores [B, W] merged in, and the candidates that are now among its best `ef`."""

    def passing(self, filters: Filters, tables: FilterTables) -> Passing:
        """Which items pass for each user."""

    def listed(self, mask: tf.Tensor, num_items: int) -> Positions:
        """The positions of a `Passing.mask` of N items, ascending."""

    def merge_filtered(
        self,
        pools: Pools,
        candidates: Positions,
        new_scores: tf.Tensor,
        mask: tf.Tensor,
        num_items: int,
        widths: tuple[tf.Tensor, tf.Tensor],
    ) -> tuple[Pools, Positions]:
        """The pools with candidates of scores [B, W] merged in, and those of the candidates to expand.

        With widths `ef` [] and `others_ef` [B] these are the ones that pass and are now among the best `ef` of their pool, then the ones
        that do not pass, are now among the best `others_ef` of theirs, and score more than the passing item at place `ef`.
        """


def padded_width(width: tf.Tensor, widths: Sequence[int]) -> tf.Tensor:
    """The smallest of some ascending widths that holds `width` [] int64; beyond the last its next multiple; 0 for 0."""
    padded = (width + widths[-1] - 1) // widths[-1] * widths[-1]
    for allowed in reversed(widths[:-1]):
        padded = tf.where(width <= allowed, tf.constant(allowed, tf.int64), padded)
    return tf.where(width > 0, padded, 0)
