"""Rows whose item column lists several items, as impression logs do: every listed item becomes an event."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.text_columns import to_text


def explode_items(columns: Mapping[str, pa.Array], separator: str, kind_separator: str | None) -> dict[str, pa.Array]:
    """Gives every listed item a row of its own, in the order of the lists; a row without items has none.

    Args:
        columns: role -> [n] column, with ``item``.
        separator: between two items of a list.
        kind_separator: before the kind of a listed item, which becomes its ``behavior``; None where there is none.
    """
    lists = pc.split_pattern(pc.fill_null(to_text(columns["item"]), ""), separator)
    items = pc.list_flatten(lists)
    rows = pc.list_parent_indices(lists)
    listed = pa.array(np.flatnonzero(pc.not_equal(items, "").to_numpy(zero_copy_only=False)))
    items, rows = items.take(listed), rows.take(listed)
    exploded = {role: column.take(rows) for role, column in columns.items() if role != "item"}
    if kind_separator is not None:
        parts = pc.split_pattern(items, kind_separator, max_splits=1, reverse=True)
        has_kind = pc.equal(pc.list_value_length(parts), 2)
        items, kinds = pc.list_element(parts, 0), pc.if_else(has_kind, pc.list_element(pc.if_else(has_kind, parts, _PAIR), 1), None)
        exploded["behavior"] = kinds
    exploded["item"] = items
    return exploded


_PAIR = pa.scalar(["", ""], pa.list_(pa.string()))
