"""Scorers written the plain way, on rows of (user, item); sample-aware compression gives them the speed of the others."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from nann.models.scorer import Scorer, UserState
from ops import graph_optimizer

ITEMS_PER_USER = 100  # at least so many candidates has a training sample, a request many more


class RowScorer(Scorer):
    """A scorer that defines `score_rows` alone, a function of rows in which a user stands once per item.

    Training and export put that function through `ops.graph_optimizer.compressed`: what depends on the user alone is computed once per
    user, for its target and all its negatives in training, and once per request in serving; gradients are those on repeated rows.

    The training step is not compiled: XLA works the sizes inside out by folding whole products of constants, which takes minutes.
    """

    compiles = False

    def __init__(self, *, num_items: int, num_categories: int, emb_dim: int, seed: int, name: str = "row_scorer") -> None:
        super().__init__(num_items=num_items, num_categories=num_categories, emb_dim=emb_dim, seed=seed, name=name)
        self._compressed: dict[bool, Callable[..., Any]] = {}

    @abc.abstractmethod
    def score_rows(self, sequence: tf.Tensor, mask: tf.Tensor, items: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits [R] of sequences [R, L, E], their masks [R, L] and item vectors [R, D]; row r is one user with one item."""

    def encode_user(self, sequence: tf.Tensor, mask: tf.Tensor) -> UserState:
        """The sequence and its mask as they are: what is the user's is found in `score_rows`."""
        return sequence, mask

    def score(self, user_state: UserState, items: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits [B, n] of items [B, n, D] or [1, n, D], by `score_rows` on B users with n items each."""
        sequence, mask = user_state
        users, per_user = tf.shape(sequence)[0], tf.shape(items)[1]
        rows = tf.reshape(tf.broadcast_to(items, tf.stack([users, per_user, self.item_dim])), [-1, self.item_dim])
        logits = self._rows(training)(sequence, mask, rows, per_user)
        return tf.ensure_shape(tf.reshape(logits, tf.stack([users, per_user])), [sequence.shape[0], items.shape[1]])

    def _rows(self, training: bool) -> Callable[..., tf.Tensor]:
        if training not in self._compressed:

            def declared(sequence: tf.Tensor, mask: tf.Tensor, items: tf.Tensor, per_user: tf.Tensor) -> tf.Tensor:
                graph_optimizer.enable_sample_awared_graph_compression(
                    [sequence, mask], [items], per_user, min_items_per_user=ITEMS_PER_USER
                )
                return self.score_rows(sequence, mask, items, training)

            self._compressed[training] = graph_optimizer.compressed(declared, autograph=False)
        return self._compressed[training]
