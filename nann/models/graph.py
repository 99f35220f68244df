"""The scorer `graph`: item vectors by graph convolution over sampled neighbours, users as in the other scorers.

An item's representation combines its own embedding with two aggregates of its neighbourhood: of items near it in histories, and of its
users, each of whom is an aggregate of the user's items and of the items of a similar user. Users and items have aggregators of their own.
Sampling, aggregation and combination as in GraphSAGE (arXiv 1706.02216, algorithm 1), neighbours by importance as in PinSage (arXiv
1806.01973, section 3.2), separate aggregators for the kinds of nodes and explicit user-user and item-item edges as in Multi-GCCF (arXiv
2001.00267), and its skip connection.

Users have no embedding of their own, so that any history is answered; the neighbourhood enters the item vectors alone, which are computed
once, at extraction: serving needs no graph.
"""

from __future__ import annotations

from typing import Self

import tensorflow as tf

from nann.config import TrainConfig
from nann.dataset.inputs import Features
from nann.models.history_layers import ItemMatch, PooledInterest, inner_product
from nann.models.layers import Dense, Mlp, PRelu
from nann.models.scorer import NETWORK_SIZE, Scorer, UserState
from nann.neighborhood import NeighborhoodShape


class GraphScorer(Scorer):
    """logit = <u, e_v> + match, with e_v = MLP([e, a_items, a_users]) + skip(e) for the item's embedding e and its two aggregates.

    `embed_items` and `encode_item` take rows [..., 1 + S]: each item, then its sampled neighbours (`NeighborSampler`), 0 for none;
    `encode_item` takes rows [n] as well, for items without neighbours.

    Args:
        num_items, num_categories, emb_dim, seed, features: as for every scorer.
        neighborhood: of the samples.
    """

    neighborhood: NeighborhoodShape

    def __init__(
        self,
        *,
        num_items: int,
        num_categories: int,
        emb_dim: int,
        seed: int,
        neighborhood: NeighborhoodShape,
        features: Features | None = None,
    ) -> None:
        super().__init__(num_items=num_items, num_categories=num_categories, emb_dim=emb_dim, seed=seed, name="graph", features=features)
        self.neighborhood = neighborhood
        size = self.embedded_dim
        self.near_items = Dense(size, NETWORK_SIZE, self.seeds, name="near_items")
        self.near_activation = PRelu(NETWORK_SIZE, name="near_activation")
        self.user_items = Dense(size, NETWORK_SIZE, self.seeds, name="user_items")
        self.similar_items = Dense(size, NETWORK_SIZE, self.seeds, use_bias=False, name="similar_items")
        self.user_activation = PRelu(NETWORK_SIZE, name="user_activation")
        self.item_mlp = Mlp(
            (size + 2 * NETWORK_SIZE, NETWORK_SIZE, NETWORK_SIZE, self.item_dim), self.seeds, batch_norm=True, name="item_network"
        )
        self.interest = PooledInterest(self.parts, self.item_dim, self.seeds)
        self.match = ItemMatch(self.parts, self.item_dim, self.seeds, self.item_skip)

    @classmethod
    def neighborhood_of(cls, config: TrainConfig) -> NeighborhoodShape:
        """The sample sizes of the options."""
        return NeighborhoodShape(items=config.graph_items, users=config.graph_users, user_items=config.graph_user_items)

    @classmethod
    def from_config(cls, config: TrainConfig, *, num_items: int, num_categories: int, features: Features | None = None) -> Self:
        """A scorer with the options of a training."""
        shape = cls.neighborhood_of(config)
        return cls(
            num_items=num_items,
            num_categories=num_categories,
            emb_dim=config.emb_dim,
            seed=config.seed,
            neighborhood=shape,
            features=features,
        )

    def item_network(self, embedded: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The item vector e_v [..., D] of raw embeddings [..., 1 + S, E] of items and their neighbours."""
        shape = self.neighborhood
        own = embedded[..., 0, :]
        near, of_users, of_similar = tf.split(embedded[..., 1:, :], [shape.items, *[shape.users * shape.user_items] * 2], axis=-2)
        lead = tf.shape(own)[:-1]
        by_user = tf.concat([lead, [shape.users, shape.user_items, self.embedded_dim]], axis=0)
        near_mean, near_any = mean_of_present(near)
        user_mean, user_any = mean_of_present(tf.reshape(of_users, by_user))
        similar_mean, _ = mean_of_present(tf.reshape(of_similar, by_user))
        items = self.near_activation(self.near_items(near_mean)) * near_any
        # a user counts if any item of the user was sampled; a similar user is only reached through one
        users = self.user_activation(self.user_items(user_mean) + self.similar_items(similar_mean)) * user_any
        users = tf.math.divide_no_nan(tf.reduce_sum(users, axis=-2), tf.reduce_sum(user_any, axis=-2))
        return self.item_mlp(tf.concat([own, items, users], axis=-1), training) + self.item_skip(own)

    def encode_item(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> tf.Tensor:
        """The item vector e_v [n, D] of rows [n, 1 + S], or [n] without neighbours."""
        if len(item_rows.shape) == 1:
            alone = [[0, 0], [0, self.neighborhood.size]]
            item_rows, cate_rows = (tf.pad(tf.convert_to_tensor(rows)[:, tf.newaxis], alone) for rows in (item_rows, cate_rows))
        return self.item_network(self.embed_items(item_rows, cate_rows))

    def encode_user(self, sequence: tf.Tensor, mask: tf.Tensor) -> UserState:
        """The user vector [B, D], contexts [B, L, D] and their bias [B, L]."""
        return (self.interest(sequence, mask), *self.match.encode(sequence, mask))

    def score(self, user_state: UserState, items: tf.Tensor, training: bool = False) -> tf.Tensor:
        """<u, e_v> + match."""
        user, contexts, bias = user_state
        return inner_product(user, items) + self.match.score(contexts, bias, items)


def mean_of_present(embedded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean [..., E] of embeddings [..., n, E] that are there, zeros if none is, and whether [..., 1] any is, as 0.0 or 1.0.

    A missing row is looked up as zeros throughout, which no trained embedding is.
    """
    present = tf.cast(tf.reduce_any(tf.not_equal(embedded, 0), axis=-1, keepdims=True), embedded.dtype)
    count = tf.reduce_sum(present, axis=-2)
    return tf.reduce_sum(embedded, axis=-2) / tf.maximum(count, 1), tf.minimum(count, 1)
