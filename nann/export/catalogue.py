"""Catalogue ids inside the graph: ids to rows and back, with stock ops and variables only.

An id is looked up by binary search over sorted int64 keys: the id itself, or for strings a 64-bit hash (`StringToHashBucketStrong`),
after which the id found is compared with the one asked for. That needs no table resource and no initializer, and ids may hold any bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from nann.retrieval.tables import MakeVariable

BUCKETS = 2**63 - 1
HASH_KEYS = 4


@dataclass(frozen=True)
class Catalogue:
    """The items as the log names them; arrays are indexed by item row, row 0 holds a neutral entry.

    Attributes:
        item_ids: [N + 1] int64, or strings (objects or a string dtype); entry 0 is 0 or "".
        category_rows: [N + 1] integer category rows, 0 where missing.
        num_categories: C.
    """

    item_ids: np.ndarray
    category_rows: np.ndarray
    num_categories: int

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.item_ids) - 1

    @property
    def id_type(self) -> tf.DType:
        """`tf.int64` or `tf.string`."""
        return tf.int64 if np.issubdtype(self.item_ids.dtype, np.integer) else tf.string


class CatalogueLookup:
    """The lookups between catalogue ids, rows and categories. Make it in eager mode, then give it variables in the graph to use it in.

    Args:
        catalogue: the items.

    Raises:
        ValueError: two items have the same id.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.id_type = catalogue.id_type
        self._num_items = catalogue.num_items
        self._category_rows: Any = catalogue.category_rows.astype(np.int64)
        if self.id_type == tf.int64:
            self._ids: Any = catalogue.item_ids.astype(np.int64)
            self._hash_key, keys = None, self._ids[1:]
        else:
            self._ids = np.array([str(item_id).encode() for item_id in catalogue.item_ids], object)
            self._hash_key, keys = _distinct_hashes(self._ids[1:])
        if len(np.unique(keys)) < len(keys):
            raise ValueError(f"the {len(keys)} catalogue ids are not distinct; each item needs an id of its own")
        order = np.argsort(keys)
        self._sorted_keys: Any = keys[order]
        self._sorted_rows: Any = order.astype(np.int64) + 1

    def create(self, make: MakeVariable) -> None:
        """Replaces the arrays by variables of the current graph; `make` makes one of a name and a value."""
        self._ids = make("catalogue_item_ids_by_row", self._ids)
        self._sorted_keys = make("catalogue_sorted_keys", self._sorted_keys)
        self._sorted_rows = make("catalogue_sorted_rows", self._sorted_rows)
        self._category_rows = make("item_categories", self._category_rows)

    def rows_of(self, item_ids: tf.Tensor) -> tf.Tensor:
        """Item rows [B, L] int64 of catalogue ids [B, L]; 0 for an unknown id."""
        wanted = tf.reshape(item_ids, [-1])
        keys = wanted if self._hash_key is None else tf.strings.to_hash_bucket_strong(wanted, BUCKETS, self._hash_key)
        at = tf.minimum(tf.searchsorted(tf.convert_to_tensor(self._sorted_keys), keys), self._num_items - 1)
        rows = tf.gather(self._sorted_rows, at)
        known = tf.equal(tf.gather(self._ids, rows), wanted)
        return tf.reshape(tf.where(known, rows, 0), tf.shape(item_ids))

    def ids_of(self, item_rows: tf.Tensor) -> tf.Tensor:
        """Catalogue ids of item rows 0..N; the neutral entry (0 or "") for row 0."""
        return tf.gather(self._ids, item_rows)

    def categories_of(self, item_rows: tf.Tensor) -> tf.Tensor:
        """Category rows int64 of any integers; 0 for what is no item row."""
        in_range = tf.logical_and(item_rows > 0, item_rows <= self._num_items)
        return tf.gather(self._category_rows, tf.where(in_range, item_rows, 0))


def _distinct_hashes(ids: np.ndarray) -> tuple[list[int], np.ndarray]:
    """The first hash key under which no two ids collide (the last one if there is none), and the hashes [N] int64."""
    for number in range(HASH_KEYS):
        hash_key = [number, 2 * number + 1]
        hashes: np.ndarray = tf.strings.to_hash_bucket_strong(tf.constant(ids, tf.string), BUCKETS, hash_key).numpy()
        if len(np.unique(hashes)) == len(hashes):
            break
    return hash_key, hashes
