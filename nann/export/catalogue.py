"""Catalogue ids inside the graph: ids to rows and back, with stock ops and variables only.

An id is looked up by binary search, see `ops.key_search`, after which the id found is compared with the one asked for. That needs no table
resource and no initializer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from nann.retrieval.tables import MakeVariable
from ops.key_search import KeySearch

LEAST = -(2**63)


@dataclass(frozen=True)
class Catalogue:
    """The items as the log names them; arrays are indexed by item row, row 0 holds a neutral entry.

    Attributes:
        item_ids: [N + 1] int64, or strings (objects or a string dtype); entry 0 is 0 or "".
        category_rows: [N + 1] integer category rows, 0 where missing.
        num_categories: C.
        category_ids: [C + 1] int64, or strings, the id of each category row that an item has, anything for the others; None: the rows
            themselves.
    """

    item_ids: np.ndarray
    category_rows: np.ndarray
    num_categories: int
    category_ids: np.ndarray | None = None

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.item_ids) - 1

    @property
    def id_type(self) -> tf.DType:
        """`tf.int64` or `tf.string`."""
        return tf.int64 if np.issubdtype(self.item_ids.dtype, np.integer) else tf.string


class CategoryLookup:
    """Category rows of category ids, as `CatalogueLookup` finds items. Make it in eager mode.

    Args:
        catalogue: the items.

    Attributes:
        id_type: `tf.int64` or `tf.string`.
        nothing: the id that stands for no category: 0 or "", or the least of all numbers where a category has the id 0.

    Raises:
        ValueError: two categories have the same id.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        rows = np.unique(catalogue.category_rows).astype(np.int64)
        rows = rows[rows > 0]
        ids: Any = np.arange(catalogue.num_categories + 1) if catalogue.category_ids is None else catalogue.category_ids
        self.id_type = tf.int64 if np.issubdtype(ids.dtype, np.integer) else tf.string
        self.nothing: int | bytes = b""
        if self.id_type == tf.int64:
            known = ids[rows].astype(np.int64)
            self.nothing = int(LEAST) if np.any(known == 0) else 0
        else:
            known = np.array([str(category_id).encode() for category_id in ids[rows]], object)
        # the last entry is that of no id, so that there always is one to compare with
        self._rows: Any = np.append(rows, -1)
        self._ids: Any = np.append(known, np.array([self.nothing], known.dtype))
        try:
            self._search = KeySearch(self._ids)
        except ValueError as error:
            raise ValueError(f"the ids of {len(rows)} categories are not distinct; each category needs an id of its own") from error
        self._order: Any = self._search.order

    def create(self, make: MakeVariable) -> None:
        """See `CatalogueLookup.create`."""
        self._ids = make("catalogue_category_ids", self._ids)
        self._rows = make("catalogue_category_rows", self._rows)
        self._search.sorted_keys = make("catalogue_sorted_category_keys", self._search.sorted_keys)
        self._order = make("catalogue_sorted_categories", self._order)

    def rows_of(self, category_ids: tf.Tensor) -> tf.Tensor:
        """Category rows [B, C] int64 of ids [B, C]; 0 for the id of no category, and for the least number; -1 for an unknown one."""
        wanted = tf.reshape(category_ids, [-1])
        place = tf.gather(self._order, self._search.places_of(wanted))
        known = tf.equal(tf.gather(self._ids, place), wanted)
        rows = tf.where(known, tf.gather(self._rows, place), -1)
        nothing = tf.equal(wanted, self.nothing)
        if self.id_type == tf.int64:
            nothing = tf.logical_or(nothing, tf.equal(wanted, LEAST))
        return tf.reshape(tf.where(nothing, tf.zeros_like(rows), rows), tf.shape(category_ids))


class CatalogueLookup:
    """The lookups between catalogue ids, rows and categories. Make it in eager mode, then give it variables in the graph to use it in.

    Args:
        catalogue: the items.

    Attributes:
        id_type: `tf.int64` or `tf.string`.
        categories: the lookup of categories.

    Raises:
        ValueError: two items, or two categories, have the same id.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.id_type, self.categories = catalogue.id_type, CategoryLookup(catalogue)
        self._num_items = catalogue.num_items
        self._category_rows: Any = catalogue.category_rows.astype(np.int64)
        if self.id_type == tf.int64:
            self._ids: Any = catalogue.item_ids.astype(np.int64)
        else:
            self._ids = np.array([str(item_id).encode() for item_id in catalogue.item_ids], object)
        try:
            self._search = KeySearch(self._ids[1:])
        except ValueError as error:
            raise ValueError(f"the {self._num_items} catalogue ids are not distinct; each item needs an id of its own") from error
        self._sorted_rows: Any = self._search.order + 1

    def create(self, make: MakeVariable) -> None:
        """Replaces the arrays by variables of the current graph; `make` makes one of a name and a value."""
        self._ids = make("catalogue_item_ids_by_row", self._ids)
        self._search.sorted_keys = make("catalogue_sorted_keys", self._search.sorted_keys)
        self._sorted_rows = make("catalogue_sorted_rows", self._sorted_rows)
        self._category_rows = make("item_categories", self._category_rows)
        self.categories.create(make)

    def rows_of(self, item_ids: tf.Tensor) -> tf.Tensor:
        """Item rows [B, L] int64 of catalogue ids [B, L]; 0 for an unknown id."""
        wanted = tf.reshape(item_ids, [-1])
        rows = tf.gather(self._sorted_rows, self._search.places_of(wanted))
        known = tf.equal(tf.gather(self._ids, rows), wanted)
        return tf.reshape(tf.where(known, rows, 0), tf.shape(item_ids))

    def ids_of(self, item_rows: tf.Tensor) -> tf.Tensor:
        """Catalogue ids of item rows 0..N; the neutral entry (0 or "") for row 0."""
        return tf.gather(self._ids, item_rows)

    def categories_of(self, item_rows: tf.Tensor) -> tf.Tensor:
        """Category rows int64 of any integers; 0 for what is no item row."""
        in_range = tf.logical_and(item_rows > 0, item_rows <= self._num_items)
        return tf.gather(self._category_rows, tf.where(in_range, item_rows, 0))
