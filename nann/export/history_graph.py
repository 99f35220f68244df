"""The part of a scorer that reads embedding tables, moved into a TF1 graph with the tables as variables of that graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from nann.models import Scorer
from nann.retrieval.tables import MakeVariable, make_table
from ops.lookup import stock_ops
from ops.packed_table import STORED, PackedTable, pack
from ops.precisions import Precision


@dataclass(frozen=True)
class _Capture:
    """What the traced graph reads from outside: the placeholder's name, the variable's name (None: a constant), and the value."""

    placeholder: str
    name: str | None
    value: Any


class TracedHistory:
    """`Scorer.history` as a graph, and the values of the variables it reads. Make it in eager mode, import it into a graph.

    Args:
        scorer: the model.
        precision: its embedding tables are stored in; they are read as float32.
    """

    def __init__(self, scorer: Scorer, *, precision: Precision = "float32") -> None:
        self._names = tuple(scorer.request_inputs)

        def history(item_rows: tf.Tensor, cate_rows: tf.Tensor, *inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return scorer.history(item_rows, cate_rows, **dict(zip(self._names, inputs, strict=True)))

        signature = [tf.TensorSpec([None, None], tf.int64)] * (2 + len(self._names))
        with stock_ops():  # the portable exports load in any TensorFlow
            traced = tf.function(history, input_signature=signature).get_concrete_function()
        self._graph_def = traced.graph.as_graph_def()
        self._outputs = traced.outputs
        captures = traced.graph.captures
        internal = {placeholder.name for _, placeholder in captures}
        self._inputs = [tensor.name for tensor in traced.graph.inputs if tensor.name not in internal]
        variables = {id(variable.handle): variable for variable in scorer.variables}
        self._captured: list[_Capture] = []
        self._packed: dict[str, PackedTable] = {}
        for captured, placeholder in captures:
            variable = variables.get(id(captured))
            name = None if variable is None else variable.name.split(":")[0].replace("/", "_")
            value = captured.numpy() if variable is None else variable.numpy()
            if variable is not None and precision != "float32" and self._is_table(placeholder.op.name, value):
                self._packed[placeholder.name] = pack(value, precision)
                self._read_packed(placeholder.op.name, self._packed[placeholder.name], precision)
            self._captured.append(_Capture(placeholder.name, name, value))

    def _is_table(self, placeholder: str, value: np.ndarray) -> bool:
        """Whether a variable is a matrix that rows are gathered from, and nothing else."""
        readers = [node for node in self._graph_def.node if placeholder in node.input]
        return value.ndim == 2 and bool(readers) and all(node.op == "ResourceGather" for node in readers)

    def _read_packed(self, placeholder: str, table: PackedTable, precision: Precision) -> None:
        """Makes lookups read the packed values, and the scales through a placeholder of their own, and give float32 as before."""
        if table.scales is not None:
            scales = self._graph_def.node.add(name=f"{placeholder}_scales", op="Placeholder")
            scales.attr["dtype"].type = tf.resource.as_datatype_enum
        for node in [node for node in self._graph_def.node if node.op == "ResourceGather" and node.input[0] == placeholder]:
            name = node.name
            stored = self._graph_def.node.add()
            stored.CopyFrom(node)
            stored.name = f"{name}/stored"
            stored.attr["dtype"].type = STORED[precision].as_datatype_enum
            node.Clear()
            node.name, node.op = name, "Cast"
            node.input.append(stored.name)
            node.attr["SrcT"].type, node.attr["DstT"].type = stored.attr["dtype"].type, tf.float32.as_datatype_enum
            if table.scales is None:
                continue
            cast, scale = self._graph_def.node.add(), self._graph_def.node.add()
            cast.CopyFrom(node)
            cast.name = f"{name}/float"
            scale.CopyFrom(stored)
            scale.name, scale.input[0] = f"{name}/scale", f"{placeholder}_scales"
            scale.attr["dtype"].type = tf.float32.as_datatype_enum
            node.Clear()
            node.name, node.op = name, "Mul"
            node.input.extend([cast.name, scale.name])
            node.attr["T"].type = tf.float32.as_datatype_enum

    def import_into(
        self, make: MakeVariable, item_rows: tf.Tensor, cate_rows: tf.Tensor, inputs: Mapping[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Adds it to the current graph.

        Args:
            make: makes one variable of a name and a value.
            item_rows: [B, W] int64.
            cate_rows: [B, W] int64.
            inputs: by name what else the scorer reads, as prepared.

        Returns:
            The sequence [B, W, H] and the mask [B, W].
        """
        replaced = dict(zip(self._inputs, (item_rows, cate_rows, *(inputs[name] for name in self._names)), strict=True))
        for capture in self._captured:
            if capture.name is None:
                replaced[capture.placeholder] = tf.constant(capture.value)
            elif capture.placeholder in self._packed:
                packed = self._packed[capture.placeholder]
                # the scales as a matrix [rows, 1], to multiply looked-up rows [..., D]
                scales = None if packed.scales is None else packed.scales[:, np.newaxis]
                table = make_table(make, f"scorer_{capture.name}", PackedTable(packed.values, scales))
                replaced[capture.placeholder] = table.values.handle
                if scales is not None:
                    replaced[capture.placeholder.replace(":0", "_scales:0")] = table.scales.handle
            else:
                replaced[capture.placeholder] = make(f"scorer_{capture.name}", capture.value).handle
        names = [tensor.name for tensor in self._outputs]
        sequence, mask = tf.import_graph_def(self._graph_def, input_map=replaced, return_elements=names, name="history")
        sequence.set_shape(self._outputs[0].shape)
        mask.set_shape(self._outputs[1].shape)
        return sequence, mask
