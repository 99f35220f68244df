"""The scorer `nann`: target attention over the history, and what proved useful beside it."""

from __future__ import annotations

import tensorflow as tf

from nann.dataset.inputs import Features
from nann.models.history_layers import HIDDEN_SIZE, MASKED_LOGIT, ItemMatch, PooledInterest, RecencyWeights, inner_product
from nann.models.layers import Dense, Mlp, PRelu
from nann.models.score_network import SCORE_SIZES, Prunable, ScoreNetwork
from nann.models.scorer import Scorer, UserState

ATTENTION_SIZE = 256


class AttentionScorer(Scorer):
    """Target attention, the paper's scorer, plus the inner product of a pooled user vector and the item vector, plus the item match.

    q = W2 PReLU(W1 e_v + b1) + b2, k = MLP(sequence), a = softmax(q k^T / sqrt(256)) sequence, and
    logit = MLP([a, e_v]) + <u, e_v> + log(1 + sum_l exp(<e_v, c_l> + r_l)).
    Three products that involve the user alone are taken once per user: W2 folded into the keys, b2 into a bias per position, and the
    score network's first layer into the values.
    """

    def __init__(self, *, num_items: int, num_categories: int, emb_dim: int, seed: int, features: Features | None = None) -> None:
        super().__init__(num_items=num_items, num_categories=num_categories, emb_dim=emb_dim, seed=seed, name="nann", features=features)
        self.query_first = Dense(self.item_dim, HIDDEN_SIZE, self.seeds, name="query_first")
        self.query_activation = PRelu(HIDDEN_SIZE, name="query_activation")
        self.query_second = Dense(HIDDEN_SIZE, ATTENTION_SIZE, self.seeds, name="query_second")
        self.key_network = Mlp((self.parts.history, HIDDEN_SIZE, ATTENTION_SIZE), self.seeds, batch_norm=False, name="key_network")
        self.recency = RecencyWeights(-0.05, self.parts)
        self.value_first = Dense(self.parts.history, SCORE_SIZES[0], self.seeds, name="value_first")
        self.item_first = Dense(self.item_dim, SCORE_SIZES[0], self.seeds, use_bias=False, name="item_first")
        self.score_network = ScoreNetwork(self.seeds)
        self.interest = PooledInterest(self.parts, self.item_dim, self.seeds)
        self.match = ItemMatch(self.parts, self.item_dim, self.seeds, self.item_skip)
        self.user_first = Dense(self.parts.user, SCORE_SIZES[0], self.seeds, use_bias=False, name="user_first") if self.parts.user else None

    @property
    def prunable(self) -> Prunable:
        """The score network, into which the values of the history, the item's part and the user's features are summed."""
        of_user = () if self.user_first is None else (self.user_first,)
        return Prunable(self.score_network, (*of_user, self.value_first, self.item_first))

    def encode_user(self, sequence: tf.Tensor, mask: tf.Tensor) -> UserState:
        """Keys [B, L, 128], position bias [B, L] (very negative on padding), values [B, L, 128], user vector [B, D], contexts
        [B, L, D] and their bias [B, L]."""
        scale = ATTENTION_SIZE**-0.5
        history = self.parts.of_history(sequence)
        keys = self.key_network(history)
        folded = scale * tf.matmul(keys, tf.cast(self.query_second.kernel, keys.dtype), transpose_b=True)
        recency = tf.cast(self.recency(sequence, mask), keys.dtype)
        bias = scale * tf.linalg.matvec(keys, tf.cast(self.query_second.bias, keys.dtype)) + recency
        bias = tf.where(mask, bias, tf.constant(MASKED_LOGIT, bias.dtype))
        values = self.value_first(history) * tf.cast(mask, sequence.dtype)[..., tf.newaxis]
        if self.user_first is not None:
            # attention sums to 1 whatever the history, so that what stands at every position comes out as it is
            values += self.user_first(self.parts.of_user(sequence))[:, tf.newaxis, :]
        return folded, bias, values, self.interest(sequence, mask), *self.match.encode(sequence, mask)

    def score(self, user_state: UserState, items: tf.Tensor, training: bool = False) -> tf.Tensor:
        """MLP([a, e_v]) + <u, e_v> + match."""
        keys, bias, values, user, contexts, context_bias = user_state
        query = self.query_activation(self.query_first(items))
        attention = tf.nn.softmax(tf.matmul(query, keys, transpose_b=True) + bias[:, tf.newaxis, :])
        first = tf.matmul(attention, values) + self.item_first(items)
        matched = self.match.score(contexts, context_bias, items)
        return self.score_network(first, training) + inner_product(user, items) + matched
