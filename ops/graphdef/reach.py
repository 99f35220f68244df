"""What nodes depend on, and what depends on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import tensorflow as tf

from ops.graphdef.editing import nodes_by_name, with_nodes
from ops.graphdef.names import node_of

_Node = TypeVar("_Node")


def upstream_names(graph_def: tf.compat.v1.GraphDef, names: Iterable[str]) -> set[str]:
    """Names of some nodes and of all they depend on, by control inputs too."""
    by_name = nodes_by_name(graph_def)
    return set(_closure(names, lambda name: name, lambda name: map(node_of, by_name[name].input)))


def part_of(graph_def: tf.compat.v1.GraphDef, names: Iterable[str]) -> tf.compat.v1.GraphDef:
    """The part of a graph that some nodes depend on, these included, in its order; the library stays whole."""
    found = upstream_names(graph_def, names)
    return with_nodes(graph_def, (node for node in graph_def.node if node.name in found))


def upstream(outputs: Iterable[Any]) -> list[Any]:
    """All ops that some ops depend on, themselves included, in topological order; an edge out of a `NextIteration` is no dependence."""
    return _closure(
        outputs,
        lambda op: op.name,
        lambda op: [*(tensor.op for tensor in op.inputs), *op.control_inputs],
        is_back_edge=lambda op: op.type == "NextIteration",
    )


def downstream(ops: Iterable[Any], names: set[str]) -> set[str]:
    """Names of the ops that some ops' values go into, themselves included.

    Args:
        ops: the ops in question, in any order.
        names: of those to start from.
    """
    found = set(names)
    changed = True
    listed = list(ops)
    while changed:
        changed = False
        for op in listed:
            if op.name not in found and any(tensor.op.name in found for tensor in op.inputs):
                found.add(op.name)
                changed = True
    return found


def _closure(
    wanted: Iterable[_Node],
    name_of: Callable[[_Node], str],
    sources_of: Callable[[_Node], Iterable[_Node]],
    *,
    is_back_edge: Callable[[_Node], bool] = lambda node: False,
) -> list[_Node]:
    """The backward closure in depth-first order, sources first; what lies behind a back edge comes last."""
    done: dict[str, _Node] = {}
    open_: set[str] = set()
    loops: list[_Node] = []
    stack: list[tuple[_Node, bool]] = [(node, False) for node in reversed(list(wanted))]
    while stack or loops:
        if not stack:
            stack.append((loops.pop(), False))
            continue
        node, finished = stack.pop()
        name = name_of(node)
        if name in done:
            continue
        if finished:
            done[name] = node
            continue
        if name in open_:
            continue
        open_.add(name)
        stack.append((node, True))
        for source in sources_of(node):
            if is_back_edge(source):
                loops.append(source)
            elif name_of(source) not in done:
                stack.append((source, False))
    return list(done.values())
