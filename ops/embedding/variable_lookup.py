"""Lookups whose table is an `EmbeddingVariable`: keys become rows first."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ops.embedding.features import Feature
from ops.embedding.variable import EmbeddingVariable


def variable_of(params: Any) -> EmbeddingVariable | None:
    """The variable, if the table of a lookup is one, alone or in a list of one.

    Raises:
        ValueError: in a list with others.
    """
    given = list(params) if isinstance(params, list | tuple) else [params]
    if not any(isinstance(part, EmbeddingVariable) for part in given):
        return None
    if len(given) > 1:
        raise ValueError(f"an EmbeddingVariable is a whole table, partitioned by partition_num; got it in a list of {len(given)}")
    found: EmbeddingVariable = given[0]
    return found


def feature_of(
    variable: EmbeddingVariable,
    ids: Any,
    weights: Any = None,
    *,
    combiner: str = "mean",
    max_norm: float | None = None,
    default_id: Any = None,
    prune: bool = True,
    fill_empty_row: bool = True,
    training: bool = True,
) -> Feature:
    """The feature of the rows of some keys, which are looked up, and in training counted and given rows.

    Args:
        ids: [B, *] keys, sparse or ragged.
        weights: of the structure of ``ids``, of the table's dtype; or None.
        combiner, max_norm: as `Feature`.
        default_id: the key whose row empty rows are given; None: zeros.
        prune: leave out negative ids, and weights not above 0 unless the combiner is "sum"; otherwise negative ids are keys like others.
        fill_empty_row: give empty rows ``default_id``.
        training: as ``insert`` of `EmbeddingVariable.rows_of`.

    Raises:
        ValueError: a ``default_id`` for ids of a rank other than 2.
    """
    if not isinstance(ids, tf.RaggedTensor):
        ids = tf.compat.v1.convert_to_tensor_or_sparse_tensor(ids)
        if not isinstance(ids, tf.SparseTensor):
            raise TypeError(f"ids must be a tf.SparseTensor or a tf.RaggedTensor, got {type(ids).__name__}")
    if default_id is not None and fill_empty_row:
        ids, weights = _filled(ids, weights, default_id, prune=prune, by_weight=prune and combiner != "sum")
    rows = variable.rows_like(ids, insert=training, prune=prune)
    if not prune:  # keys without a row are left out, whatever their weights
        here = (rows.flat_values if isinstance(rows, tf.RaggedTensor) else rows.values) >= 0
        rows, weights = _only(rows, here), None if weights is None else _only(weights, here)
    return Feature(variable.table, rows, weights, combiner, max_norm, partition_strategy="mod", prune=prune)


def _only(given: Any, here: tf.Tensor) -> Any:
    if isinstance(given, tf.RaggedTensor):
        return tf.ragged.boolean_mask(given, given.with_flat_values(here))
    return tf.sparse.retain(given, here)


def _filled(ids: Any, weights: Any, default_id: Any, *, prune: bool, by_weight: bool) -> tuple[tf.SparseTensor, tf.SparseTensor | None]:
    """Sparse ids and weights without those pruned; rows that are empty then have the default id, with weight 1."""
    if isinstance(ids, tf.RaggedTensor):
        ids, weights = ids.to_sparse(), None if weights is None else weights.to_sparse()
    if ids.shape.rank != 2:
        raise ValueError(f"default_id of an EmbeddingVariable needs ids of rank 2, got shape {ids.shape}")
    kept = tf.ones_like(ids.values, tf.bool)
    if prune and ids.dtype != tf.string:
        kept = ids.values >= 0
    if by_weight and weights is not None:
        kept = tf.logical_and(kept, weights.values > 0)
    if weights is not None:
        weights, _ = tf.sparse.fill_empty_rows(tf.sparse.retain(weights, kept), tf.ones([], weights.dtype))
    filled, _ = tf.sparse.fill_empty_rows(tf.sparse.retain(ids, kept), tf.constant(default_id, ids.dtype))
    return filled, weights
