"""The lookup functions of one feature, with the names and arguments of the embedding fusion interface of DeepRec.

The numeric contract of all of them is `tf.nn.safe_embedding_lookup_sparse` of TensorFlow 2.21. v1 and v2 are two entries to one
implementation; v1 takes no weights.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ops.embedding.features import Feature
from ops.embedding.grouped import grouped_lookup
from ops.embedding.variable_lookup import feature_of, variable_of

FUSION_VERSIONS = ("v1", "v2")


def fused_embedding_lookup_sparse(
    params: Any,
    sp_ids: tf.SparseTensor | tf.RaggedTensor,
    sparse_weights: Any = None,
    partition_strategy: str | None = None,
    name: str | None = None,
    combiner: str | None = None,
    max_norm: float | None = None,
    default_id: int | None = None,
    prune_invalid_ids: bool = False,
    fill_empty_row: bool = True,
    blocknums: Any = None,
    *,
    training: bool = True,
) -> tf.Tensor:
    """Looks up and combines rows of a table, version 1.

    Args:
        params: table [rows, dim], variable or tensor, or the list of its parts; or an `EmbeddingVariable`, see ``training``.
        sp_ids: [B, *] int32 or int64 ids.
        sparse_weights: must be None; version 2 takes weights.
        partition_strategy: "div" (also for None) or "mod".
        name: of the op.
        combiner: "mean" (also for None), "sqrtn" or "sum".
        max_norm: L2 limit of every looked-up row, or None.
        default_id: id whose row empty rows are given; None gives them zeros.
        prune_invalid_ids: drop negative ids; otherwise they are an error.
        fill_empty_row: give empty rows ``default_id``; otherwise they are zeros.
        blocknums: must be None; it belongs to tables of dynamic row size, which do not exist here.
        training: of an `EmbeddingVariable`, whose ids are keys: count them and give rows to new ones; negative ids that are not pruned are
            keys like others, a key without a row adds nothing, and ``default_id`` is a key.

    Returns:
        [B, dim] tensor of the table's dtype.

    Raises:
        ValueError: weights are given, or an option is none of its values.
        tf.errors.InvalidArgumentError: an id lies outside the table; when the op runs.
    """
    if sparse_weights is not None:
        raise ValueError("fused_embedding_lookup_sparse (v1) takes no sparse_weights; use fused_embedding_lookup_sparse_v2")
    given = (partition_strategy, name, combiner, max_norm, default_id, prune_invalid_ids, fill_empty_row, blocknums)
    return fused_embedding_lookup_sparse_v2(params, sp_ids, None, *given, training=training)


def fused_embedding_lookup_sparse_v2(
    params: Any,
    sp_ids: tf.SparseTensor | tf.RaggedTensor,
    sparse_weights: Any = None,
    partition_strategy: str | None = None,
    name: str | None = None,
    combiner: str | None = None,
    max_norm: float | None = None,
    default_id: int | None = None,
    prune: bool = False,
    fill_empty_row: bool = True,
    blocknums: Any = None,
    *,
    training: bool = True,
) -> tf.Tensor:
    """Looks up and combines rows of a table, version 2.

    Args:
        params: table [rows, dim], variable or tensor, or the list of its parts; or an `EmbeddingVariable`, see ``training``.
        sp_ids: [B, *] int32 or int64 ids.
        sparse_weights: of the structure of ``sp_ids`` and the table's dtype, or None.
        partition_strategy: "div" (also for None) or "mod".
        name: of the op.
        combiner: "mean" (also for None), "sqrtn" or "sum".
        max_norm: L2 limit of every looked-up row, or None.
        default_id: id whose row empty rows are given; None gives them zeros.
        prune: drop negative ids, and weights not above 0 unless the combiner is "sum"; otherwise negative ids are an error.
        fill_empty_row: give empty rows ``default_id``; otherwise they are zeros.
        blocknums: must be None; it belongs to tables of dynamic row size, which do not exist here.
        training: of an `EmbeddingVariable`, whose ids are keys: count them and give rows to new ones; negative ids that are not pruned are
            keys like others, a key without a row adds nothing, and ``default_id`` is a key.

    Returns:
        [B, dim] tensor of the table's dtype.

    Raises:
        ValueError: an option is none of its values.
        tf.errors.InvalidArgumentError: an id lies outside the table; when the op runs.
    """
    if blocknums is not None:
        raise ValueError(f"blocknums must be None, got {blocknums!r}: there are no tables of dynamic row size")
    options: dict[str, Any] = {
        "combiner": "mean" if combiner is None else combiner,
        "max_norm": max_norm,
        "default_id": default_id,
        "prune": prune,
        "fill_empty_row": fill_empty_row,
    }
    variable = variable_of(params)
    if variable is None:
        strategy = "div" if partition_strategy is None else partition_strategy
        feature = Feature(params, sp_ids, sparse_weights, partition_strategy=strategy, **options)
    else:
        feature = feature_of(variable, sp_ids, sparse_weights, training=training, **options)
    return grouped_lookup([feature], name=name)[0]


def fused_safe_embedding_lookup_sparse(
    embedding_weights: Any,
    sparse_ids: tf.SparseTensor | tf.RaggedTensor,
    sparse_weights: Any = None,
    combiner: str = "mean",
    default_id: int | None = None,
    name: str | None = None,
    partition_strategy: str = "div",
    max_norm: float | None = None,
    prune: bool = True,
    blocknums: Any = None,
    fusion_version: str = "v2",
    *,
    training: bool = True,
) -> tf.Tensor:
    """`tf.nn.safe_embedding_lookup_sparse` as one op.

    Args:
        embedding_weights: table [rows, dim], variable or tensor, or the list of its parts; or an `EmbeddingVariable`, see ``training``.
        sparse_ids: [d_0, ..., d_n] int32 or int64 ids, combined along the last axis; ragged ids have rank 2.
        sparse_weights: of the structure of ``sparse_ids`` and the table's dtype, or None; not with version "v1".
        combiner: "mean", "sqrtn" or "sum".
        default_id: id whose row empty rows are given; None gives them zeros.
        name: of the op.
        partition_strategy: "div" or "mod".
        max_norm: L2 limit of every looked-up row, or None.
        prune: drop negative ids, and weights not above 0 unless the combiner is "sum"; otherwise negative ids are an error.
        blocknums: must be None; it belongs to tables of dynamic row size, which do not exist here.
        fusion_version: "v1" or "v2".
        training: as `fused_embedding_lookup_sparse_v2`.

    Returns:
        [d_0, ..., d_n-1, dim] tensor of the table's dtype.

    Raises:
        ValueError: an option is none of its values, or weights with version "v1".
        tf.errors.InvalidArgumentError: an id lies outside the table; when the op runs.
    """
    if fusion_version not in FUSION_VERSIONS:
        raise ValueError(f"fusion_version must be one of {', '.join(FUSION_VERSIONS)}, got {fusion_version!r}")
    lookup = fused_embedding_lookup_sparse if fusion_version == "v1" else fused_embedding_lookup_sparse_v2
    given = (partition_strategy, name, combiner, max_norm, default_id, prune, True, blocknums)
    return lookup(embedding_weights, sparse_ids, sparse_weights, *given, training=training)
