"""The scorers: how a user's history and an item become one logit.

One interface for training, extraction, index, export and evaluation (B users, L history positions, E = 2 emb_dim and more with side
features, H = E and more with inputs of the history or of the user, n candidates, D = item_dim):

- `history(item_rows, cate_rows, **inputs)` -> sequence [B, L, H], mask [B, L]: the only place that touches the embedding tables for the
  user;
- `embed_items(item_rows, cate_rows)` -> [..., E], `item_network(embedded)` -> [..., D]; together `encode_item`: the vector e_v that is
  indexed;
- `encode_user(sequence, mask)` -> the user state, a tuple of tensors with leading axis B: everything that depends on the user alone;
- `score(user_state, items)` -> [B, n] logits for items [B, n, D], or [1, n, D] when all users share the candidates.

Source: NANN, arXiv 2202.10226, section 3 and table 3.
"""

from __future__ import annotations

import abc
import functools
from dataclasses import dataclass
from typing import Any, Self

import tensorflow as tf

from nann.config import TrainConfig
from nann.inputs import FeatureLists, Features, RequestInput
from nann.models.item_features import FeatureEmbedding
from nann.models.layers import BatchNorm, Dense, Mlp, PRelu, Seeds
from nann.models.request_inputs import RequestEmbedding
from nann.models.tables import GrowingTable, StaticTable, Table, TableOptions
from nann.neighborhood import NeighborhoodShape
from ops.lookup import lookup_positions

UserState = tuple[tf.Tensor, ...]
TableRows = tuple[tuple[tf.Tensor, tf.Tensor], ...]

NETWORK_SIZE = 64
ATTENTION_HIDDEN = 128
ATTENTION_SIZE = 256
SCORE_SIZES = (128, 64, 32)
MASKED_LOGIT = -1e9
RECENCY_POSITIONS = 64


@dataclass(frozen=True)
class SequenceParts:
    """What stands where in a sequence [B, L, H], H = item + event + user.

    Attributes:
        item: E, of the history's item.
        event: of its event: kind and time, where the model reads them.
        user: of the user, the same at all positions, padding included.
    """

    item: int
    event: int = 0
    user: int = 0

    @property
    def history(self) -> int:
        """Size of `of_history`."""
        return self.item + self.event

    @property
    def total(self) -> int:
        """H."""
        return self.item + self.event + self.user

    def of_item(self, sequence: tf.Tensor) -> tf.Tensor:
        """[B, L, item]."""
        return sequence[..., : self.item] if self.event or self.user else sequence

    def of_event(self, sequence: tf.Tensor) -> tf.Tensor:
        """[B, L, event]."""
        return sequence[..., self.item : self.history]

    def of_history(self, sequence: tf.Tensor) -> tf.Tensor:
        """[B, L, item + event]."""
        return sequence[..., : self.history] if self.user else sequence

    def of_user(self, sequence: tf.Tensor) -> tf.Tensor:
        """[B, user]."""
        return sequence[:, 0, self.history :]


class Scorer(tf.Module, abc.ABC):
    """Embedding tables and item network, common to all scorers.

    Args:
        num_items: item rows are 1..num_items; row 0 is missing.
        num_categories: category rows are 1..num_categories; row 0 is missing.
        emb_dim: size of the item embedding and of the category embedding.
        seed: of the initial values.
        features: by name what the model reads beside items and categories, each with an embedding of its own.

    Attributes:
        embedded_dim: E, size of an item and of what `item_network` reads: emb_dim for item, category and each feature of the items.
        parts: what stands where in a sequence.
        history_dim: H, size of a position of a sequence, ``parts.total``.
        item_dim: D, size of an item vector.
        seeds: of the layers' initial values, in the order the layers are made.
        compiles: whether XLA may compile its training step.
        neighborhood: the neighbours that `embed_items` wants beside each item in training and extraction; None: none.
    """

    neighborhood: NeighborhoodShape | None = None
    compiles: bool = True

    def __init__(
        self, *, num_items: int, num_categories: int, emb_dim: int, seed: int, name: str, features: Features | None = None
    ) -> None:
        super().__init__(name=name)
        self.num_items, self.num_categories, self.emb_dim = num_items, num_categories, emb_dim
        of_items = {feature: lists for feature, lists in (features or {}).items() if isinstance(lists, FeatureLists)}
        of_request = {feature: entry for feature, entry in (features or {}).items() if isinstance(entry, RequestInput)}
        self.embedded_dim = (2 + len(of_items)) * emb_dim
        self.item_dim = NETWORK_SIZE
        self.seeds = Seeds(seed)
        self.item_table: Table = StaticTable(num_items, emb_dim, self.seeds.next(), "item_table")
        self.category_table: Table = StaticTable(num_categories, emb_dim, self.seeds.next(), "category_table")
        self.features = [FeatureEmbedding(lists, emb_dim, self.seeds, name=feature) for feature, lists in of_items.items()]
        self.request = RequestEmbedding(of_request, emb_dim, self.seeds)
        self.parts = SequenceParts(self.embedded_dim, self.request.event_dim, self.request.user_dim)
        self.history_dim = self.parts.total
        self.item_mlp = Mlp(
            (self.embedded_dim, NETWORK_SIZE, NETWORK_SIZE, self.item_dim), self.seeds, batch_norm=True, name="item_network"
        )
        self.item_skip = Dense(self.embedded_dim, self.item_dim, self.seeds, use_bias=False, name="item_skip")

    @classmethod
    def neighborhood_of(cls, config: TrainConfig) -> NeighborhoodShape | None:
        """The `neighborhood` that a scorer with these options has."""
        return None

    @classmethod
    def from_config(cls, config: TrainConfig, *, num_items: int, num_categories: int, features: Features | None = None) -> Self:
        """A scorer with the options of a training; classes with further arguments override it."""
        more: dict[str, Any] = {"features": features} if features else {}
        return cls(num_items=num_items, num_categories=num_categories, emb_dim=config.emb_dim, seed=config.seed, **more)

    def grow_tables(self, options: TableOptions) -> None:
        """Replaces the tables by ones that grow; before the optimizer is made."""
        self.table_step = tf.Variable(0, dtype=tf.int64, trainable=False, name="table_step")
        step = self.table_step
        self.item_table = GrowingTable(self.emb_dim, self.seeds.next(), step=step, options=options, name="item_table")
        self.category_table = GrowingTable(self.emb_dim, self.seeds.next(), step=step, options=options, name="category_table")

    @property
    def tables(self) -> tuple[tf.Variable, ...]:
        """Per level the items' variable [rows, emb_dim] and the categories', then those of the features; row 0 is never read."""
        levels = zip(self.item_table.levels, self.category_table.levels, strict=True)
        return *(variable for level in levels for variable in level), *self.feature_tables

    @property
    def feature_tables(self) -> tuple[tf.Variable, ...]:
        """The embedding tables of what the model reads beside items and categories."""
        return (*(feature.table for feature in self.features), *self.request.tables)

    @property
    def request_inputs(self) -> dict[str, RequestInput]:
        """By name what `history` takes beside rows."""
        return self.request.inputs

    def described_features(self) -> dict[str, dict[str, Any]]:
        """By name what the features can be made from again, see `nann.models.load_model`."""
        return {feature.feature: feature.describe() for feature in self.features} | self.request.describe()

    def table_rows(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> TableRows:
        """Per level of the tables where the embeddings [...] of items and categories lie; 0 where not on that level."""
        return tuple(zip(self.item_table.rows_of(item_rows), self.category_table.rows_of(cate_rows), strict=True))

    def count(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> None:
        """Begins a training step: tables that grow count its targets [B] and give rows to those met often enough."""
        if isinstance(self.item_table, GrowingTable):
            self.table_step.assign_add(1)
            self.item_table.count(item_rows)
            self.category_table.count(cate_rows)

    def freeze_tables(self) -> None:
        """Makes the tables plain variables, for inference."""
        self.item_table = self.item_table.frozen(self.num_items)
        self.category_table = self.category_table.frozen(self.num_categories)

    def table_counts(self) -> dict[str, int]:
        """``table_bytes``; of tables that grow also ``items_admitted`` and ``items_evicted`` by this training, ``item_rows`` now, and the
        same of categories."""
        found = {"table_bytes": 0}
        for kind, plural, table in (("item", "items", self.item_table), ("category", "categories", self.category_table)):
            counts = table.counts()
            found["table_bytes"] += counts["size_bytes"]
            if "rows" in counts:
                found |= {f"{plural}_admitted": counts["admitted"], f"{plural}_evicted": counts["evicted"], f"{kind}_rows": counts["rows"]}
        return found

    @property
    def network_variables(self) -> tuple[tf.Variable, ...]:
        """All trainable variables but the tables."""
        tables = {id(table) for table in self.tables}
        return tuple(variable for variable in self.trainable_variables if id(variable) not in tables)

    @property
    def learned_variables(self) -> tuple[tf.Variable, ...]:
        """All variables but those that hold a dataset's lists of features."""
        lists = {id(variable) for feature in self.features for variable in (feature.values, feature.row_splits)}
        return tuple(variable for variable in self.variables if id(variable) not in lists)

    def embed_items(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> tf.Tensor:
        """Raw embeddings [..., E] of rows [...]; zeros where a row is 0."""
        levels = zip(self.item_table.levels, self.category_table.levels, self.table_rows(item_rows, cate_rows), strict=True)
        embedded = functools.reduce(tf.add, [lookup_positions((items, categories), rows) for items, categories, rows in levels])
        return tf.concat([embedded, *(feature(item_rows) for feature in self.features)], axis=-1) if self.features else embedded

    def item_network(self, embedded: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The item vector e_v [..., D] of raw embeddings [..., E]."""
        return self.item_mlp(embedded, training) + self.item_skip(embedded)

    def encode_item(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> tf.Tensor:
        """The item vector e_v [n, D] of rows [n]."""
        return self.item_network(self.embed_items(item_rows, cate_rows))

    def history(self, item_rows: tf.Tensor, cate_rows: tf.Tensor, **inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Sequence [B, L, H] and mask [B, L] (true where an item stands) of histories [B, L], oldest first, padded with 0.

        Args:
            item_rows: [B, L].
            cate_rows: [B, L].
            **inputs: `request_inputs` by name, [B, L] of side "history", [B, V] of side "user" (see `nann.inputs`); others are not read.

        Raises:
            ValueError: an input that the model reads is not given.
        """
        for name in self.request_inputs:
            if name not in inputs:
                raise ValueError(f"the model reads the input {name!r}, which is not given; give it, 0 where it is unknown")
        sequence, mask = self.embed_items(item_rows, cate_rows), tf.not_equal(item_rows, 0)
        more = []
        if self.parts.event:
            more.append(self.request.events(item_rows, inputs))
        if self.parts.user:
            user = self.request.user(inputs)[:, tf.newaxis, :]
            more.append(tf.broadcast_to(user, tf.concat([tf.shape(item_rows), [self.parts.user]], axis=0)))
        return (tf.concat([sequence, *more], axis=-1) if more else sequence), mask

    @abc.abstractmethod
    def encode_user(self, sequence: tf.Tensor, mask: tf.Tensor) -> UserState:
        """The user state of a sequence [B, L, H] and its mask [B, L]."""

    @abc.abstractmethod
    def score(self, user_state: UserState, items: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits [B, n] of items [B, n, D] or [1, n, D]."""


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
        self.mlp = Mlp((parts.total, ATTENTION_HIDDEN, item_dim), seeds, batch_norm=False)

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
        self.mlp = Mlp((parts.history, ATTENTION_HIDDEN, item_dim), seeds, batch_norm=False)
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


def inner_product(user: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    """[B, n] products of users [B, D] and items [B or 1, n, D]."""
    if items.shape[0] == 1 and user.shape[0] != 1:  # one product of matrices; user by user its gradient would be a [B, n, D] to be summed
        return tf.matmul(user, items[0], transpose_b=True)
    return tf.squeeze(tf.matmul(items, user[:, :, tf.newaxis]), axis=-1)


class ScoreNetwork(tf.Module):
    """MLP 128 -> 64 -> 32 -> 1 over [user part, item part]; the first layer comes in split, as the sum of both parts' products."""

    def __init__(self, seeds: Seeds, *, name: str = "score_network") -> None:
        super().__init__(name=name)
        first, second, third = SCORE_SIZES
        self.norm = [BatchNorm(second), BatchNorm(third)]
        self.activation = [PRelu(first), PRelu(second), PRelu(third)]
        self.second = Dense(first, second, seeds, name="second")
        self.third = Dense(second, third, seeds, name="third")
        self.last = Dense(third, 1, seeds, use_bias=False, name="last")

    def __call__(self, first: tf.Tensor, training: bool) -> tf.Tensor:
        """Maps the first layer's sums [B, n, 128] to [B, n]."""
        x = self.activation[0](first)
        x = self.activation[1](self.norm[0](self.second(x), training))
        x = self.activation[2](self.norm[1](self.third(x), training))
        return tf.squeeze(self.last(x), axis=-1)


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

    def encode_user(self, sequence: tf.Tensor, mask: tf.Tensor) -> UserState:
        """The user vector [B, D] and its part of the score network's first layer [B, 128]."""
        user = self.interest(sequence, mask)
        return user, self.user_first(user)

    def score(self, user_state: UserState, items: tf.Tensor, training: bool = False) -> tf.Tensor:
        """MLP([u, e_v]) + <u, e_v>."""
        user, user_first = user_state
        first = user_first[:, tf.newaxis, :] + self.item_first(items)
        return self.score_network(first, training) + inner_product(user, items)


class AttentionScorer(Scorer):
    """Target attention, the paper's scorer, plus the inner product of a pooled user vector and the item vector, plus the item match.

    q = W2 PReLU(W1 e_v + b1) + b2, k = MLP(sequence), a = softmax(q k^T / sqrt(256)) sequence, and
    logit = MLP([a, e_v]) + <u, e_v> + log(1 + sum_l exp(<e_v, c_l> + r_l)).
    Three products that involve the user alone are taken once per user: W2 folded into the keys, b2 into a bias per position, and the
    score network's first layer into the values.
    """

    def __init__(self, *, num_items: int, num_categories: int, emb_dim: int, seed: int, features: Features | None = None) -> None:
        super().__init__(num_items=num_items, num_categories=num_categories, emb_dim=emb_dim, seed=seed, name="nann", features=features)
        self.query_first = Dense(self.item_dim, ATTENTION_HIDDEN, self.seeds, name="query_first")
        self.query_activation = PRelu(ATTENTION_HIDDEN, name="query_activation")
        self.query_second = Dense(ATTENTION_HIDDEN, ATTENTION_SIZE, self.seeds, name="query_second")
        self.key_network = Mlp((self.parts.history, ATTENTION_HIDDEN, ATTENTION_SIZE), self.seeds, batch_norm=False, name="key_network")
        self.recency = RecencyWeights(-0.05, self.parts)
        self.value_first = Dense(self.parts.history, SCORE_SIZES[0], self.seeds, name="value_first")
        self.item_first = Dense(self.item_dim, SCORE_SIZES[0], self.seeds, use_bias=False, name="item_first")
        self.score_network = ScoreNetwork(self.seeds)
        self.interest = PooledInterest(self.parts, self.item_dim, self.seeds)
        self.match = ItemMatch(self.parts, self.item_dim, self.seeds, self.item_skip)
        self.user_first = Dense(self.parts.user, SCORE_SIZES[0], self.seeds, use_bias=False, name="user_first") if self.parts.user else None

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
