"""Builds expansions: from a value per user to the value per item row, by one gather with shared row numbers."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ops.graph_optimizer.analysis import SCOPE
from ops.graph_optimizer.errors import GraphCompressionError
from ops.graph_optimizer.provenance import (
    Dims,
    Exact,
    Provenance,
    RaggedSplits,
    SparseEntries,
    SparseIndices,
    SparsePicked,
    SparseSegments,
    UserRows,
    Users,
)


class Expander:
    """The expansions of one graph; what several of them share is built once.

    Args:
        graph: the graph to build in.
        item_size: int tensor [], [1] or [U]; where its static shape says that it is one number, rows are numbered without a search, and
            the items of a user lie side by side as they are.
        num_users: scalar int32 tensor, U.
        num_rows: scalar int32 tensor, the number of item rows there are, or None: then sum(item_size) is taken on trust.
        indices_of: tensor name of the indices (or row splits) of each group of sparse entries.
    """

    def __init__(
        self, graph: tf.Graph, item_size: tf.Tensor, num_users: tf.Tensor, num_rows: tf.Tensor | None, indices_of: dict[str, str]
    ) -> None:
        self._graph, self._indices_of = graph, indices_of
        self._cache: dict[Any, Any] = {}
        self.expanded: list[tuple[tf.Tensor, Provenance, tf.Tensor]] = []
        with self.scope():
            self.num_users = num_users
            sizes = tf.cast(tf.reshape(item_size, [-1]), tf.int32)
            self.uniform = item_size.shape.rank is not None and item_size.shape.as_list() in ([], [1])
            if self.uniform:
                total = num_users * sizes[0]
            else:
                self.counts = tf.broadcast_to(sizes, [num_users])
                self.ends = tf.cumsum(self.counts)
                total = tf.reduce_sum(self.counts)
            checks = []
            if num_rows is not None:
                checks.append(
                    tf.debugging.Assert(
                        tf.equal(total, num_rows),
                        ["item_size adds up to", total, "but the item inputs have this many rows:", num_rows],
                        name="item_size_fits",
                    )
                )
            with tf.control_dependencies(checks):
                self.num_rows = tf.identity(total)
            self.width = self.num_rows // tf.maximum(num_users, 1) if self.uniform else tf.maximum(tf.reduce_max(self.counts), 0)
            self.row_range = tf.range(self.num_rows)
            rows = self.row_range // tf.maximum(self.width, 1) if self.uniform else tf.searchsorted(self.ends, self.row_range, side="right")
            self.rows = tf.identity(rows, name="user_of_row")

    def scope(self) -> Any:
        """The name scope of everything built here."""
        return tf.name_scope(f"{SCOPE}/")

    def expand(self, tensor: tf.Tensor, provenance: Provenance) -> tf.Tensor:
        """The original value of a deferred tensor.

        Raises:
            GraphCompressionError: it is of a kind that has no expansion.
        """
        if tensor.name not in self._cache:
            with self._graph.as_default(), tf.control_dependencies(None), self.scope():
                self._cache[tensor.name] = self._expand(tensor, provenance)
                self.expanded.append((tensor, provenance, self._cache[tensor.name]))
        return self._cache[tensor.name]

    def _expand(self, tensor: tf.Tensor, provenance: Provenance) -> tf.Tensor:
        if isinstance(provenance, Exact):
            return tensor
        if isinstance(provenance, UserRows):
            return tf.gather(tensor, self._row_numbers(tensor, provenance), axis=provenance.axis, name="expand")
        if isinstance(provenance, Dims):
            return self._dims(tensor, provenance)
        if isinstance(provenance, RaggedSplits):
            return tf.cast(self._entries(provenance.group)[1], tensor.dtype)
        if isinstance(provenance, SparseEntries):
            return tf.gather(tensor, self._entries(provenance.group)[0], name="expand_entries")
        if isinstance(provenance, SparseSegments):
            return tf.cast(self._entries(provenance.group)[2], tensor.dtype)
        if isinstance(provenance, SparseIndices):
            entries, _, rows = self._entries(provenance.group)
            return tf.concat([tf.cast(rows, tensor.dtype)[:, tf.newaxis], tf.gather(tensor, entries)[:, 1:]], axis=1)
        kind = "a selection of sparse entries" if isinstance(provenance, SparsePicked) else f"a {type(provenance).__name__}"
        raise GraphCompressionError(
            f"node {tensor.op.name} ({tensor.op.type}) gives {kind} that its consumers need per item row, which cannot be "
            "expanded; pool the sparse feature with a segment op, or leave it out of the user inputs",
            node=tensor.op.name,
        )

    def _row_numbers(self, tensor: tf.Tensor, provenance: UserRows) -> tf.Tensor:
        if provenance.block == 1:
            return self.rows
        size = tf.shape(tensor)[provenance.axis] // tf.maximum(self.num_users, 1)
        return tf.reshape(self.rows[:, tf.newaxis] * size + tf.range(size), [-1])

    def _dims(self, tensor: tf.Tensor, provenance: Dims) -> tf.Tensor:
        counted = [isinstance(entry, Users) for entry in provenance.entries]
        users, rows = (tf.cast(value, tensor.dtype) for value in (tf.maximum(self.num_users, 1), self.num_rows))
        return tf.where(tf.constant(counted[0] if provenance.scalar else counted), tensor // users * rows, tensor)

    def _entries(self, group: str) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Of a group of entries: the entry each expanded entry is a copy of, row splits [R + 1], and the row of each."""
        if ("entries", group) not in self._cache:
            source = self._graph.get_tensor_by_name(self._indices_of[group])
            if source.shape.rank == 2:  # of a sparse tensor: sorted by row, as its contract says
                splits = tf.searchsorted(source[:, 0], tf.cast(tf.range(self.num_users + 1), source.dtype), side="left", out_type=tf.int64)
            else:
                splits = tf.cast(source, tf.int64)
            numbers = tf.range(splits[-1])
            gathered = tf.raw_ops.RaggedGather(
                params_nested_splits=[splits], params_dense_values=numbers, indices=self.rows, OUTPUT_RAGGED_RANK=1
            )
            new_splits, entries = gathered.output_nested_splits[0], gathered.output_dense_values
            rows = tf.searchsorted(new_splits[1:], tf.range(tf.size(entries, tf.int64)), side="right", out_type=tf.int64)
            self._cache["entries", group] = (entries, new_splits, rows)
        found: tuple[tf.Tensor, tf.Tensor, tf.Tensor] = self._cache["entries", group]
        return found

    # The padded form: the items of a user side by side, [U, n, ...] with n the largest item_size.

    def _slots(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The row of each slot [U, n], and the slot of each row [R]."""
        if "slots" not in self._cache:
            starts = self.ends - self.counts
            # slots behind a user's last item repeat any row: what is computed there is dropped again
            row_of_slot = tf.minimum(starts[:, tf.newaxis] + tf.range(self.width), tf.maximum(self.num_rows - 1, 0))
            slot_of_row = self.rows * self.width + self.row_range - tf.gather(starts, self.rows)
            self._cache["slots"] = (row_of_slot, slot_of_row)
        found: tuple[tf.Tensor, tf.Tensor] = self._cache["slots"]
        return found

    def pad(self, tensor: tf.Tensor) -> tf.Tensor:
        """[R, ...] to [U, n, ...]; where a user has fewer items the values are of other rows."""
        if self.uniform:
            shape = tf.concat([[self.num_users, self.width], tf.shape(tensor)[1:]], axis=0)
            return tf.ensure_shape(tf.reshape(tensor, shape), [None, None, *tensor.shape[1:].as_list()])
        row_of_slot, _ = self._slots()
        return tf.ensure_shape(tf.gather(tensor, row_of_slot), [None, None, *tensor.shape[1:].as_list()])

    def unpad(self, tensor: tf.Tensor) -> tf.Tensor:
        """[U, n, ...] to [R, ...]."""
        if self.uniform:
            shape = tf.concat([[self.num_rows], tf.shape(tensor)[2:]], axis=0)
            return tf.ensure_shape(tf.reshape(tensor, shape), [None, *tensor.shape[2:].as_list()])
        _, slot_of_row = self._slots()
        flat = tf.reshape(tensor, tf.concat([[self.num_users * self.width], tf.shape(tensor)[2:]], axis=0))
        return tf.ensure_shape(tf.gather(flat, slot_of_row), [None, *tensor.shape[2:].as_list()])
