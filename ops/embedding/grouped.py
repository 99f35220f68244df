"""The grouped lookup: many features, each with its own table, dim and combiner, in one op with one gradient op."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import kernels
from tensorflow.python.ops import gen_resource_variable_ops

from ops import native
from ops.embedding import composite
from ops.embedding.features import Feature, Group, handle_of, make_group

LOOKUP, LOOKUP_RESOURCE = "Nann>FusedEmbeddingLookup", "Nann>FusedEmbeddingLookupResource"
_ATTRIBUTES = Group.ATTRIBUTES
logger = logging.getLogger(__name__)


def grouped_lookup(features: Sequence[Feature], *, concat: bool = False, fused: bool = True, name: str | None = None) -> Any:
    """Pools the rows of many features at once.

    Numerically `tf.nn.safe_embedding_lookup_sparse` of TensorFlow 2.21 for every feature, except that an empty row that is given zeros
    sends no (zero) gradient to row 0. Tables that are variables are read in place. The gradient of a table is `tf.IndexedSlices` with
    distinct indices, summed over all features that share it; weights have a gradient, too.

    Args:
        features: F features; with ``concat`` all of the same number of rows B.
        concat: one output instead of F.
        fused: False takes the form made of stock ops, which compiles under XLA and needs no library.
        name: of the op.

    Returns:
        [B, sum of dims] tensor if ``concat``, otherwise a list of F tensors [B_f, dim_f], or [d_0, ..., d_n-1, dim_f] for sparse ids of
        rank n + 1 above 2.

    Raises:
        ValueError, TypeError: see `Feature`.
        tf.errors.InvalidArgumentError: an id outside its table, inconsistent structures; when the op runs.
    """
    group = make_group(features, concat=concat)
    outputs = lookup_group(group, name=name) if fused else composite.lookup(group)
    if concat:
        return outputs[0]
    return [_restore_rank(feature.ids, output) for feature, output in zip(features, outputs, strict=True)]


def _restore_rank(ids: Any, pooled: tf.Tensor) -> tf.Tensor:
    if isinstance(ids, tf.RaggedTensor) or ids.dense_shape.shape.as_list() == [2]:
        return pooled
    restored = tf.reshape(pooled, tf.concat([ids.dense_shape[:-1], [pooled.shape[1]]], axis=0))
    rank = ids.dense_shape.shape[0]
    if rank is not None:
        restored.set_shape([None] * (rank - 1) + [pooled.shape[1]])
    return restored


@functools.cache
def has_gpu_kernels() -> bool:
    """Whether the native library is there and was built with CUDA."""
    if native.load_library() is None:
        return False
    return any(kernel.device_type == "GPU" for kernel in kernels.get_registered_kernels_for_op(LOOKUP_RESOURCE).kernel)


@functools.cache
def _warn_of_gpu() -> None:
    logger.warning("tables on a GPU are looked up by stock ops there: the fused op has no GPU kernel in this build")


def native_library(tables: Sequence[Any]) -> Any:
    """The native ops if they can serve these tables where they are, else None."""
    if composite.inside_xla():
        return None
    if any("GPU" in (getattr(table, "device", "") or "").upper() for table in tables) and not has_gpu_kernels():
        _warn_of_gpu()
        return None
    return native.load_library()


def lookup_group(group: Group, name: str | None = None) -> list[tf.Tensor]:
    """The outputs of the grouped op, by the native op where it is there."""
    library = native_library(group.tables)
    if library is None:
        return composite.lookup(group)
    num_outputs = 1 if group.concat else len(group.ids)
    inputs = {"ids": group.ids, "segments": group.segments, "dense_shapes": group.dense_shapes, "weights": group.weights}
    if group.resource:
        return list(
            library.nann_fused_embedding_lookup_resource(
                tables=[handle_of(table) for table in group.tables],
                **inputs,
                T=group.dtype,
                num_outputs=num_outputs,
                name=name,
                **group.attributes(),
            )
        )
    return list(
        library.nann_fused_embedding_lookup(tables=group.tables, **inputs, num_outputs=num_outputs, name=name, **group.attributes())
    )


@tf.RegisterGradient(LOOKUP)
def _gradient(op: Any, *gradients: tf.Tensor) -> list[Any]:
    return _gradients_of_inputs(op, list(gradients), resource=False)


@tf.RegisterGradient(LOOKUP_RESOURCE)
def _resource_gradient(op: Any, *gradients: tf.Tensor) -> list[Any]:
    return _gradients_of_inputs(op, list(gradients), resource=True)


def _gradients_of_inputs(op: Any, gradients: list[tf.Tensor], *, resource: bool) -> list[Any]:
    library = native.load_library()
    num_parts, num_features = op.get_attr("num_parts"), op.get_attr("num_features")
    inputs = list(op.inputs)
    tables, rest = inputs[:num_parts], inputs[num_parts:]
    ids, segments, dense_shapes, weights = (
        rest[:num_features],
        rest[num_features : 2 * num_features],
        rest[2 * num_features : 3 * num_features],
        rest[3 * num_features :],
    )
    arguments = {
        "tables": tables,
        "ids": ids,
        "segments": segments,
        "dense_shapes": dense_shapes,
        "weights": weights,
        "gradients": [tf.convert_to_tensor(gradient) for gradient in gradients],
        **{name: plain_attribute(op.get_attr(name)) for name in _ATTRIBUTES},
    }
    form = "_resource" if resource else ""
    indices, values = getattr(library, f"nann_fused_embedding_grad{form}")(**arguments)
    table_gradients = [
        tf.IndexedSlices(part_values, part_indices, shape_of(table))
        for table, part_indices, part_values in zip(tables, indices, values, strict=True)
    ]
    weight_gradients = []
    if weights:
        weight_gradients = list(getattr(library, f"nann_fused_embedding_weights_grad{form}")(**arguments))
    return [*table_gradients, *[None] * (3 * num_features), *weight_gradients]


def plain_attribute(value: Any) -> Any:
    """Attributes come as bytes from an op, and are wanted as text."""
    if isinstance(value, bytes):
        return value.decode()
    return [plain_attribute(entry) for entry in value] if isinstance(value, list | tuple) else value


def shape_of(table: tf.Tensor) -> tf.Tensor:
    """[2] int64 shape of a table: a tensor, or a variable's handle, which is not read for it."""
    if table.dtype == tf.resource:
        return gen_resource_variable_ops.variable_shape(table, out_type=tf.int64)
    return tf.shape(table, out_type=tf.int64)
