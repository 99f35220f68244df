"""The lookups of `tf.compat.v1.nn` by their names, which take an `EmbeddingVariable` as their table, too.

Of other tables they are TensorFlow's own. Those of an `EmbeddingVariable` go by the fused op.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ops.embedding.features import Feature
from ops.embedding.grouped import grouped_lookup
from ops.embedding.variable_lookup import feature_of, variable_of

_nn = tf.compat.v1.nn


def embedding_lookup(
    params: Any,
    ids: Any,
    partition_strategy: str = "mod",
    name: str | None = None,
    validate_indices: bool = True,
    max_norm: float | None = None,
    *,
    training: bool = True,
) -> tf.Tensor:
    """A row for each id.

    Args:
        params: an `EmbeddingVariable`, or what `tf.compat.v1.nn.embedding_lookup` takes.
        ids: keys of any shape; negative ones are keys like others.
        partition_strategy, name, validate_indices: as in TensorFlow; an `EmbeddingVariable` does not ask for the first and the last.
        max_norm: L2 limit of every row, or None.
        training: of an `EmbeddingVariable`: count ids and give rows to new ones.

    Returns:
        [..., dim]; zeros for a key that has no row.
    """
    variable = variable_of(params)
    if variable is None:
        return _nn.embedding_lookup(params, ids, partition_strategy, name, validate_indices, max_norm)
    rows = variable.rows_of(ids, insert=training)
    each = tf.reshape(rows, [-1, 1])
    alone = tf.RaggedTensor.from_tensor(each)
    held = tf.ragged.boolean_mask(alone, each >= 0)
    [found] = grouped_lookup([Feature(variable.table, held, combiner="sum", max_norm=max_norm, partition_strategy="mod")], name=name)
    return tf.ensure_shape(tf.reshape(found, tf.concat([tf.shape(rows), [variable.dim]], axis=0)), [*rows.shape, variable.dim])


def embedding_lookup_sparse(
    params: Any,
    sp_ids: Any,
    sp_weights: Any = None,
    partition_strategy: str = "mod",
    name: str | None = None,
    combiner: str | None = None,
    max_norm: float | None = None,
    allow_fast_lookup: bool = False,
    *,
    training: bool = True,
) -> tf.Tensor:
    """Rows combined example by example.

    Args:
        params: an `EmbeddingVariable`, or what `tf.compat.v1.nn.embedding_lookup_sparse` takes.
        sp_ids: [B, *] keys, sparse or ragged; negative ones are keys like others.
        sp_weights: of their structure, or None.
        partition_strategy, name, allow_fast_lookup: as in TensorFlow; an `EmbeddingVariable` does not ask for the first and the last.
        combiner: "mean" (also for None), "sqrtn" or "sum".
        max_norm: L2 limit of every row, or None.
        training: of an `EmbeddingVariable`: count ids and give rows to new ones.

    Returns:
        [B, dim]; of an `EmbeddingVariable`, zeros for an example without ids.
    """
    variable = variable_of(params)
    if variable is None:
        return _nn.embedding_lookup_sparse(params, sp_ids, sp_weights, partition_strategy, name, combiner, max_norm, allow_fast_lookup)
    options: dict[str, Any] = {"combiner": combiner or "mean", "max_norm": max_norm, "training": training}
    return grouped_lookup([feature_of(variable, sp_ids, sp_weights, prune=False, **options)], name=name)[0]


def safe_embedding_lookup_sparse(
    embedding_weights: Any,
    sparse_ids: Any,
    sparse_weights: Any = None,
    combiner: str = "mean",
    default_id: Any = None,
    name: str | None = None,
    partition_strategy: str = "div",
    max_norm: float | None = None,
    allow_fast_lookup: bool = False,
    *,
    training: bool = True,
) -> tf.Tensor:
    """As `embedding_lookup_sparse`, without negative ids, and weights not above 0 unless the combiner is "sum".

    Args:
        embedding_weights: an `EmbeddingVariable`, or what `tf.compat.v1.nn.safe_embedding_lookup_sparse` takes.
        default_id: the key whose row an example without ids is given; None: zeros.
        sparse_ids, sparse_weights, combiner, name, partition_strategy, max_norm, allow_fast_lookup, training: as
            `embedding_lookup_sparse`.

    Returns:
        [B, dim]
    """
    variable = variable_of(embedding_weights)
    if variable is None:
        given = (sparse_ids, sparse_weights, combiner, default_id, name, partition_strategy, max_norm, allow_fast_lookup)
        return _nn.safe_embedding_lookup_sparse(embedding_weights, *given)
    options: dict[str, Any] = {"combiner": combiner, "max_norm": max_norm, "default_id": default_id, "training": training}
    return grouped_lookup([feature_of(variable, sparse_ids, sparse_weights, **options)], name=name)[0]
