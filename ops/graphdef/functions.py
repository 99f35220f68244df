"""Rewriting the functions in a GraphDef's library by what rewrites a graph.

In a `FunctionDef` an input is "node:output argument:number", in a `GraphDef` "node:number". A function's body is turned into a graph,
rewritten, and turned back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

from ops.graphdef.editing import copy_of
from ops.graphdef.names import is_control, tensor_name

_RESULT = "nann_result/"


def change_everywhere(
    graph_def: tf.compat.v1.GraphDef,
    change: Callable[[tf.compat.v1.GraphDef], tf.compat.v1.GraphDef],
    ops: Collection[str] = (),
    *,
    attribute: str = "",
) -> tf.compat.v1.GraphDef:
    """Applies a rewriting to a graph and to the functions of its library, where it has something to do.

    Args:
        graph_def: stays as it is.
        change: from a graph to a graph; nodes that others refer to keep their names. It leaves the library alone.
        ops: it has something to do where a node has one of these types,
        attribute: or this attribute.

    Returns:
        The changed graph, or ``graph_def`` itself if there was nothing to do.
    """

    def concerns(nodes: Any) -> bool:
        return any(node.op in ops or (attribute and attribute in node.attr) for node in nodes)

    numbers = [number for number, function in enumerate(graph_def.library.function) if concerns(function.node_def)]
    if not numbers and not concerns(graph_def.node):
        return graph_def
    result = copy_of(change(graph_def) if concerns(graph_def.node) else graph_def)
    if numbers:
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(tf.compat.v1.GraphDef(library=graph_def.library, versions=graph_def.versions), name="")
            for number in numbers:
                _change_function(result.library.function[number], change, graph_def, graph)
    return result


def _change_function(
    function: Any, change: Callable[[tf.compat.v1.GraphDef], tf.compat.v1.GraphDef], graph_def: tf.compat.v1.GraphDef, graph: tf.Graph
) -> None:
    body, flat_names = function_def_to_graph_def(function)
    body.library.CopyFrom(graph_def.library)
    body.versions.CopyFrom(graph_def.versions)
    arguments = {argument.name for argument in function.signature.input_arg}
    for output in function.signature.output_arg:  # what the function returns goes through the change as inputs of nodes
        node = body.node.add(name=f"{_RESULT}{output.name}", op="Identity", input=[flat_names[function.ret[output.name]]])
        node.attr["T"].type = output.type
    names = {}
    nodes = [node for node in change(body).node if node.name not in arguments]
    for node in nodes:
        flat = 0
        for output in _signature(graph, node.op).output_arg:
            for number in range(_count(output, node)):
                names[f"{node.name}:{flat}"] = f"{node.name}:{output.name}:{number}"
                flat += 1
    names.update({f"{name}:0": name for name in arguments})
    del function.node_def[:]
    for node in nodes:
        inputs = [name if is_control(name) else names[tensor_name(name)] for name in node.input]
        if node.name.startswith(_RESULT):
            function.ret[node.name.removeprefix(_RESULT)] = inputs[0]
            continue
        kept = function.node_def.add()
        kept.CopyFrom(node)
        del kept.input[:]
        kept.input.extend(inputs)


def _signature(graph: tf.Graph, op: str) -> Any:
    function = graph._functions.get(op)
    return function.cached_definition.signature if function is not None else graph.op_def_for_type(op)


def _count(output: Any, node: Any) -> int:
    if output.number_attr:
        return int(node.attr[output.number_attr].i)
    return len(node.attr[output.type_list_attr].list.type) if output.type_list_attr else 1


def with_new_names(graph_def: tf.compat.v1.GraphDef, suffix: str = "_changed") -> tf.compat.v1.GraphDef:
    """The graph with all functions of its library renamed, for a process that knows other functions of their names."""
    old = {function.signature.name for function in graph_def.library.function}
    if not old:
        return graph_def
    result = copy_of(graph_def)
    for function in result.library.function:
        function.signature.name += suffix
    for gradient in result.library.gradient:
        gradient.function_name += suffix if gradient.function_name in old else ""
        gradient.gradient_func += suffix if gradient.gradient_func in old else ""
    for nodes in [result.node, *(function.node_def for function in result.library.function)]:
        for node in nodes:
            node.op += suffix if node.op in old else ""
            for value in node.attr.values():
                for called in [value.func, *value.list.func] if value.WhichOneof("value") in ("func", "list") else []:
                    if called.name in old:
                        called.name += suffix
    return result
