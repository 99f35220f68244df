"""Side features of the items as scorers read them: lists of values per item, each feature with an embedding table of its own."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from nann.dataset.inputs import FeatureLists
from nann.models.layers import Seeds
from ops.lookup import lookup_bags


class FeatureEmbedding(tf.Module):
    """Mean embedding of an item's values; zeros without any.

    The lists are variables that are not trained: a checkpoint, and a serving graph, hold them beside the table.

    Args:
        lists: of the items.
        dim: of the embedding.
        seeds: of the initial values.
        name: the feature's.

    Attributes:
        feature: the feature's name.
    """

    def __init__(self, lists: FeatureLists, dim: int, seeds: Seeds, *, name: str) -> None:
        super().__init__(name=f"feature_{name}")
        self.feature = name
        self.num_values, self.num_entries = lists.num_values, len(lists.values)
        initial = tf.random.stateless_normal([lists.num_values + 1, dim], seeds.next(), stddev=dim**-0.5)
        self.table = tf.Variable(initial, name=f"{name}_table")
        self.values = tf.Variable(lists.values, trainable=False, name=f"{name}_values")
        self.row_splits = tf.Variable(lists.row_splits, trainable=False, name=f"{name}_row_splits")

    def __call__(self, item_rows: tf.Tensor) -> tf.Tensor:
        """[..., dim] of item rows [...]."""
        flat = tf.reshape(item_rows, [-1])
        # the lists are read whole: ragged gathers take tensors
        lists = tf.RaggedTensor.from_row_splits(tf.convert_to_tensor(self.values), tf.convert_to_tensor(self.row_splits), validate=False)
        pooled = lookup_bags(self.table, tf.gather(lists, flat))
        return tf.reshape(pooled, tf.concat([tf.shape(item_rows), [self.table.shape[1]]], axis=0))

    def describe(self) -> dict[str, Any]:
        """Its sizes, for `FeatureLists.unknown`."""
        return {"num_values": self.num_values, "num_entries": self.num_entries}
