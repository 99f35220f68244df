"""The part of a scorer that reads embedding tables, moved into a TF1 graph with the tables as variables of that graph."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from nann.models import Scorer
from nann.retrieval.tables import MakeVariable
from ops.lookup import stock_ops


class TracedHistory:
    """`Scorer.history` as a graph, and the values of the variables it reads. Make it in eager mode, import it into a graph.

    Args:
        scorer: the model.
    """

    def __init__(self, scorer: Scorer) -> None:
        signature = [tf.TensorSpec([None, None], tf.int64)] * 2
        with stock_ops():  # the portable exports load in any TensorFlow
            traced = tf.function(scorer.history, input_signature=signature).get_concrete_function()
        self._graph_def = traced.graph.as_graph_def()
        self._outputs = traced.outputs
        captures = traced.graph.captures
        internal = {placeholder.name for _, placeholder in captures}
        self._inputs = [tensor.name for tensor in traced.graph.inputs if tensor.name not in internal]
        variables = {id(variable.handle): variable for variable in scorer.variables}
        self._captured: list[tuple[str, str | None, Any]] = []
        for captured, placeholder in captures:
            variable = variables.get(id(captured))
            name = None if variable is None else variable.name.split(":")[0].replace("/", "_")
            self._captured.append((placeholder.name, name, captured.numpy() if variable is None else variable.numpy()))

    def import_into(self, make: MakeVariable, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Adds it to the current graph.

        Args:
            make: makes one variable of a name and a value.
            item_rows: [B, W] int64.
            cate_rows: [B, W] int64.

        Returns:
            The sequence [B, W, E] and the mask [B, W].
        """
        replaced = dict(zip(self._inputs, (item_rows, cate_rows), strict=True))
        for placeholder, name, value in self._captured:
            replaced[placeholder] = tf.constant(value) if name is None else make(f"scorer_{name}", value).handle
        names = [tensor.name for tensor in self._outputs]
        sequence, mask = tf.import_graph_def(self._graph_def, input_map=replaced, return_elements=names, name="history")
        sequence.set_shape(self._outputs[0].shape)
        mask.set_shape(self._outputs[1].shape)
        return sequence, mask
