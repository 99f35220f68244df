"""Embedding lookup without a combiner: the form a sequence model needs, one vector per position.

Models reach their tables only through `lookup_positions`. Where the native library is there, a lookup is one op over all tables, and its
gradient one op that gives every table distinct rows; elsewhere, and inside `stock_ops`, it is a gather per table, a mask and a
concatenation.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from ops import native
from ops.embedding.features import Feature, handle_of, is_variable
from ops.embedding.grouped import grouped_lookup, has_gpu_kernels, native_library, shape_of

_stock_only = contextvars.ContextVar("stock_only", default=False)


@contextlib.contextmanager
def stock_ops() -> Iterator[None]:
    """Within this context lookups are traced from stock ops alone: for graphs that must load without the native library."""
    token = _stock_only.set(True)
    try:
        yield
    finally:
        _stock_only.reset(token)


def stock_only() -> bool:
    """Whether this is within `stock_ops`."""
    return _stock_only.get()


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
    library = None if _stock_only.get() else native_library(tables)
    if library is None:
        return lookup_by_stock_ops(tables, ids)
    same = _same_dtype(ids)
    dims = [int(table.shape[1]) for table in tables]
    if all(is_variable(table) for table in tables):
        return library.nann_fused_embedding_positions_resource(
            tables=[handle_of(table) for table in tables], ids=same, T=tables[0].dtype, dims=dims
        )
    return library.nann_fused_embedding_positions(tables=[tf.convert_to_tensor(table) for table in tables], ids=same, dims=dims)


def lookup_bags(table: tf.Variable, ids: tf.RaggedTensor) -> tf.Tensor:
    """Mean row of a table for each list of ids, by the fused lookup where it may be used.

    Args:
        table: [rows, dim].
        ids: [n, *] in [0, rows).

    Returns:
        [n, dim]; zeros for an empty list. The gradient of the table is an `tf.IndexedSlices`.
    """
    return grouped_lookup([Feature(table=table, ids=ids, combiner="mean", prune=False)], fused=not _stock_only.get())[0]


def _same_dtype(ids: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    tensors = [tf.convert_to_tensor(table_ids) for table_ids in ids]
    dtype = tensors[0].dtype if all(tensor.dtype == tensors[0].dtype for tensor in tensors) else tf.int64
    if dtype not in (tf.int32, tf.int64):
        dtype = tf.int64
    return [tf.cast(tensor, dtype) for tensor in tensors]


def lookup_by_stock_ops(tables: Sequence[Any], ids: Sequence[tf.Tensor]) -> tf.Tensor:
    """`lookup_positions` from stock ops; tables may be tensors."""
    columns = []
    for table, table_ids in zip(tables, ids, strict=True):
        present = tf.cast(tf.not_equal(table_ids, 0), table.dtype)[..., tf.newaxis]
        columns.append(tf.gather(table, table_ids) * present)
    return tf.concat(columns, axis=-1)


def position_gradients(dims: Sequence[int], ids: Sequence[Sequence[tf.Tensor]], gradients: Sequence[tf.Tensor]) -> list[tf.IndexedSlices]:
    """The gradients of F tables from those of one or more lookups into them, without differentiating through the lookups.

    Args:
        dims: row size of each table.
        ids: per lookup the F id tensors it was given.
        gradients: per lookup the gradient [..., sum(dims)] of its result.

    Returns:
        Per table the gradient of its rows, without row 0. Indices are distinct where the native library is there.
    """
    library = None if _stock_only.get() or _gpu_without_kernels() else native.load_library()
    if library is None:
        return [_composite_gradient(dims, ids, gradients, number) for number in range(len(dims))]
    flat = _same_dtype([table_ids for lookup in ids for table_ids in lookup])
    indices, values = library.nann_fused_embedding_positions_grad(
        ids=flat, gradients=list(gradients), num_tables=len(dims), dims=list(dims)
    )
    return [tf.IndexedSlices(rows_values, rows) for rows_values, rows in zip(values, indices, strict=True)]


def _gpu_without_kernels() -> bool:
    """Whether the native op would copy gradients from a GPU to the CPU."""
    return not has_gpu_kernels() and bool(tf.config.list_logical_devices("GPU"))


def _composite_gradient(
    dims: Sequence[int], ids: Sequence[Sequence[tf.Tensor]], gradients: Sequence[tf.Tensor], number: int
) -> tf.IndexedSlices:
    first, last = sum(dims[:number]), sum(dims[: number + 1])
    rows = tf.concat([tf.reshape(lookup[number], [-1]) for lookup in ids], axis=0)
    values = tf.concat([tf.reshape(gradient, [-1, sum(dims)])[:, first:last] for gradient in gradients], axis=0)
    present = tf.where(rows > 0)[:, 0]
    return tf.IndexedSlices(tf.gather(values, present), tf.gather(rows, present))


@tf.RegisterGradient("Nann>FusedEmbeddingPositions")
def _gradient(op: Any, gradient: tf.Tensor) -> list[Any]:
    return _gradients_of_inputs(op, gradient)


@tf.RegisterGradient("Nann>FusedEmbeddingPositionsResource")
def _resource_gradient(op: Any, gradient: tf.Tensor) -> list[Any]:
    return _gradients_of_inputs(op, gradient)


def _gradients_of_inputs(op: Any, gradient: tf.Tensor) -> list[Any]:
    num_tables = op.get_attr("num_tables")
    inputs = list(op.inputs)
    tables, ids = inputs[:num_tables], inputs[num_tables:]
    slices = position_gradients(op.get_attr("dims"), [ids], [tf.convert_to_tensor(gradient)])
    shaped = [tf.IndexedSlices(each.values, each.indices, shape_of(table)) for each, table in zip(slices, tables, strict=True)]
    return [*shaped, *[None] * num_tables]
