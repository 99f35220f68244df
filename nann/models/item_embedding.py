"""Everything a scorer looks up: the tables of items and categories, features of the items, and inputs of requests."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from nann.dataset.inputs import FeatureLists, Features, RequestInput
from nann.models.item_features import FeatureEmbedding
from nann.models.layers import Seeds
from nann.models.request_inputs import RequestEmbedding
from nann.models.sequence import SequenceParts
from nann.models.tables import GrowingTable, StaticTable, Table, TableOptions
from ops.lookup import lookup_positions, position_gradients

TableRows = tuple[tuple[tf.Tensor, tf.Tensor], ...]


class ItemEmbedding(tf.Module):
    """Embeddings of items, of histories, and of what stands beside them.

    An embedded item [..., E] is the item's own row and its category's row, both of the two *id tables*, then the mean of each feature.
    The id tables are the large ones: their gradients are not differentiated through the lookup but put together from the rows that were
    read (`id_gradients`), those of the small tables are.

    Args:
        num_items: item rows are 1..num_items; row 0 is missing.
        num_categories: category rows are 1..num_categories; row 0 is missing.
        emb_dim: size of a row of either id table, and of each feature's embedding.
        seeds: of the initial values.
        features: by name what is read beside items and categories.
        causal: whether what stands at a position of a history may only depend on it and those before.

    Attributes:
        item_table: rows by item row.
        category_table: rows by category row.
        features: of the items.
        request: of what comes with every request.
        parts: what stands where in a sequence; ``parts.item`` is E.
    """

    def __init__(
        self,
        *,
        num_items: int,
        num_categories: int,
        emb_dim: int,
        seeds: Seeds,
        features: Features | None = None,
        causal: bool = False,
    ) -> None:
        super().__init__(name="item_embedding")
        self._num_items, self._num_categories, self._emb_dim, self._seeds = num_items, num_categories, emb_dim, seeds
        of_items = {name: entry for name, entry in (features or {}).items() if isinstance(entry, FeatureLists)}
        of_request = {name: entry for name, entry in (features or {}).items() if isinstance(entry, RequestInput)}
        self.item_table: Table = StaticTable(num_items, emb_dim, seeds.next(), "item_table")
        self.category_table: Table = StaticTable(num_categories, emb_dim, seeds.next(), "category_table")
        self.features = [FeatureEmbedding(lists, emb_dim, seeds, name=name) for name, lists in of_items.items()]
        self.request = RequestEmbedding(of_request, emb_dim, seeds, causal=causal)
        self.parts = SequenceParts((2 + len(of_items)) * emb_dim, self.request.event_dim, self.request.user_dim)

    def items(self, item_rows: tf.Tensor, cate_rows: tf.Tensor, *, id_rows: tf.Tensor | None = None) -> tf.Tensor:
        """Embeddings [..., E] of item rows and category rows [...]; zeros where a row is 0.

        With ``id_rows`` [...], the item rows or 0, the items' own rows are looked up by these, and their features alone by ``item_rows``.
        """
        of_ids = self._rows_of(item_rows if id_rows is None else id_rows, cate_rows)
        levels = zip(self.item_table.levels, self.category_table.levels, of_ids, strict=True)
        embedded = functools.reduce(tf.add, [lookup_positions((items, categories), rows) for items, categories, rows in levels])
        return tf.concat([embedded, *(feature(item_rows) for feature in self.features)], axis=-1) if self.features else embedded

    def history(
        self, item_rows: tf.Tensor, cate_rows: tf.Tensor, *, segments: tf.Tensor | None = None, **inputs: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """See `nann.models.Scorer.history`; with ``segments`` as `RequestEmbedding.events` says."""
        for name in self.request.inputs:
            if name not in inputs:
                raise ValueError(f"the model reads the input {name!r}, which is not given; give it, 0 where it is unknown")
        sequence, mask = self.items(item_rows, cate_rows), tf.not_equal(item_rows, 0)
        more = []
        if self.parts.event:
            more.append(self.request.events(item_rows, inputs, segments))
        if self.parts.user:
            user = self.request.user(inputs)
            of_positions = user if segments is not None else user[:, tf.newaxis, :]
            more.append(tf.broadcast_to(of_positions, tf.concat([tf.shape(item_rows), [self.parts.user]], axis=0)))
        return (tf.concat([sequence, *more], axis=-1) if more else sequence), mask

    @property
    def tables(self) -> tuple[tf.Variable, ...]:
        """The variables of the id tables - per level the items' [rows, emb_dim] and the categories' -, then ``small_tables``; row 0 is
        never read."""
        levels = zip(self.item_table.levels, self.category_table.levels, strict=True)
        return *(variable for level in levels for variable in level), *self.small_tables

    @property
    def small_tables(self) -> tuple[tf.Variable, ...]:
        """The embedding tables of features and of inputs."""
        return (*(feature.table for feature in self.features), *self.request.tables)

    @property
    def feature_lists(self) -> tuple[tf.Variable, ...]:
        """The variables that hold a dataset's lists of features, which are not learned."""
        return tuple(variable for feature in self.features for variable in (feature.values, feature.row_splits))

    def id_gradients(self, rows: Sequence[tuple[tf.Tensor, tf.Tensor]], gradients: Sequence[tf.Tensor]) -> list[tf.IndexedSlices]:
        """Gradients of the id tables, in the order of `tables`, from those of what was looked up; row 0 gets none.

        Args:
            rows: per lookup its item rows and category rows [...].
            gradients: per lookup that of its result, [..., E] of `items` or [..., H] of `history`.
        """
        dims = [self._emb_dim] * 2
        own = [gradient[..., : sum(dims)] for gradient in gradients] if self.small_tables else gradients
        levels = zip(*(self._rows_of(*of_lookup) for of_lookup in rows), strict=True)
        # row 0 is padding, or the id's row is on the other level: no table learns from it
        return [gradient for of_level in levels for gradient in position_gradients(dims, of_level, own)]

    def _rows_of(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> TableRows:
        """Per level of the id tables where the embeddings [...] lie; 0 where not on that level."""
        return tuple(zip(self.item_table.rows_of(item_rows), self.category_table.rows_of(cate_rows), strict=True))

    def grow(self, options: TableOptions) -> None:
        """Replaces the id tables by ones that grow; before the optimizer is made."""
        self.table_step = tf.Variable(0, dtype=tf.int64, trainable=False, name="table_step")
        step = self.table_step
        self.item_table = GrowingTable(self._emb_dim, self._seeds.next(), step=step, options=options, name="item_table")
        self.category_table = GrowingTable(self._emb_dim, self._seeds.next(), step=step, options=options, name="category_table")

    def count(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> None:
        """Begins a training step: tables that grow count its targets [B] and give rows to those met often enough."""
        if isinstance(self.item_table, GrowingTable):
            self.table_step.assign_add(1)
            self.item_table.count(item_rows)
            self.category_table.count(cate_rows)

    def evict(self, steps: int) -> None:
        """Removes from tables that grow the rows of ids that were no target for more than so many steps."""
        self.item_table.evict(steps)
        self.category_table.evict(steps)

    def take_over(self, earlier: ItemEmbedding) -> None:
        """Makes the rows of tables that grow those of an earlier model's.

        Raises:
            ValueError: the earlier tables do not grow.
        """
        for old, new in ((earlier.item_table, self.item_table), (earlier.category_table, self.category_table)):
            if isinstance(new, GrowingTable):
                new.take_over(old)

    @property
    def grown(self) -> tuple[tf.Variable, ...]:
        """The variables whose size goes with the ids met."""
        tables = (self.item_table, self.category_table)
        return tuple(variable for table in tables if isinstance(table, GrowingTable) for variable in table.grown)

    def freeze(self) -> None:
        """Makes the tables plain variables, for inference."""
        self.item_table = self.item_table.frozen(self._num_items)
        self.category_table = self.category_table.frozen(self._num_categories)

    def forget_slots(self) -> None:
        """Checkpoints from now on hold no moments of the rows of tables that grow."""
        self.item_table.forget_slots()
        self.category_table.forget_slots()

    def counts(self) -> dict[str, int]:
        """``table_bytes``; of tables that grow also ``items_admitted`` and ``items_evicted`` by this training, ``item_rows`` now, and the
        same of categories."""
        found = {"table_bytes": 0}
        for kind, plural, table in (("item", "items", self.item_table), ("category", "categories", self.category_table)):
            counts = table.counts()
            found["table_bytes"] += counts["size_bytes"]
            if "rows" in counts:
                found |= {f"{plural}_admitted": counts["admitted"], f"{plural}_evicted": counts["evicted"], f"{kind}_rows": counts["rows"]}
        return found

    def describe(self) -> dict[str, dict[str, Any]]:
        """By name what features and inputs can be made from again, see `nann.models.load_model`."""
        return {feature.feature: feature.describe() for feature in self.features} | self.request.describe()
