"""A causal transformer over the history: one pass gives a user vector at every position, so that every event of a user is a target.

Objective and masking: SASRec, arXiv 1808.09781, section 3. Gates on both parts of a block: LiGR, arXiv 2502.03417, section 3. Gated linear
unit: arXiv 2002.05202, equation 6. Normalisation by the root mean square: arXiv 1910.07467, equation 4. Bias per distance instead of a
position's embedding: arXiv 1803.02155, in the scalar form of arXiv 1910.10683, section 2.1.
"""

from __future__ import annotations

import abc
from typing import Self

import tensorflow as tf

from nann.config import TrainConfig
from nann.dataset.inputs import Features
from nann.models.history_layers import MASKED_LOGIT, inner_product
from nann.models.layers import Dense, Mlp, Seeds
from nann.models.scorer import NETWORK_SIZE, Scorer, UserState

BLOCKS, HEADS, FORWARD = 2, 4, 2  # FORWARD: width of a block's second part relative to the model's
DISTANCES = 64
EPSILON = 1e-6
ITEM_HIDDEN = 128
# Small first values let an item that is met rarely stay close to what its category says.
INITIAL_SPREAD = 0.1


class RmsNorm(tf.Module):
    """x / sqrt(mean(x^2)) times a gain per channel."""

    def __init__(self, channels: int, *, name: str = "rms_norm") -> None:
        super().__init__(name=name)
        self.gain = tf.Variable(tf.ones([channels]), name="gain")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Normalises [..., channels]."""
        scale = tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=-1, keepdims=True) + tf.constant(EPSILON, x.dtype))
        return x * scale * tf.cast(self.gain, x.dtype)


class Dropout:
    """Leaves elements out at random, decided by a seed alone, so that a training that is resumed draws the same.

    Args:
        rate: share to leave out.
        seed: [2] int32, of the training step; None: nothing is left out.
    """

    def __init__(self, rate: float, seed: tf.Tensor | None) -> None:
        self._rate, self._seed, self._number = rate, seed, 0

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Leaves elements of [...] out and scales the others up."""
        if self._seed is None or not self._rate:
            return x
        self._number += 1
        drawn = tf.random.stateless_uniform(tf.shape(x), self._seed + tf.constant([self._number, 0], tf.int32))
        return tf.where(drawn < self._rate, tf.zeros_like(x), x / tf.constant(1.0 - self._rate, x.dtype))


class Block(tf.Module):
    """Attention to what came before, then a gated feed-forward network, each added to its input through a gate."""

    def __init__(self, size: int, seeds: Seeds, *, name: str = "block") -> None:
        super().__init__(name=name)
        self.size = size
        self.attention_norm, self.forward_norm = RmsNorm(size), RmsNorm(size)
        self.queries, self.keys, self.values, self.mixed = (
            Dense(size, size, seeds, use_bias=False, name=part) for part in ("queries", "keys", "values", "mixed")
        )
        self.attention_gate, self.forward_gate = Dense(size, size, seeds), Dense(size, size, seeds)
        self.gate, self.up = (Dense(size, FORWARD * size, seeds, use_bias=False, name=part) for part in ("gate", "up"))
        self.down = Dense(FORWARD * size, size, seeds, use_bias=False, name="down")
        nearer = -0.02 * tf.range(DISTANCES, dtype=tf.float32)
        self.distance = tf.Variable(tf.tile(nearer[tf.newaxis], [HEADS, 1]), name="distance")

    def __call__(self, x: tf.Tensor, allowed: tf.Tensor, apart: tf.Tensor, drop: Dropout) -> tf.Tensor:
        """Maps [B, L, size]; ``allowed`` [B, L, L] says what position i may read, ``apart`` [L, L, DISTANCES] how far away it is."""
        normed = self.attention_norm(x)
        queries, keys, values = (self._heads(part(normed)) for part in (self.queries, self.keys, self.values))
        bias = tf.einsum("ijd,hd->hij", apart, tf.cast(self.distance, x.dtype))
        logits = tf.matmul(queries, keys, transpose_b=True) * (self.size // HEADS) ** -0.5 + bias
        weights = tf.nn.softmax(tf.where(allowed[:, tf.newaxis], logits, tf.constant(MASKED_LOGIT, x.dtype)))
        read = tf.transpose(tf.matmul(weights, values), [0, 2, 1, 3])
        read = self.mixed(tf.reshape(read, tf.shape(x)))
        x += drop(read * tf.sigmoid(self.attention_gate(x)))
        normed = self.forward_norm(x)
        gate = self.gate(normed)
        # tf.nn.silu is this with a gradient of its own, whose name differs from process to process and would stand in the frozen graph
        forward = self.down(gate * tf.sigmoid(gate) * self.up(normed))
        return x + drop(forward * tf.sigmoid(self.forward_gate(x)))

    def _heads(self, x: tf.Tensor) -> tf.Tensor:
        """[B, heads, L, size / heads] of [B, L, size]."""
        shape = tf.shape(x)
        return tf.transpose(tf.reshape(x, [shape[0], shape[1], HEADS, self.size // HEADS]), [0, 2, 1, 3])


class CausalScorer(Scorer):
    """A scorer that says something after every event of a history, so that every event is a target of one forward pass."""

    causal = True

    @abc.abstractmethod
    def encode_positions(
        self, sequence: tf.Tensor, segments: tf.Tensor, *, dropout: float = 0.0, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The user vector after every position.

        Args:
            sequence: [R, W, H]; a row may hold several users' events, one user after the other.
            segments: [R, W] int32, whose event stands there, from 1 up; 0 where none does.
            dropout: share of what the blocks read and add that is left out in training.
            seed: [2] int32 of what is left out; None, as in serving: nothing.

        Returns:
            [R, W, D], of no meaning where ``segments`` is 0.
        """

    def encode_user(self, sequence: tf.Tensor, mask: tf.Tensor) -> UserState:
        """One user vector [B, D]: the one after the newest event."""
        vectors = self.encode_positions(sequence, tf.cast(mask, tf.int32))
        newest = tf.maximum(tf.reduce_sum(tf.cast(mask, tf.int32), axis=1) - 1, 0)
        return (tf.gather(vectors, newest, batch_dims=1),)

    def score(self, user_state: UserState, items: tf.Tensor, training: bool = False) -> tf.Tensor:
        """<u, e_v>."""
        return inner_product(user_state[0], items)


class Encoder(tf.Module):
    """An item network and a causal transformer, which see the same space.

    Args:
        embedded: size of an embedded item.
        history: size of a position of a sequence.
        size: of the vectors.
        seeds: of the initial values.
    """

    def __init__(self, embedded: int, history: int, size: int, seeds: Seeds, *, name: str = "encoder") -> None:
        super().__init__(name=name)
        self.item_mlp = Mlp((embedded, ITEM_HIDDEN, size), seeds, batch_norm=False, name="item_network")
        self.item_skip = Dense(embedded, size, seeds, use_bias=False, name="item_skip")
        self.first = Dense(history, size, seeds, use_bias=False, name="first")
        self.blocks = [Block(size, seeds) for _ in range(BLOCKS)]
        self.norm = RmsNorm(size)
        self.last = Dense(size, size, seeds, name="last")

    def items(self, embedded: tf.Tensor) -> tf.Tensor:
        """Item vectors [..., size] of [..., embedded]."""
        return self.item_mlp(embedded) + self.item_skip(embedded)

    def positions(self, sequence: tf.Tensor, allowed: tf.Tensor, apart: tf.Tensor, drop: Dropout) -> tf.Tensor:
        """User vectors [R, W, size] of [R, W, history]; ``allowed`` and ``apart`` as in `Block`."""
        x = drop(self.first(sequence))
        for block in self.blocks:
            x = block(x, allowed, apart, drop)
        return self.last(self.norm(x))


class SequenceScorer(CausalScorer):
    """Inner product of an item vector and what a causal transformer says after the newest event of the history; the mean of several.

    Each encoder reads a part of every embedding of its own and learns by itself, so that they err on different items, as models of
    different seeds do (deep ensembles: arXiv 1612.01474); side by side their vectors give the mean of their scores as one inner product.

    Args:
        encoders: how many; each reads ``emb_dim`` numbers of an embedding.
    """

    unpacked = ("item_embedding", "encoder")

    def __init__(
        self, *, num_items: int, num_categories: int, emb_dim: int, seed: int, features: Features | None = None, encoders: int = 1
    ) -> None:
        sizes = {"num_items": num_items, "num_categories": num_categories, "emb_dim": emb_dim * encoders}
        super().__init__(**sizes, seed=seed, name="sequence", features=features)
        self._dim, self._blocks = emb_dim, self.parts.item // (emb_dim * encoders)
        shape = self._blocks * emb_dim, self._blocks * emb_dim + self.parts.total - self.parts.item
        self.encoder = Encoder(*shape, NETWORK_SIZE, self.seeds)
        self.further = [Encoder(*shape, NETWORK_SIZE, self.seeds) for _ in range(encoders - 1)]
        self.item_dim = NETWORK_SIZE * encoders
        for table in (self.item_embedding.item_table, self.item_embedding.category_table):
            table.scale(INITIAL_SPREAD * encoders**0.5)

    @classmethod
    def from_config(cls, config: TrainConfig, *, num_items: int, num_categories: int, features: Features | None = None) -> Self:
        """See `Scorer.from_config`."""
        sizes = {"num_items": num_items, "num_categories": num_categories, "emb_dim": config.emb_dim}
        return cls(**sizes, seed=config.seed, features=features, encoders=config.encoders)

    def make_item_network(self) -> None:
        """Nothing: each encoder has its own."""

    @property
    def encoders(self) -> list[Encoder]:
        """All of them."""
        return [self.encoder, *self.further]

    def item_network(self, embedded: tf.Tensor, training: bool = False) -> tf.Tensor:
        """See `Scorer`."""
        return tf.concat([encoder.items(self._part(embedded, number)) for number, encoder in enumerate(self.encoders)], axis=-1)

    def encode_positions(
        self, sequence: tf.Tensor, segments: tf.Tensor, *, dropout: float = 0.0, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """See `CausalScorer`."""
        places = tf.range(tf.shape(segments)[1])
        behind = places[:, tf.newaxis] - places[tf.newaxis, :]
        allowed = tf.logical_and(tf.equal(segments[:, :, tf.newaxis], segments[:, tf.newaxis, :]), behind >= 0)
        apart = tf.one_hot(tf.clip_by_value(behind, 0, DISTANCES - 1), DISTANCES, dtype=sequence.dtype)
        drop, encoders = Dropout(dropout, seed), self.encoders
        found = [encoder.positions(self._part(sequence, number), allowed, apart, drop) for number, encoder in enumerate(encoders)]
        return tf.concat(found, axis=-1) / len(encoders)

    def training_scores(self, user_state: UserState, items: tf.Tensor) -> list[tf.Tensor]:
        """See `Scorer`: one for each encoder."""
        count = len(self.encoders)
        users, of_items = (
            tf.unstack(tf.reshape(x, tf.concat([tf.shape(x)[:-1], [count, NETWORK_SIZE]], axis=0)), num=count, axis=-2)
            for x in (count * user_state[0], items)
        )
        return [inner_product(user, vectors) for user, vectors in zip(users, of_items, strict=True)]

    def _part(self, x: tf.Tensor, number: int) -> tf.Tensor:
        """What an encoder reads of embeddings or sequences [..., n]: its part of each embedding, and what else stands there."""
        if len(self.encoders) == 1:
            return x
        width = self._dim * len(self.encoders)
        begins = [block * width + number * self._dim for block in range(self._blocks)]
        parts = [x[..., begin : begin + self._dim] for begin in begins]
        return tf.concat([*parts, x[..., self._blocks * width :]], axis=-1)
