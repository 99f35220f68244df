"""Embedding lookup without a combiner: the form a sequence model needs, one vector per position.

This is the composite form (a gather per table, a mask, a concatenation); models reach their tables only through it, so that another
implementation of the same contract can take its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def lookup_positions(tables: Sequence[tf.Variable], ids: Sequence[tf.Tensor]) -> tf.Tensor:
    """Looks up one row per id in each table and concatenates the results along the last axis.

    Args:
        tables: F variables, table f of shape [rows_f, dim_f], one float dtype. Row 0 stands for "missing".
        ids: F integer tensors of one shape [...], table f's in [0, rows_f); 0 gives zeros and no gradient.

    Returns:
        [..., sum(dim_f)] tensor of the tables' dtype. The gradient of a table is an `tf.IndexedSlices`.

    Raises:
        ValueError: the numbers of tables and id tensors differ.
    """
    if len(tables) != len(ids) or not tables:
        raise ValueError(f"needs one id tensor per table and at least one, got {len(tables)} tables and {len(ids)} id tensors")
    columns = []
    for table, table_ids in zip(tables, ids, strict=True):
        present = tf.cast(tf.not_equal(table_ids, 0), table.dtype)[..., tf.newaxis]
        columns.append(tf.gather(table, table_ids) * present)
    return tf.concat(columns, axis=-1)
