"""The stages of a lookup one by one, for a table whose parts live on other devices or hosts: gather where the part lives, combine here.

`prune_and_fill` -> `unique_with_counts` -> `partition_with_permutation` -> a gather per part -> `post_lookup`. On one host the grouped op
resolves parts itself, with the same numbers (`staged_lookup` is both an example and the proof).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from ops import native
from ops.embedding.features import Feature, make_group
from ops.embedding.grouped import plain_attribute


class Pruned(NamedTuple):
    """What remains of a feature's ids.

    Attributes:
        ids: [k] ids, empty rows filled.
        row_splits: [B + 1] int64.
        weights: [k], ones where none were given.
        row_is_empty: [B] bool, true for filled rows, too.
        positions: [k] int64 places of the kept ids among the given ones; -1 for a filled one.
    """

    ids: tf.Tensor
    row_splits: tf.Tensor
    weights: tf.Tensor
    row_is_empty: tf.Tensor
    positions: tf.Tensor


def _library() -> Any:
    library = native.load_library()
    if library is None:
        raise RuntimeError("the stages need the native library; run `make install`")
    return library


def prune_and_fill(feature: Feature) -> Pruned:
    """Drops invalid ids and weights and fills empty rows, as the options of the feature say; the weights have a gradient."""
    group = make_group([feature], concat=False)
    weights = group.weights[0] if group.weights else tf.ones(tf.shape(group.ids[0]), group.dtype)
    found = _library().nann_fused_embedding_prune_invalid_and_fill_empty_rows(
        ids=group.ids[0],
        segments=group.segments[0],
        dense_shape=group.dense_shapes[0],
        weights=weights,
        combiner=feature.combiner,
        default_id=group.default_ids[0],
        prune=feature.prune,
        fill=feature.fill_empty_row,
    )
    return Pruned(*found)


def unique_with_counts(ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Distinct ids [u] in the order of their first appearance, the place of every id among them [k], and how often each appears [u]."""
    return tuple(_library().nann_fused_embedding_unique_with_counts(ids=ids))


def partition_with_permutation(ids: tf.Tensor, part_rows: Sequence[int], strategy: str) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Rows of ids within the parts of a table.

    Args:
        ids: [u] int32 or int64.
        part_rows: rows of each part.
        strategy: "div" or "mod".

    Returns:
        Per part the rows [u_p] to gather there, and [u] int64: the place of every id among the rows of all parts in turn.

    Raises:
        tf.errors.InvalidArgumentError: an id lies outside the table; when the op runs.
    """
    rows, permutation = _library().nann_fused_embedding_partition_with_permutation(
        ids=ids, part_rows=tf.constant(list(part_rows), tf.int64), num_parts=len(part_rows), strategy=strategy
    )
    return list(rows), permutation


def post_lookup(
    gathered: Sequence[tf.Tensor],
    permutation: tf.Tensor,
    positions: tf.Tensor,
    pruned: Pruned,
    *,
    combiner: str,
    max_norm: float | None = None,
) -> tf.Tensor:
    """Clips and combines gathered rows; differentiable with regard to them and to the weights.

    Args:
        gathered: per part [u_p, dim] of one float dtype.
        permutation: of `partition_with_permutation`.
        positions: of `unique_with_counts`.
        pruned: of `prune_and_fill`.
        combiner: "mean", "sqrtn" or "sum".
        max_norm: L2 limit of every row, or None.

    Returns:
        [B, dim] pooled rows.
    """
    return _library().nann_fused_embedding_post_lookup(
        gathered=list(gathered),
        permutation=permutation,
        positions=positions,
        row_splits=pruned.row_splits,
        weights=pruned.weights,
        combiner=combiner,
        max_norm=-1.0 if max_norm is None else max_norm,
    )


@tf.RegisterGradient("Nann>FusedEmbeddingPostLookup")
def _gradient(op: Any, gradient: tf.Tensor) -> list[Any]:
    parts = op.get_attr("num_parts")
    inputs = list(op.inputs)
    arguments = {
        "gathered": inputs[:parts],
        "permutation": inputs[parts],
        "positions": inputs[parts + 1],
        "row_splits": inputs[parts + 2],
        "weights": inputs[parts + 3],
        "gradient": tf.convert_to_tensor(gradient),
        "combiner": plain_attribute(op.get_attr("combiner")),
        "max_norm": op.get_attr("max_norm"),
    }
    found = _library().nann_fused_embedding_post_lookup_grad(**arguments)
    weights = _library().nann_fused_embedding_post_lookup_weights_grad(**arguments)
    return [*found, None, None, None, weights]


@tf.RegisterGradient("Nann>FusedEmbeddingPruneInvalidAndFillEmptyRows")
def _gradient_of_weights(op: Any, *gradients: tf.Tensor) -> list[Any]:
    kept, positions = gradients[2], op.outputs[4]
    if kept is None:
        return [None] * 4
    given = tf.where(positions >= 0)[:, 0]
    size = tf.shape(op.inputs[3], out_type=tf.int64)
    return [None, None, None, tf.scatter_nd(tf.gather(positions, given)[:, tf.newaxis], tf.gather(kept, given), size)]


def staged_lookup(feature: Feature) -> tf.Tensor:
    """`grouped_lookup` of one feature, stage by stage; every part is gathered on the device it lives on."""
    parts = make_group([feature], concat=False).tables
    pruned = prune_and_fill(feature)
    unique, positions, _ = unique_with_counts(pruned.ids)
    rows, permutation = partition_with_permutation(unique, [int(part.shape[0]) for part in parts], feature.partition_strategy)
    gathered = []
    for part, part_rows in zip(parts, rows, strict=True):
        with tf.device(part.device or None):
            gathered.append(tf.gather(part, part_rows))
    return post_lookup(gathered, permutation, positions, pruned, combiner=feature.combiner, max_norm=feature.max_norm)
