"""The scorer `two-sided`: classic embedding retrieval."""

from __future__ import annotations

import tensorflow as tf

from nann.dataset.inputs import Features
from nann.models.history_layers import PooledInterest, inner_product
from nann.models.scorer import Scorer, UserState


class TwoSidedScorer(Scorer):
    """Inner product of a user vector and the item vector: classic embedding retrieval."""

    def __init__(self, *, num_items: int, num_categories: int, emb_dim: int, seed: int, features: Features | None = None) -> None:
        super().__init__(
            num_items=num_items, num_categories=num_categories, emb_dim=emb_dim, seed=seed, name="two_sided", features=features
        )
        self.interest = PooledInterest(self.parts, self.item_dim, self.seeds)

    def encode_user(self, sequence: tf.Tensor, mask: tf.Tensor) -> UserState:
        """One user vector [B, D]."""
        return (self.interest(sequence, mask),)

    def score(self, user_state: UserState, items: tf.Tensor, training: bool = False) -> tf.Tensor:
        """<u, e_v>."""
        return inner_product(user_state[0], items)
