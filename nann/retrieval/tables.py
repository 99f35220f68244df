"""What a search reads, as tensors or variables."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from nann.index.embeddings import Embeddings
from nann.index.graph import Graph


@dataclass(frozen=True)
class SearchTables:
    """The tables of a search over N items, D-dimensional; each a tensor or a variable.

    Attributes:
        item_rows: [N] int64, the item row at each position.
        item_embs: [N, D] float32.
        enter_points: [P] int64 positions.
        neighbor_values: per level from 0 up, [total] int32 positions.
        neighbor_row_splits: per level from 0 up, [N + 1] int64.
    """

    item_rows: tf.Tensor
    item_embs: tf.Tensor
    enter_points: tf.Tensor
    neighbor_values: tuple[tf.Tensor, ...]
    neighbor_row_splits: tuple[tf.Tensor, ...]

    @classmethod
    def variables(cls, embeddings: Embeddings, graph: Graph, *, max_levels: int) -> SearchTables:
        """Variables on the host, with the lowest `max_levels` levels of the graph.

        Raises:
            ValueError: the graph has another number of nodes than there are embeddings.
        """
        if graph.num_nodes != len(embeddings):
            raise ValueError(f"the graph has {graph.num_nodes} nodes but there are {len(embeddings)} embeddings; build the index again")
        levels = graph.levels[:max_levels]
        return cls(
            item_rows=tf.Variable(embeddings.item_rows, trainable=False),
            item_embs=tf.Variable(embeddings.vectors, trainable=False),
            enter_points=tf.Variable(graph.enter_points, trainable=False),
            neighbor_values=tuple(tf.Variable(lists.values, trainable=False) for lists in levels),
            neighbor_row_splits=tuple(tf.Variable(lists.row_splits, trainable=False) for lists in levels),
        )
