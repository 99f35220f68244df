"""The scorer `nann-rows`: NANN's scorer as the paper writes it, on rows of (user, item)."""

from __future__ import annotations

import tensorflow as tf

from nann.models.attention import ATTENTION_SIZE
from nann.models.history_layers import HIDDEN_SIZE, MASKED_LOGIT
from nann.models.layers import Dense, Mlp
from nann.models.rows import RowScorer
from nann.models.score_network import SCORE_SIZES, ScoreNetwork


class AttentionRows(RowScorer):
    """NANN's scorer as the paper writes it: target attention and a network over [interest, item] (arXiv 2202.10226, section 3, table 3).

    q = MLP(e_v), k = MLP(sequence), a = softmax(q k^T / sqrt(256)) sequence, logit = MLP([a, e_v]).
    """

    def __init__(self, *, num_items: int, num_categories: int, emb_dim: int, seed: int) -> None:
        super().__init__(num_items=num_items, num_categories=num_categories, emb_dim=emb_dim, seed=seed, name="nann_rows")
        self.query_network = Mlp((self.item_dim, HIDDEN_SIZE, ATTENTION_SIZE), self.seeds, batch_norm=False, name="query_network")
        self.key_network = Mlp((self.embedded_dim, HIDDEN_SIZE, ATTENTION_SIZE), self.seeds, batch_norm=False, name="key_network")
        self.first = Dense(self.embedded_dim + self.item_dim, SCORE_SIZES[0], self.seeds, name="first")
        self.score_network = ScoreNetwork(self.seeds)

    def score_rows(self, sequence: tf.Tensor, mask: tf.Tensor, items: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits [R]; an empty history attends to nothing."""
        query, keys = self.query_network(items), self.key_network(sequence)
        products = tf.squeeze(tf.matmul(query[:, tf.newaxis, :], keys, transpose_b=True), axis=1) * ATTENTION_SIZE**-0.5
        present = tf.cast(mask, products.dtype)
        attention = tf.nn.softmax(products + (1 - present) * tf.constant(MASKED_LOGIT, products.dtype)) * present
        interest = tf.einsum("rl,rle->re", attention, sequence)
        return self.score_network(self.first(tf.concat([interest, items], axis=-1)), training)
