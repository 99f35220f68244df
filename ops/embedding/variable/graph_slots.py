"""Slots in TF1 graphs: optimizers of `tf.compat.v1.train` make them without telling anyone, after the lookups are in the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

from ops.embedding.variable.storage import Storage


class GraphSlots:
    """Finds the slots of a storage's tables as they are made, and tells the lookups that grow them.

    Args:
        storage: made in the current graph.

    Attributes:
        names: of the slots so far.

    Raises:
        RuntimeError: within a `tf.variable_creator_scope`.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.names: list[str] = []
        self._lookups: list[Any] = []
        graph = tf.compat.v1.get_default_graph()
        stack = graph._variable_creator_stack
        if any(not isinstance(getattr(creator, "__self__", None), GraphSlots) for _, creator in stack):
            raise RuntimeError(
                "an EmbeddingVariable of a TF1 graph cannot be made within a variable_creator_scope or a template, whose end would make it "
                "forget its optimizer's slots; make it before: a column's by column.variable()"
            )
        graph._variable_creator_stack = [*stack, (0, self._create)]

    def grown_by(self, lookup: tf.Operation) -> None:
        """Takes note of a lookup, which grows the slots it is told of by the attribute ``slot_names``."""
        self._lookups.append(lookup)

    def _create(self, next_creator: Any, **kwargs: Any) -> Any:
        variable = next_creator(**kwargs)
        for part, table in enumerate(self._storage.tables):
            if variable.op.name.startswith(f"{table.op.name}/") and variable.shape == table.shape:
                self._storage.slots.append((part, variable))
                self.names.append(variable.op.name)
                names = attr_value_pb2.AttrValue.ListValue(s=[name.encode() for name in self.names])
                for lookup in self._lookups:
                    lookup._set_attr("slot_names", attr_value_pb2.AttrValue(list=names))
                variable._read_variable_op = self._after_lookups(variable._read_variable_op)
        return variable

    def _after_lookups(self, read: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
        """A slot's read which in an optimizer's update (Adam's decays all moments) waits until the step's lookups have grown the slot."""

        def in_turn(*args: Any, **kwargs: Any) -> tf.Tensor:
            inside = any(scope.startswith("update_") for scope in tf.compat.v1.get_default_graph().get_name_scope().split("/"))
            with tf.control_dependencies(self._lookups if inside else []):
                return read(*args, **kwargs)

        return in_turn
