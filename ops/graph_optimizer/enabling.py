"""The call in a user's own graph: record what holds users and items, rewrite when the forward graph is complete."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from ops.graph_optimizer.analysis import SCOPE
from ops.graph_optimizer.compression import with_identity_outputs, without_stale_shapes
from ops.graph_optimizer.errors import GraphCompressionError
from ops.graph_optimizer.inputs import Input, RaggedInput, SparseInput, node_names
from ops.graph_optimizer.provenance import UserRows
from ops.graph_optimizer.rewriting import DEFAULT_ITEMS_PER_USER, Fallback, Rewriting, is_compressed, rewrite_graph
from ops.graphdef.importing import import_graph
from ops.graphdef.names import node_of
from ops.graphdef.reach import part_of

ATTRIBUTE = "_sample_aware_compression"
DECLARATION = "_nann_sample_aware"


@dataclass(frozen=True)
class Request:
    """What `enable_sample_awared_graph_compression` recorded on a graph.

    Attributes:
        user_inputs: inputs with one row per user.
        item_inputs: inputs with one row per item.
        item_size: name of the tensor with the items per user.
        min_items_per_user: the fewest items per user that are expected, on average.
    """

    user_inputs: tuple[Input, ...]
    item_inputs: tuple[Input, ...]
    item_size: str
    min_items_per_user: float = DEFAULT_ITEMS_PER_USER


def enable_sample_awared_graph_compression(
    user_tensors: Sequence[Any], item_tensors: Sequence[Any], item_size: tf.Tensor, *, min_items_per_user: float = DEFAULT_ITEMS_PER_USER
) -> None:
    """Declares which tensors of the current graph hold users and which hold items.

    The graph stays as it is until it is complete; then `apply` (in a graph with gradients before `tf.gradients`), `freeze` or a function
    made with `compressed` rewrites it. The declaration lies on the graph; a later call replaces an earlier one, so it may be called in
    the loop that makes the features, with lists that grow.

    Args:
        user_tensors: tensors [U, ...], sparse or ragged tensors, one row per user.
        item_tensors: likewise, [sum(item_size), ...].
        item_size: integer tensor, items per user: scalar, [1] or [U], zeros allowed.
        min_items_per_user: the fewest items per user that are expected, on average: layers go to the user's side where that many pay for
            it.

    Raises:
        GraphCompressionError: outside a graph (in eager mode), or the tensors are of different graphs.
    """
    graph = tf.compat.v1.get_default_graph()
    if tf.executing_eagerly():
        raise GraphCompressionError("there is no graph to compress in eager mode; call it inside a tf.function or a tf.Graph")
    tensors = [*user_tensors, *item_tensors, item_size]
    for tensor in tensors:
        for part in tf.nest.flatten(tensor, expand_composites=True):
            if part.graph is not graph:
                raise GraphCompressionError(f"{part.name} belongs to another graph than the current one", node=part.op.name)
    if not item_size.dtype.is_integer:
        raise GraphCompressionError(f"item_size must be an integer tensor, {item_size.name} is {item_size.dtype.name}")
    request = Request(tuple(map(_input_of, user_tensors)), tuple(map(_input_of, item_tensors)), item_size.name, float(min_items_per_user))
    setattr(graph, ATTRIBUTE, request)
    _write_on_nodes(graph, request)


def _write_on_nodes(graph: tf.Graph, request: Request) -> None:
    """Writes the declaration into the graph itself, where the optimizer of a session finds it."""
    parts = [
        [name if isinstance(name, str) else list(vars(name).values()) for name in names]
        for names in (request.user_inputs, request.item_inputs)
    ]
    value = tf.compat.v1.AttrValue(s=json.dumps([*parts, request.item_size, request.min_items_per_user]).encode())
    for name in (request.item_size, *node_names(request.user_inputs)):
        graph.get_tensor_by_name(name).op._set_attr(DECLARATION, value)


def _input_of(tensor: Any) -> Input:
    if isinstance(tensor, tf.SparseTensor):
        return SparseInput(tensor.indices.name, tensor.values.name, tensor.dense_shape.name)
    if isinstance(tensor, tf.RaggedTensor):
        if tensor.ragged_rank != 1:
            raise GraphCompressionError(f"a ragged tensor of ragged rank {tensor.ragged_rank} is no input; its rank may be 1")
        return RaggedInput(tensor.values.name, tensor.row_splits.name)
    return str(tensor.name)


def request_of(graph: tf.Graph) -> Request | None:
    """What was declared for a graph."""
    request: Request | None = getattr(graph, ATTRIBUTE, None)
    return request


def apply(outputs: Any = None, *, graph: tf.Graph | None = None, fallback: Fallback = "refuse") -> Any:
    """Rewrites the current graph in place, as declared. A second call does nothing.

    Call it when the forward graph is complete: in a training graph after the loss, before `tf.gradients` (or an optimizer's
    `minimize`); gradients through the expansion are scatter-adds. Tensors that were made before and depend on items keep their value; those
    of users alone have one row per user from now on.

    Args:
        outputs: tensors (any structure) whose original value is wanted; None: everything in the graph that depends on items.
        graph: instead of the current graph.
        fallback: see `compress`.

    Returns:
        ``outputs``, with the expansion in place of a tensor that has one row per user.

    Raises:
        GraphCompressionError: nothing was declared, or the graph cannot be compressed.
    """
    graph = graph or tf.compat.v1.get_default_graph()
    request = request_of(graph)
    if request is None:
        raise GraphCompressionError("nothing is declared for this graph; call enable_sample_awared_graph_compression first")
    if is_compressed(graph):
        return outputs
    wanted = [tensor for tensor in tf.nest.flatten(outputs, expand_composites=True) if isinstance(tensor, tf.Tensor)]
    ops = [tensor.op for tensor in wanted] or [op for op in graph.get_operations() if not op.name.startswith(f"{SCOPE}/")]
    rewriting = rewrite_graph(
        graph,
        user_inputs=request.user_inputs,
        item_inputs=request.item_inputs,
        outputs=ops,
        item_size=graph.get_tensor_by_name(request.item_size),
        fallback=fallback,
        items_per_user=request.min_items_per_user,
        whole=True,
    )
    return tf.nest.map_structure(lambda tensor: _original_value(tensor, rewriting), outputs, expand_composites=True)


def _original_value(tensor: Any, rewriting: Rewriting) -> Any:
    if not isinstance(tensor, tf.Tensor):
        return tensor
    replaced = rewriting.replaced.get(tensor.name, tensor)
    provenance = rewriting.analysis.of(replaced)
    return rewriting.expander.expand(replaced, provenance) if isinstance(provenance, UserRows) else replaced


def compressed(function: Callable[..., Any], *, fallback: Fallback = "refuse", **options: Any) -> Callable[..., Any]:
    """A `tf.function` whose graph is rewritten as it declares; it can be differentiated from outside.

    Args:
        function: calls `enable_sample_awared_graph_compression` on its arguments and computes on rows of (user, item). Batch axes of its
            tensor arguments must not be static, else U rows and R rows contradict each other while it is traced: they are made unknown.
        fallback: see `compress`.
        options: of `tf.function`.

    Returns:
        A callable with the same positional arguments, user tensors with U rows.
    """

    def rewritten(*arguments: Any) -> Any:
        outputs = function(*arguments)
        graph = tf.compat.v1.get_default_graph()
        return outputs if request_of(graph) is None else apply(outputs, graph=graph, fallback=fallback)

    traced = tf.function(rewritten, **options)
    variants: dict[Any, Any] = {}

    def call(*arguments: Any) -> Any:
        tensors = [tf.convert_to_tensor(value) for value in arguments]
        key = tuple((tensor.dtype, tuple(tensor.shape[1:].as_list()) if tensor.shape.rank else tensor.shape.rank) for tensor in tensors)
        if key not in variants:
            specs = [tf.TensorSpec([None, *tensor.shape[1:]] if tensor.shape.rank else tensor.shape, tensor.dtype) for tensor in tensors]
            variants[key] = traced.get_concrete_function(*specs)
        return variants[key](*tensors)

    return call


def freeze(session: tf.compat.v1.Session, outputs: Sequence[str], *, fallback: Fallback = "refuse") -> tf.compat.v1.GraphDef:
    """A version 1 graph as a GraphDef of constants, compressed if that was declared.

    The session's graph is not modified. The declared inputs, item_size among them, keep their names.

    Args:
        session: holds the graph and its variables' values.
        outputs: nodes whose first output is wanted.
        fallback: see `compress`.

    Raises:
        GraphCompressionError: the graph cannot be compressed.
    """
    request = request_of(session.graph)
    names = list(outputs)
    inputs = [] if request is None else [*node_names([*request.user_inputs, *request.item_inputs]), request.item_size]
    keep = set(map(node_of, inputs))
    frozen = tf.compat.v1.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), sorted({*names, *keep}))
    if request is None or is_compressed(session.graph):
        return frozen
    graph = import_graph(with_identity_outputs(without_stale_shapes(frozen, set()), names))
    setattr(graph, ATTRIBUTE, request)
    rewrite_graph(
        graph,
        user_inputs=request.user_inputs,
        item_inputs=request.item_inputs,
        outputs=[graph.get_operation_by_name(name) for name in names],
        item_size=graph.get_tensor_by_name(request.item_size),
        forced=frozenset(names),
        fallback=fallback,
        items_per_user=request.min_items_per_user,
    )
    return part_of(graph.as_graph_def(), {*names, *keep})
