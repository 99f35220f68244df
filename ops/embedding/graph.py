"""Fused lookups in GraphDefs: taking them apart for serving without the native library, putting them together again, freezing.

`defuse` and `freeze` need the library themselves, to read the graph; what they return with ``fused=False`` does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from ops import native
from ops.embedding import composite, positions
from ops.embedding.features import Group, handle_of
from ops.embedding.grouped import LOOKUP, LOOKUP_RESOURCE
from ops.embedding.variable.frozen_keys import FrozenKeys
from ops.graphdef import functions
from ops.graphdef.editing import consumers, rename_inputs, with_nodes
from ops.graphdef.names import is_control, node_of

POSITIONS, POSITIONS_RESOURCE = "Nann>FusedEmbeddingPositions", "Nann>FusedEmbeddingPositionsResource"
TENSOR_FORM = {LOOKUP_RESOURCE: LOOKUP, POSITIONS_RESOURCE: POSITIONS}
FUSED = {LOOKUP, POSITIONS, *TENSOR_FORM}
INSERT, FIND = "Nann>EmbeddingVariableRows", "Nann>EmbeddingVariableFind"
_ORIGIN = "_nann_fused_node"


def tensor_form(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """A graph whose fused lookups read their variables by `ReadVariableOp` and take the values: the form that can be frozen.

    Args:
        graph_def: with the functions of its library, whose lookups are changed as well.
    """
    return functions.change_everywhere(graph_def, _tensor_form, TENSOR_FORM)


def _tensor_form(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    result = with_nodes(graph_def, ())
    for node in graph_def.node:
        if node.op not in TENSOR_FORM:
            result.node.add().CopyFrom(node)
            continue
        count = node.attr["num_parts" if node.op == LOOKUP_RESOURCE else "num_tables"].i
        changed = tf.compat.v1.NodeDef()
        changed.CopyFrom(node)
        changed.op = TENSOR_FORM[node.op]
        for number in range(count):
            read = result.node.add(name=f"{node.name}/read_{number}", op="ReadVariableOp", input=[node.input[number]], device=node.device)
            read.attr["dtype"].CopyFrom(node.attr["T"])
            changed.input[number] = read.name
        result.node.append(changed)
    return result


def defuse(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """Replaces every fused lookup by stock ops with the same result; node names others refer to stay.

    What it returns loads and runs where the native library is not: in another TensorFlow, in a server. Gradient and update ops are left
    alone; graphs for serving have none.

    Args:
        graph_def: a graph, of a `tf.Graph`, a concrete function or a SavedModel's meta graph. Lookups in the functions of its library are
            replaced, too; functions keep their names.

    Returns:
        A changed copy, or ``graph_def`` itself if it holds no fused lookup.

    Raises:
        ValueError: the rank of some segments is unknown.
    """
    return functions.change_everywhere(tensor_form(graph_def), _defuse, FUSED)


def _defuse(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    native.load_library()  # without which TensorFlow does not know the ops to be replaced
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    result = with_nodes(graph_def, ())
    moved: dict[str, str] = {}
    for node in graph_def.node:
        if node.op not in FUSED:
            result.node.add().CopyFrom(node)
            continue
        op = graph.get_operation_by_name(node.name)
        result.node.extend(_stock_nodes(node, op))
        moved.update({f"{node.name}:{number}": f"{node.name}/output_{number}" for number in range(1, len(op.outputs))})
    rename_inputs(result, moved)
    return result


def _stock_nodes(node: Any, op: Any) -> Iterable[Any]:
    """The nodes, named below the fused node's name, that take its place."""
    given = [(name, tensor.dtype, tensor.shape) for name, tensor in zip(node.input, op.inputs, strict=False)]
    for stock in _nodes_in_place(node, given, lambda *inputs: _composite(op, list(inputs))):
        if stock.name == node.name:
            stock.attr[_ORIGIN].CopyFrom(attr_value_pb2.AttrValue(s=node.SerializeToString(deterministic=True)))
        yield stock


def _nodes_in_place(node: Any, given: list[tuple[str, tf.DType, tf.TensorShape]], make: Callable[..., list[tf.Tensor]]) -> Iterable[Any]:
    """The nodes that `make` adds for inputs of given names and types; the first output has the name of the node, whose place they take."""
    with tf.Graph().as_default() as graph:
        inputs = [tf.compat.v1.placeholder(dtype, shape, name=f"input_{i}") for i, (_, dtype, shape) in enumerate(given)]
        for number, output in enumerate(make(*inputs)):
            tf.identity(output, name=f"output_{number}")
    replaced = {f"input_{i}": name for i, (name, _, _) in enumerate(given)}
    control = list(filter(is_control, node.input))
    for stock in graph.as_graph_def().node:
        if stock.name in replaced:
            continue
        for number, name in enumerate(stock.input):
            if node_of(name) in replaced and not is_control(name):
                stock.input[number] = replaced[node_of(name)]
            elif is_control(name):
                stock.input[number] = f"^{node.name}/{node_of(name)}"
            else:
                stock.input[number] = f"{node.name}/{name}"
        if not stock.input:
            stock.input.extend(control)
        is_first = stock.name == "output_0"
        stock.name = node.name if is_first else f"{node.name}/{stock.name}"
        stock.device = node.device
        stock.attr.pop("_class", None)  # would be to lie beside an input that is now another node
        yield stock


def _composite(op: Any, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
    if op.type == POSITIONS:
        count = op.get_attr("num_tables")
        for table, dim in zip(inputs[:count], op.get_attr("dims"), strict=True):
            table.set_shape([None, dim])
        return [positions.lookup_by_stock_ops(inputs[:count], inputs[count:])]
    parts, features = op.get_attr("num_parts"), op.get_attr("num_features")
    lists = [inputs[:parts], *(inputs[parts + i * features : parts + (i + 1) * features] for i in range(3)), inputs[parts + 3 * features :]]
    tables, ids, segments, dense_shapes, weights = lists
    if any(tensor.shape.rank is None for tensor in segments):
        raise ValueError(f"the rank of the segments of {op.name} is unknown; set the shapes of the graph's inputs")
    dims = [dim for dim, count in zip(op.get_attr("dims"), op.get_attr("table_parts"), strict=True) for _ in range(count)]
    for table, dim in zip(tables, dims, strict=True):
        table.set_shape([None, dim])
    attributes = {name: _attribute(op.node_def.attr[name]) for name in Group.ATTRIBUTES}
    return composite.lookup(Group(tables=tables, ids=ids, segments=segments, dense_shapes=dense_shapes, weights=weights, **attributes))


def _attribute(value: Any) -> Any:
    """An attribute of the grouped op as Python has it: a bool, or a list of one kind."""
    if value.WhichOneof("value") != "list":
        return value.b
    entries = value.list
    return [text.decode() for text in entries.s] or list(entries.i) or list(entries.f) or list(entries.b)


def fuse(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """Puts the lookups that `defuse` took apart together again, in their tensor form; in functions, too.

    `defuse` leaves the fused node as an attribute of the node that took its place; `fuse` looks for these and for nothing else, so stock
    lookups that were never fused stay as they are.

    Args:
        graph_def: the result of `defuse`, or a graph made from it that kept its node names and attributes.
    """
    return functions.change_everywhere(graph_def, _fuse, attribute=_ORIGIN)


def _fuse(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    origins = {}
    for node in graph_def.node:
        if _ORIGIN in node.attr:
            origins[node.name] = tf.compat.v1.NodeDef.FromString(node.attr[_ORIGIN].s)
    result = with_nodes(graph_def, ())
    reads = {node_of(name) for origin in origins.values() for name in origin.input}
    moved = {}
    for name, origin in origins.items():
        count = 1 if origin.op == POSITIONS or origin.attr["concat"].b else origin.attr["num_features"].i
        moved.update({f"{name}/output_{number}": f"{name}:{number}" for number in range(1, count)})
    for node in graph_def.node:
        if node.name in origins:
            result.node.add().CopyFrom(origins[node.name])
        elif node.name in reads or not any(node.name.startswith(f"{name}/") for name in origins):
            result.node.add().CopyFrom(node)
    rename_inputs(result, moved)
    return result


def _keys_as_constants(graph_def: tf.compat.v1.GraphDef, held: dict[str, Any]) -> tf.compat.v1.GraphDef:
    """A graph whose lookups of keys search in constants; `held` has the variables by the name of the placeholder of their handle."""
    ops = {node.op for node in graph_def.node} | {node.op for function in graph_def.library.function for node in function.node_def}
    if INSERT in ops:
        raise ValueError("this function counts keys and gives rows to them; trace it with insert=False (training=False) to freeze it")
    if FIND not in ops:
        return graph_def
    if any(node.op == FIND for function in graph_def.library.function for node in function.node_def):
        raise ValueError("a function of the graph's library looks keys up; inline functions before freezing")
    result = with_nodes(graph_def, ())
    for node in graph_def.node:
        if node.op != FIND:
            result.node.add().CopyFrom(node)
            continue
        keys, values, state = (held[node_of(name)].numpy() for name in node.input[:3])
        frozen, prune = FrozenKeys(keys[: state[0]], values[: state[0]]), node.attr["prune"].b
        ids = (node.input[3], tf.as_dtype(node.attr["Tids"].type), tf.TensorShape(None))
        result.node.extend(_nodes_in_place(node, [ids], lambda ids, frozen=frozen, prune=prune: [frozen.rows_of(ids, prune=prune)]))
    read = consumers(result)
    return with_nodes(result, (node for node in result.node if node.name not in held or node.name in read))


def freeze(function: Any, *, fused: bool = True) -> Any:
    """A concrete function with constants for variables, fused lookups included.

    Args:
        function: a `tf.types.experimental.ConcreteFunction`.
        fused: False also takes the fused lookups apart, for serving without the library.

    Returns:
        A concrete function of the same inputs and flat outputs, without any resource. Keys of an `EmbeddingVariable` are looked up in
        constants by stock ops.

    Raises:
        ValueError: the function counts keys and gives rows to them; or see `defuse`.
    """
    graph = function.graph
    variables = {id(variable.handle): variable for variable in graph.variables}
    held = {placeholder.op.name: variables.get(id(captured)) for captured, placeholder in graph.captures}
    changed = functions.with_new_names(tensor_form(_keys_as_constants(graph.as_graph_def(), held)))
    if not fused:
        changed = defuse(changed)
    left = {node.name for node in changed.node}
    internal = {placeholder.name for _, placeholder in graph.captures}
    feeds = [tensor for tensor in graph.inputs if tensor.name not in internal]
    outputs = [tensor.name for tensor in graph.outputs]

    def imported(*values: tf.Tensor) -> list[tf.Tensor]:
        given = dict(zip([tensor.name for tensor in feeds], values, strict=True))
        for captured, placeholder in graph.captures:
            if placeholder.op.name not in left:
                continue
            if captured.dtype == tf.resource:
                handle = handle_of(variables[id(captured)])
                given[placeholder.name] = tf.compat.v1.get_default_graph().capture(handle)
            else:
                given[placeholder.name] = tf.constant(captured.numpy())
        found: list[tf.Tensor] = tf.import_graph_def(changed, input_map=given, return_elements=outputs, name="")
        return found

    signature = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.op.name) for tensor in feeds]
    traced = tf.function(imported, input_signature=signature, autograph=False).get_concrete_function()
    return convert_variables_to_constants_v2(traced)
