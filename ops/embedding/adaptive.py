"""Adaptive embedding: ids share the rows of a small static table until they get rows of their own in an `EmbeddingVariable`.

An own row starts from what the id's static row holds at that step, and from then on the two are independent: gradients of an id go to the
one row it is looked up in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from ops.embedding import composite
from ops.embedding.features import COMBINERS, Feature
from ops.embedding.grouped import grouped_lookup
from ops.embedding.variable import EmbeddingVariable


@dataclass(frozen=True)
class AdaptiveFeature:
    """One adaptive lookup: two features whose sums are added, and what they are then divided by.

    Attributes:
        features: of the static table and of the own rows, both with combiner "sum".
        divisor: [B, 1], or None for the combiner "sum".
    """

    features: tuple[Feature, Feature]
    divisor: tf.Tensor | None

    def pool(self, static: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
        """[B, dim] of the outputs [B, dim] of the two features; empty rows are zeros."""
        total = static + own
        return total if self.divisor is None else tf.math.divide_no_nan(total, tf.cast(self.divisor, total.dtype))


def adaptive_lookup(variable: EmbeddingVariable, static_table: tf.Variable, ids: Any, *, fused: bool = True, **options: Any) -> tf.Tensor:
    """Pools adaptive embeddings [B, dim]; arguments as `adaptive_feature`, ``fused`` as `grouped_lookup`."""
    feature = adaptive_feature(variable, static_table, ids, **options)
    return feature.pool(*grouped_lookup(feature.features, fused=fused))


def adaptive_feature(
    variable: EmbeddingVariable,
    static_table: tf.Variable,
    ids: tf.SparseTensor | tf.RaggedTensor,
    *,
    weights: tf.SparseTensor | tf.RaggedTensor | None = None,
    combiner: str = "mean",
    max_norm: float | None = None,
    mask: tf.Tensor | None = None,
    training: bool = True,
) -> AdaptiveFeature:
    """Looks the rows up, gives rows to newly promoted ids, and says what is to be pooled.

    Args:
        variable: of the own rows; without a mask its filter decides which ids are promoted.
        static_table: [buckets, dim]; an id's row is its hash.
        ids: [B, *] int32, int64 or string; negative ids are pruned.
        weights: of the structure of ``ids``; handled as in the fused lookup.
        combiner: "mean", "sqrtn" or "sum", over own and static rows alike.
        max_norm: L2 limit of a looked-up row, or None.
        mask: int32 per id in the order of its values: 1 for its own row, 0 for the static one.
        training: count ids and promote; otherwise ids without an own row are looked up in the static table.

    Raises:
        ValueError: the combiner is none of its values.
    """
    if combiner not in COMBINERS:
        raise ValueError(f"combiner must be one of {', '.join(COMBINERS)}, got {combiner!r}")
    ragged = isinstance(ids, tf.RaggedTensor)
    values = ids.flat_values if ragged else ids.values
    num_buckets = int(static_table.shape[0])
    buckets = bucket_of(values, num_buckets)
    own = variable.rows_of(
        values,
        insert=training,
        prune=True,
        mask=mask,
        start=lambda keys: tf.gather(static_table, bucket_of(keys, num_buckets)),
    )
    kept = tf.ones_like(own, tf.bool) if values.dtype == tf.string else values >= 0
    given = None
    if weights is not None:
        given = weights.flat_values if ragged else weights.values
        if combiner != "sum":  # as in the fused lookup: these weights drop their ids
            kept = tf.logical_and(kept, given > 0)
            own = tf.where(kept, own, -tf.ones_like(own))

    def feature(table: Any, rows: tf.Tensor, here: tf.Tensor) -> Feature:
        held = None if given is None else _only(ids, given, here)
        return Feature(table, _only(ids, rows, here), weights=held, combiner="sum", max_norm=max_norm, partition_strategy="mod")

    features = (
        feature(static_table, buckets, tf.logical_and(kept, own < 0)),
        feature(variable.table, own, own >= 0),
    )
    return AdaptiveFeature(features, None if combiner == "sum" else _divisor(ids, kept, given, combiner))


def bucket_of(ids: tf.Tensor, num_buckets: int) -> tf.Tensor:
    """Static rows int64 of ids: the hash of `tf.compat.v1.feature_column.categorical_column_with_hash_bucket`."""
    return tf.strings.to_hash_bucket_fast(ids if ids.dtype == tf.string else tf.strings.as_string(ids), num_buckets)


def _only(ids: Any, values: tf.Tensor, here: tf.Tensor) -> Any:
    """The places of ids that are here, with values for the ids. Ids pruned instead would leave zero gradients in the form of stock ops,
    and FTRL moves a row even by a gradient of zero."""
    if isinstance(ids, tf.RaggedTensor):
        return tf.ragged.boolean_mask(ids.with_flat_values(values), ids.with_flat_values(here))
    return tf.sparse.retain(tf.SparseTensor(ids.indices, values, ids.dense_shape), here)


def _divisor(ids: Any, kept: tf.Tensor, weights: tf.Tensor | None, combiner: str) -> tf.Tensor:
    """[B, 1]: the sum of the kept ids' weights, or the root of the sum of their squares."""
    ragged = isinstance(ids, tf.RaggedTensor)
    segments = tf.cast(ids.row_splits, tf.int64) if ragged else ids.indices
    shape = tf.zeros([0], tf.int64) if ragged else ids.dense_shape
    rows, num_rows = composite.row_numbers(segments, shape, tf.size(kept, tf.int64))
    each = tf.cast(kept, tf.float32) if weights is None else tf.where(kept, weights, tf.zeros_like(weights))
    total = tf.math.unsorted_segment_sum(each if combiner == "mean" else each * each, rows, num_rows)
    return (total if combiner == "mean" else tf.sqrt(total))[:, tf.newaxis]
