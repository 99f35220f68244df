"""The scorers' interface: how a user's history and an item become one logit.

One interface for training, extraction, index, export and evaluation (B users, L history positions, E = 2 emb_dim and more with side
features, H = E and more with inputs of the history or of the user, n candidates, D = item_dim):

- `history(item_rows, cate_rows, **inputs)` -> sequence [B, L, H], mask [B, L]: the only place that touches the embedding tables for the
  user;
- `embed_items(item_rows, cate_rows)` -> [..., E], `item_network(embedded)` -> [..., D]; together `encode_item`: the vector e_v that is
  indexed;
- `encode_user(sequence, mask)` -> the user state, a tuple of tensors with leading axis B: everything that depends on the user alone;
- `score(user_state, items)` -> [B, n] logits for items [B, n, D], or [1, n, D] when all users share the candidates.

The scorers themselves lie in a module each, listed in `nann.families`; what they look up is an `ItemEmbedding`.

Source: NANN, arXiv 2202.10226, section 3 and table 3.
"""

from __future__ import annotations

import abc
from typing import Any, Self

import tensorflow as tf

from nann.config import TrainConfig
from nann.dataset.inputs import Features, RequestInput
from nann.models.item_embedding import ItemEmbedding
from nann.models.layers import Dense, Mlp, Seeds
from nann.models.score_network import Prunable

UserState = tuple[tf.Tensor, ...]

NETWORK_SIZE = 64


class Scorer(tf.Module, abc.ABC):
    """Embedding and item network, common to all scorers.

    Args:
        num_items: item rows are 1..num_items; row 0 is missing.
        num_categories: category rows are 1..num_categories; row 0 is missing.
        emb_dim: size of the item embedding and of the category embedding.
        seed: of the initial values.
        features: by name what the model reads beside items and categories, each with an embedding of its own.

    Attributes:
        item_embedding: the tables, and everything that is looked up.
        embedded_dim: E, size of an item and of what `item_network` reads: emb_dim for item, category and each feature of the items.
        parts: what stands where in a sequence.
        history_dim: H, size of a position of a sequence, ``parts.total``.
        item_dim: D, size of an item vector.
        seeds: of the layers' initial values, in the order the layers are made.
        compiles: whether XLA may compile its training step.
        causal: whether it says something after every event of a history, see `nann.models.causal.CausalScorer`.
    """

    compiles: bool = True
    causal: bool = False

    def __init__(
        self, *, num_items: int, num_categories: int, emb_dim: int, seed: int, name: str, features: Features | None = None
    ) -> None:
        super().__init__(name=name)
        self.num_items, self.num_categories = num_items, num_categories
        self.item_dim = NETWORK_SIZE
        self.seeds = Seeds(seed)
        self.item_embedding = ItemEmbedding(
            num_items=num_items,
            num_categories=num_categories,
            emb_dim=emb_dim,
            seeds=self.seeds,
            features=features,
            causal=self.causal,
        )
        self.parts = self.item_embedding.parts
        self.embedded_dim, self.history_dim = self.parts.item, self.parts.total
        self.make_item_network()

    def make_item_network(self) -> None:
        """Makes the layers of `item_network`."""
        self.item_mlp = Mlp(
            (self.embedded_dim, NETWORK_SIZE, NETWORK_SIZE, self.item_dim), self.seeds, batch_norm=True, name="item_network"
        )
        self.item_skip = Dense(self.embedded_dim, self.item_dim, self.seeds, use_bias=False, name="item_skip")

    @classmethod
    def from_config(cls, config: TrainConfig, *, num_items: int, num_categories: int, features: Features | None = None) -> Self:
        """A scorer with the options of a training; classes with further arguments override it."""
        more: dict[str, Any] = {"features": features} if features else {}
        return cls(num_items=num_items, num_categories=num_categories, emb_dim=config.emb_dim, seed=config.seed, **more)

    @property
    def request_inputs(self) -> dict[str, RequestInput]:
        """By name what `history` takes beside rows."""
        return self.item_embedding.request.inputs

    @property
    def prunable(self) -> Prunable | None:
        """The network whose hidden units may be removed from the trained scorer; None: there is none."""
        return None

    @property
    def network_variables(self) -> tuple[tf.Variable, ...]:
        """All trainable variables but the tables."""
        tables = {id(table) for table in self.item_embedding.tables}
        return tuple(variable for variable in self.trainable_variables if id(variable) not in tables)

    @property
    def learned_variables(self) -> tuple[tf.Variable, ...]:
        """All variables but those that hold a dataset's lists of features."""
        lists = {id(variable) for variable in self.item_embedding.feature_lists}
        return tuple(variable for variable in self.variables if id(variable) not in lists)

    def embed_items(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> tf.Tensor:
        """Raw embeddings [..., E] of rows [...]; zeros where a row is 0."""
        return self.item_embedding.items(item_rows, cate_rows)

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
            **inputs: `request_inputs` by name, [B, L] of side "history", [B, V] of side "user" (see `nann.dataset.inputs`); others are
                not read.

        Raises:
            ValueError: an input that the model reads is not given.
        """
        return self.item_embedding.history(item_rows, cate_rows, **inputs)

    @abc.abstractmethod
    def encode_user(self, sequence: tf.Tensor, mask: tf.Tensor) -> UserState:
        """The user state of a sequence [B, L, H] and its mask [B, L]."""

    @abc.abstractmethod
    def score(self, user_state: UserState, items: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits [B, n] of items [B, n, D] or [1, n, D]."""

    def training_scores(self, user_state: UserState, items: tf.Tensor) -> list[tf.Tensor]:
        """Logits as in `score`, in training: one where everything learns together, else one for each part that learns by itself; their
        mean is the score."""
        return [self.score(user_state, items, training=True)]

    # A checkpoint holds what some parts consist of as the scorer's own, under the names it had before they were parts: models saved by any
    # version have the same paths.
    unpacked: tuple[str, ...] = ("item_embedding",)

    def _trackable_children(self, save_type: str = "checkpoint", **options: Any) -> dict[str, Any]:
        children: dict[str, Any] = {}
        for name, child in super()._trackable_children(save_type, **options).items():
            children |= child._trackable_children(save_type, **options) if name in self.unpacked else {name: child}
        return children

    def _lookup_dependency(self, name: str, cached_dependencies: dict[str, Any] | None = None) -> Any:
        found = super()._lookup_dependency(name, cached_dependencies)
        for part in self.unpacked:
            owner = super()._lookup_dependency(part, cached_dependencies)  # None until it is made
            if found is None and owner is not None:
                found = owner._lookup_dependency(name, cached_dependencies)
        return found
