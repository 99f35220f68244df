"""The inputs of a graph that hold users and items: tensors, sparse tensors (three tensors) and ragged tensors (two)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import tensorflow as tf

from ops.graph_optimizer.errors import GraphCompressionError
from ops.graph_optimizer.provenance import Dims, Provenance, RaggedSplits, Same, SparseEntries, SparseIndices, UserRows, Users


@dataclass(frozen=True)
class SparseInput:
    """Node names of a sparse tensor's parts: indices [entries, rank] sorted by row, values [entries], dense_shape [rank]."""

    indices: str
    values: str
    dense_shape: str


@dataclass(frozen=True)
class RaggedInput:
    """Node names of a ragged tensor's parts: flat values and row_splits [rows + 1]."""

    values: str
    row_splits: str


Input: TypeAlias = str | SparseInput | RaggedInput


def group_inputs(names: Iterable[Input | Sequence[str]]) -> list[Input]:
    """Joins the parts of sparse inputs: three names X/indices, X/values and X/shape, as `tf.compat.v1.sparse_placeholder` gives them."""
    given: list[Input] = [SparseInput(*name) if isinstance(name, (tuple, list)) else _node_name(name) for name in names]
    plain = {name for name in given if isinstance(name, str)}
    grouped: list[Input] = []
    for name in given:
        stem = name.rpartition("/")[0] if isinstance(name, str) else ""
        shape = next((f"{stem}/{part}" for part in ("shape", "dense_shape") if f"{stem}/{part}" in plain), None)
        if isinstance(name, str) and shape and {f"{stem}/indices", f"{stem}/values"} <= plain:
            if name == f"{stem}/indices":
                grouped.append(SparseInput(name, f"{stem}/values", shape))
            elif name not in (f"{stem}/values", shape):
                grouped.append(name)
        else:
            grouped.append(name)
    return grouped


def _node_name(name: Any) -> Any:
    return name.removesuffix(":0") if isinstance(name, str) else name


def node_names(inputs: Iterable[Input]) -> list[str]:
    """All nodes of some inputs."""
    names: list[str] = []
    for given in inputs:
        if isinstance(given, SparseInput):
            names += [given.indices, given.values, given.dense_shape]
        elif isinstance(given, RaggedInput):
            names += [given.values, given.row_splits]
        else:
            names.append(given)
    return names


@dataclass(frozen=True)
class InputSeeds:
    """What the analysis starts from.

    Attributes:
        provenance: of the user inputs, by tensor name.
        indices_of: tensor name of the indices or row splits of each group.
    """

    provenance: dict[str, Provenance]
    indices_of: dict[str, str]


def seeds_of(graph: tf.Graph, inputs: Sequence[Input], axis: int = 0) -> InputSeeds:
    """Seeds of user inputs.

    Raises:
        GraphCompressionError: a node does not exist, or has no axis for the users.
    """
    provenance: dict[str, Provenance] = {}
    indices_of: dict[str, str] = {}
    for given in inputs:
        if isinstance(given, SparseInput):
            group, rank = _tensor(graph, given.indices).name, _tensor(graph, given.dense_shape).shape[0] or 2
            provenance[group] = SparseIndices(group)
            provenance[_tensor(graph, given.values).name] = SparseEntries(group)
            shape = _tensor(graph, given.dense_shape).name
            provenance[shape] = Dims((Users(), *(Same(shape, i) for i in range(1, rank))))
            indices_of[group] = group
        elif isinstance(given, RaggedInput):
            group = _tensor(graph, given.row_splits).name
            provenance[group] = RaggedSplits(group)
            provenance[_tensor(graph, given.values).name] = SparseEntries(group)
            indices_of[group] = group
        else:
            tensor = _tensor(graph, given)
            if tensor.shape.rank is not None and tensor.shape.rank <= axis:
                raise GraphCompressionError(
                    f"user input {given} is a tensor of shape {tensor.shape}; it needs an axis {axis} with one entry per user", node=given
                )
            provenance[tensor.name] = UserRows(axis)
    return InputSeeds(provenance, indices_of)


def _tensor(graph: tf.Graph, name: str) -> tf.Tensor:
    try:
        return graph.get_tensor_by_name(f"{name}:0" if ":" not in name else name)
    except (KeyError, ValueError) as error:
        raise GraphCompressionError(f"the graph has no node named {name}; give inputs and outputs by node name", node=name) from error


def count_users(graph: tf.Graph, inputs: Sequence[Input]) -> tf.Tensor:
    """U, a scalar int32, read off the first user input."""
    first = inputs[0]
    if isinstance(first, SparseInput):
        return tf.cast(_tensor(graph, first.dense_shape)[0], tf.int32)
    if isinstance(first, RaggedInput):
        return tf.size(_tensor(graph, first.row_splits)) - 1
    return tf.shape(_tensor(graph, first))[0]


def count_rows(graph: tf.Graph, inputs: Sequence[Input]) -> tf.Tensor | None:
    """R, a scalar int32, read off the first item input that has it; None without item inputs."""
    return count_users(graph, inputs) if inputs else None
