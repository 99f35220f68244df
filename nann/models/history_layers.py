"""Layers over a user's history that several scorers share: learned recency, a pooled user vector, and the match with single items."""

from __future__ import annotations

import tensorflow as tf

from nann.models.layers import Dense, Mlp, Seeds
from nann.models.sequence import SequenceParts

HIDDEN_SIZE = 128
MASKED_LOGIT = -1e9
RECENCY_POSITIONS = 64


class RecencyWeights(tf.Module):
    """A trainable value per recency rank: rank 0 is the newest item of a history, ranks past the last share its value.

    Where the model reads kinds or times of events, a linear function of these is added, which begins as 0.
    """

    def __init__(self, initial_decay: float, parts: SequenceParts, *, name: str = "recency") -> None:
        super().__init__(name=name)
        ranks = tf.range(RECENCY_POSITIONS, dtype=tf.float32)[:, tf.newaxis]
        self.values = tf.Variable(initial_decay * ranks, name="values")
        self.parts = parts
        self.of_event = tf.Variable(tf.zeros([parts.event, 1]), name="of_event") if parts.event else None

    def __call__(self, sequence: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """[B, L] float32 values for a sequence [B, L, H] and its mask [B, L]."""
        rank = tf.cumsum(tf.cast(mask, tf.int32), axis=1, exclusive=True, reverse=True)
        value = tf.gather(self.values, tf.minimum(rank, RECENCY_POSITIONS - 1))[..., 0]
        if self.of_event is None:
            return value
        return value + tf.matmul(tf.cast(self.parts.of_event(sequence), tf.float32), self.of_event)[..., 0]


class PooledInterest(tf.Module):
    """A user vector [B, D]: the history's embeddings, weighted by a softmax over learned recency values, and the user's features, through
    a network."""

    def __init__(self, parts: SequenceParts, item_dim: int, seeds: Seeds, *, name: str = "pooled_interest") -> None:
        super().__init__(name=name)
        self.parts = parts
        self.recency = RecencyWeights(-0.1, parts)
        self.skip = Dense(parts.total, item_dim, seeds, use_bias=False, name="skip")
        self.mlp = Mlp((parts.total, HIDDEN_SIZE, item_dim), seeds, batch_norm=False)

    def __call__(self, sequence: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Maps [B, L, H] and [B, L] to [B, D]; of an empty history the user's features are left."""
        logits = tf.where(mask, self.recency(sequence, mask), MASKED_LOGIT)
        weights = tf.nn.softmax(logits, axis=1) * tf.cast(mask, tf.float32)
        pooled = tf.einsum("bl,ble->be", tf.cast(weights, sequence.dtype), self.parts.of_history(sequence))
        if self.parts.user:
            pooled = tf.concat([pooled, self.parts.of_user(sequence)], axis=-1)
        return self.skip(pooled) + self.mlp(pooled)


class ItemMatch(tf.Module):
    """How well an item matches single items of the history: log(1 + sum over l of exp(<e_v, c_l> + r_l)), a soft maximum from 0 up.

    c_l is the history item in the space of the item vectors - through the item network's own skip, plus a network - so that an item
    matches itself from the first step on; r_l is learned per recency rank. It is the neural form of item-to-item collaborative filtering
    with recency and the own item counted (FISM, KDD 2013; NAIS, arXiv 1809.07053), with a soft maximum instead of a sum (late
    interaction: arXiv 2004.12832, section 3.3).
    """

    def __init__(self, parts: SequenceParts, item_dim: int, seeds: Seeds, skip: Dense, *, name: str = "item_match") -> None:
        super().__init__(name=name)
        self.parts = parts
        self.skip = skip
        self.mlp = Mlp((parts.history, HIDDEN_SIZE, item_dim), seeds, batch_norm=False)
        self.recency = RecencyWeights(-0.1, parts)
        self.scale = tf.Variable(1.0, name="scale")

    def encode(self, sequence: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Contexts [B, L, D] and biases [B, L] (very negative on padding) of a sequence [B, L, H] and its mask [B, L]."""
        parts = self.parts
        contexts = tf.cast(self.scale, sequence.dtype) * (self.skip(parts.of_item(sequence)) + self.mlp(parts.of_history(sequence)))
        bias = tf.cast(self.recency(sequence, mask), sequence.dtype)
        return contexts, tf.where(mask, bias, tf.constant(MASKED_LOGIT, bias.dtype))

    def score(self, contexts: tf.Tensor, bias: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """[B, n] matches of items [B or 1, n, D]; 0 for an empty history."""
        return tf.nn.softplus(tf.reduce_logsumexp(tf.matmul(items, contexts, transpose_b=True) + bias[:, tf.newaxis, :], axis=-1))


def inner_product(user: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    """[B, n] products of users [B, D] and items [B or 1, n, D]."""
    if items.shape[0] == 1 and user.shape[0] != 1:  # one product of matrices; user by user its gradient would be a [B, n, D] to be summed
        return tf.matmul(user, items[0], transpose_b=True)
    return tf.squeeze(tf.matmul(items, user[:, :, tf.newaxis]), axis=-1)
