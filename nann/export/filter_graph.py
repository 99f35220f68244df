"""The filtered search in an exported graph: what a request leaves out, the tables of items that a server replaces, and their signatures.

Placeholders and outputs by tensor name, beside those of `nann.export.retrieval_graph`:

- ``exclude_catalogue_item_ids`` [B, E] and ``filter_catalogue_category_ids`` [B, C], catalogue ids; ``exclude_item_ids`` [B, E] and
  ``category_ids`` [B, C] int64, rows, by default those of the catalogue ids; ``exclude_history`` [B] bool. By default nothing is left out;
- ``exact_limit`` [] int64: users for whom no more items pass are answered by a scan of these;
- ``filtered_item_ids`` [B, K] int64 rows, ``filtered_scores`` [B, K] float32, ``filtered_items_scored`` [B] int64,
  ``filtered_catalogue_item_ids`` [B, K];
- ``item_tables_available`` [R + 1] bool and ``item_tables_prior`` [R + 1] float32 by item row: what ``item_tables_items`` [] int64, the
  number of items available, replaces the tables by.
"""

from __future__ import annotations

import tensorflow as tf

from nann.export.catalogue import CatalogueLookup
from nann.retrieval import Filtering, FilterTables, Found

FILTERS = {"exclude_item_ids": "exclude_item_ids", "exclude_history": "exclude_history", "category_ids": "category_ids"}
_SCORES = {"top_k_scores": "filtered_scores", "items_scored": "filtered_items_scored"}
SET_TABLES = "set_item_tables"


def filtered_signatures(history: dict[str, str]) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Inputs and outputs of the signatures, by name, of the inputs of a history."""
    return {
        "filtered": ({**history, **FILTERS}, {"top_k_item_ids": "filtered_item_ids", **_SCORES}),
        "filtered_by_catalogue_id": (
            {
                "item_ids": "catalogue_item_ids",
                "exclude_item_ids": "exclude_catalogue_item_ids",
                "exclude_history": "exclude_history",
                "category_ids": "filter_catalogue_category_ids",
            },
            {"top_k_item_ids": "filtered_catalogue_item_ids", **_SCORES},
        ),
        SET_TABLES: ({"available": "item_tables_available", "prior": "item_tables_prior"}, {"items": "item_tables_items"}),
    }


def add_filtering(tables: FilterTables, lookup: CatalogueLookup, item_ids: tf.Tensor, exact_limit: int) -> Filtering:
    """Adds the placeholders of a request's filters to the current graph, and the replacement of the tables.

    Args:
        tables: as variables of the graph.
        lookup: the catalogue, as variables of the graph.
        item_ids: [B, L] int64, rows of the histories.
        exact_limit: default of the placeholder.
    """
    optional = tf.compat.v1.placeholder_with_default
    shape = tf.stack([tf.shape(item_ids)[0], 0])
    nothing = {tf.int64: tf.zeros(shape, tf.int64), tf.string: tf.fill(shape, "")}
    items = optional(nothing[lookup.id_type], [None, None], name="exclude_catalogue_item_ids")
    categories = optional(nothing[lookup.categories.id_type], [None, None], name="filter_catalogue_category_ids")
    filters = tables.filters(
        item_ids,
        optional(lookup.rows_of(items), [None, None], name="exclude_item_ids"),
        optional(tf.fill(tf.shape(item_ids)[:1], False), [None], name="exclude_history"),
        optional(lookup.categories.rows_of(categories), [None, None], name="category_ids"),
    )
    limit = optional(tf.constant(exact_limit, tf.int64), [], name="exact_limit")
    available = tf.compat.v1.placeholder(tf.bool, [None], name="item_tables_available")
    prior = tf.compat.v1.placeholder(tf.float32, [None], name="item_tables_prior")
    tf.identity(tables.assign(available, prior), name="item_tables_items")
    return Filtering(tables, filters, limit)


def name_found(found: Found, rows: tf.Tensor, lookup: CatalogueLookup) -> None:
    """Names the outputs; `rows` are the item rows [B, K] of what was found."""
    rows = tf.identity(rows, name="filtered_item_ids")
    tf.identity(found.scores, name="filtered_scores")
    tf.identity(found.items_scored, name="filtered_items_scored")
    tf.identity(lookup.ids_of(rows), name="filtered_catalogue_item_ids")
