"""A table of rows for arbitrary ids: an id seen for the first time gets a row, and the table grows when it is full.

Three ordinary variables hold everything: ``table`` [capacity, dim], ``keys`` [capacity] (the id of every row in use) and ``state`` [2].
So gradients, optimizers, `tf.train.Checkpoint` and `tf.compat.v1.train.Saver` need nothing special. Optimizer slots grow along: those of
`ops.embedding.update` and, in TF1 graphs, those that `tf.compat.v1.train` optimizers make.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

from ops import native

OWNER = "_nann_embedding_variable"


class EmbeddingVariable(tf.Module):
    """A growing map from ids to trainable rows.

    Args:
        dim: size of a row.
        dtype: of the rows.
        initializer: called with (shape [m, dim], dtype) for the m rows that are new; default: uniform in +-1/sqrt(dim).
        initial_capacity: rows before the first growth.
        trainable: whether optimizers see the table.
        name: of the table.

    Raises:
        RuntimeError: the native library is not there.
    """

    def __init__(
        self,
        dim: int,
        *,
        dtype: tf.DType = tf.float32,
        initializer: Any = None,
        initial_capacity: int = 1024,
        trainable: bool = True,
        name: str = "embedding_variable",
    ) -> None:
        if dim < 1 or initial_capacity < 2:
            raise ValueError(f"dim must be at least 1 and initial_capacity at least 2, got {dim} and {initial_capacity}")
        super().__init__(name=name.replace("/", "_").replace(".", "_"))
        self._library = native.load_library()
        if self._library is None:
            raise RuntimeError("an EmbeddingVariable needs the native library; run `make install`")
        self.dim, self._dtype = dim, dtype
        self._initializer = initializer or tf.random_uniform_initializer(-(dim**-0.5), dim**-0.5)
        self._slots: list[tf.Variable] = []
        self._slot_names: list[str] = []
        self._lookups: list[Any] = []
        self._graph_mode = not tf.executing_eagerly()
        rows = initial_capacity
        self.table = self._variable(tf.zeros([rows, dim], dtype), name, trainable)
        self.keys = self._variable(tf.fill([rows], tf.constant(-1, tf.int64)), f"{name}_keys", False)
        self.state = self._variable(tf.zeros([2], tf.int64), f"{name}_state", False)
        setattr(self.table, OWNER, self)
        if self._graph_mode:
            self._watch_slots()

    def _variable(self, value: tf.Tensor, name: str, trainable: bool) -> tf.Variable:
        if self._graph_mode:  # optimizers of TF1 want a known shape, though the table may outgrow it
            return tf.compat.v1.Variable(value, trainable=trainable, use_resource=True, name=name)
        return tf.Variable(value, trainable=trainable, name=name, shape=[None, *value.shape[1:]])

    def _watch_slots(self) -> None:
        """Slots are made when gradients are applied, after the lookups; their names are then put into the lookups' nodes."""
        graph, prefix = tf.compat.v1.get_default_graph(), f"{self.table.op.name}/"

        def creator(next_creator: Any, **kwargs: Any) -> Any:
            variable = next_creator(**kwargs)
            if variable.op.name.startswith(prefix) and variable.shape == self.table.shape:
                self._slot_names.append(variable.op.name)
                for lookup in self._lookups:
                    names = attr_value_pb2.AttrValue.ListValue(s=[name.encode() for name in self._slot_names])
                    lookup._set_attr("slot_names", attr_value_pb2.AttrValue(list=names))
            return variable

        graph._variable_creator_stack = [*graph._variable_creator_stack, (0, creator)]

    def attach_slot(self, slot: tf.Variable) -> None:
        """Lets a slot of shape [None, dim] grow with the table."""
        self._slots.append(slot)

    def rows_of(self, ids: tf.Tensor, *, insert: bool = True) -> tf.Tensor:
        """Rows of ids in the table.

        Args:
            ids: int32 or int64, any shape. Negative ids have no row.
            insert: give unknown ids a new row, initialized; otherwise they have none.

        Returns:
            The ids' shape and dtype; -1 where there is no row.
        """
        rows, new_rows = self._library.nann_embedding_variable_rows(
            table=self.table.handle,
            keys=self.keys.handle,
            state=self.state.handle,
            slots=[slot.handle for slot in self._slots],
            ids=ids,
            insert=insert,
            slot_names=self._slot_names,
        )
        if self._graph_mode:
            self._lookups.append(rows.op)
        if not insert:
            return rows
        values = self._initializer(tf.stack([tf.size(new_rows), self.dim]), self._dtype)
        return self._library.nann_embedding_variable_start(table=self.table.handle, new_rows=new_rows, values=values, rows=rows)

    def rows_like(self, ids: tf.SparseTensor | tf.RaggedTensor, *, insert: bool = True) -> tf.SparseTensor | tf.RaggedTensor:
        """Sparse or ragged ids with their rows in place of the ids."""
        if isinstance(ids, tf.RaggedTensor):
            return ids.with_flat_values(self.rows_of(ids.flat_values, insert=insert))
        return tf.SparseTensor(ids.indices, self.rows_of(ids.values, insert=insert), ids.dense_shape)

    def export(self) -> tuple[np.ndarray, np.ndarray]:
        """The ids [n] int64 in the order of their rows, and their rows [n, dim]; in eager mode."""
        used = int(self.state[0])
        return self.keys.numpy()[:used], self.table.numpy()[:used]
