"""The scorer `nann-pool`: a network over the pooled history and the item vector."""

from __future__ import annotations

import tensorflow as tf

from nann.dataset.inputs import Features
from nann.models.history_layers import PooledInterest, inner_product
from nann.models.layers import Dense
from nann.models.score_network import SCORE_SIZES, Prunable, ScoreNetwork
from nann.models.scorer import Scorer, UserState


class PoolScorer(Scorer):
    """Score network over the pooled history and the item vector, plus their inner product: no attention."""

    def __init__(self, *, num_items: int, num_categories: int, emb_dim: int, seed: int, features: Features | None = None) -> None:
        super().__init__(
            num_items=num_items, num_categories=num_categories, emb_dim=emb_dim, seed=seed, name="nann_pool", features=features
        )
        self.interest = PooledInterest(self.parts, self.item_dim, self.seeds)
        self.user_first = Dense(self.item_dim, SCORE_SIZES[0], self.seeds, name="user_first")
        self.item_first = Dense(self.item_dim, SCORE_SIZES[0], self.seeds, use_bias=False, name="item_first")
        self.score_network = ScoreNetwork(self.seeds)

    @property
    def prunable(self) -> Prunable:
        """The score network, into which the user's part and the item's part are summed."""
        return Prunable(self.score_network, (self.user_first, self.item_first))

    def encode_user(self, sequence: tf.Tensor, mask: tf.Tensor) -> UserState:
        """The user vector [B, D] and its part of the score network's first layer [B, 128]."""
        user = self.interest(sequence, mask)
        return user, self.user_first(user)

    def score(self, user_state: UserState, items: tf.Tensor, training: bool = False) -> tf.Tensor:
        """MLP([u, e_v]) + <u, e_v>."""
        user, user_first = user_state
        first = user_first[:, tf.newaxis, :] + self.item_first(items)
        return self.score_network(first, training) + inner_product(user, items)
