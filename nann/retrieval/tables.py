"""What a search reads, as tensors or variables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from nann.index.embeddings import Embeddings
from nann.index.graph import Graph
from nann.retrieval.plan import EntryTable, useful_levels
from ops.packed_table import PackedTable, pack
from ops.precisions import Precision

MakeVariable = Callable[[str, np.ndarray], tf.Variable]


@dataclass(frozen=True)
class SearchTables:
    """The tables of a search over N items, D-dimensional; each a tensor or a variable.

    Attributes:
        item_rows: [N] int64, the item row at each position.
        item_embs: [N, D], its values and the scales of an int8 table each a tensor or a variable.
        enter_points: [Q] int64 positions where walks may start, see `EntryTable`.
        enter_levels: [Q] int64, the highest level of each.
        enter_as_built: [Q] bool, those of the index.
        useful_levels: [levels] bool, see `nann.retrieval.plan.useful_levels`.
        neighbor_values: per level from 0 up, [total] int32 positions.
        neighbor_row_splits: per level from 0 up, [N + 1] int64.
    """

    item_rows: tf.Tensor
    item_embs: PackedTable
    enter_points: tf.Tensor
    enter_levels: tf.Tensor
    enter_as_built: tf.Tensor
    useful_levels: tf.Tensor
    neighbor_values: tuple[tf.Tensor, ...]
    neighbor_row_splits: tuple[tf.Tensor, ...]

    @classmethod
    def create(
        cls, embeddings: Embeddings, graph: Graph, *, max_levels: int, make: MakeVariable | None = None, precision: Precision = "float32"
    ) -> SearchTables:
        """Variables with the lowest `max_levels` levels of the graph.

        Args:
            embeddings: the corpus.
            graph: built from these embeddings.
            max_levels: levels to keep; fewer where the graph is lower.
            make: makes one variable of a name and a value; `tf.Variable` by default. The names are those of the index artifact's
                files, ``item_rows``, ``item_embs``, and for int8 ``item_embs_scales``.
            precision: the vectors are stored in.

        Raises:
            ValueError: the graph has another number of nodes than there are embeddings.
        """
        if graph.num_nodes != len(embeddings):
            raise ValueError(f"the graph has {graph.num_nodes} nodes but there are {len(embeddings)} embeddings; build the index again")
        make = make or _make_variable
        levels = list(enumerate(graph.levels[:max_levels]))
        entries = EntryTable.of(graph)
        return cls(
            item_rows=make("item_rows", embeddings.item_rows),
            item_embs=make_table(make, "item_embs", pack(embeddings.vectors, precision)),
            enter_points=make("enter_points", entries.positions),
            enter_levels=make("enter_levels", entries.levels),
            enter_as_built=make("enter_as_built", entries.as_built),
            useful_levels=make("useful_levels", useful_levels(graph, max_levels)),
            neighbor_values=tuple(make(f"neighbors_level_{level}_values", lists.values) for level, lists in levels),
            neighbor_row_splits=tuple(make(f"neighbors_level_{level}_row_splits", lists.row_splits) for level, lists in levels),
        )


def make_table(make: MakeVariable, name: str, table: PackedTable) -> PackedTable:
    """A packed table as variables, the scales under ``NAME_scales``."""
    return PackedTable(make(name, table.values), None if table.scales is None else make(f"{name}_scales", table.scales))


def _make_variable(name: str, value: np.ndarray) -> tf.Variable:
    return tf.Variable(value, trainable=False, name=name)
