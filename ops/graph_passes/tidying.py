"""Passes that take away what a graph does not need."""

from __future__ import annotations

from collections.abc import Collection

import tensorflow as tf

from ops.graphdef.editing import copy_of, is_stateless, nodes_by_name, redirect, with_nodes
from ops.graphdef.names import node_of, renamed
from ops.graphdef.reach import upstream_names

PASSING = {"Identity", "StopGradient", "PreventGradient", "Snapshot"}


def remove_dead_nodes(graph_def: tf.compat.v1.GraphDef, *, outputs: Collection[str]) -> tf.compat.v1.GraphDef:
    """Drops what no output depends on; placeholders stay, so that the graph keeps its inputs."""
    kept = upstream_names(graph_def, outputs)
    return with_nodes(graph_def, (node for node in graph_def.node if node.name in kept or node.op == "Placeholder"))


def remove_identities(graph_def: tf.compat.v1.GraphDef, *, outputs: Collection[str]) -> tf.compat.v1.GraphDef:
    """Makes readers of an identity read its input; outputs, and identities that wait for another node, stay."""
    result = copy_of(graph_def)
    passed = {
        node.name: node.input[0] for node in result.node if node.op in PASSING and node.name not in set(outputs) and len(node.input) == 1
    }
    by_name = nodes_by_name(result)
    # An identity behind a Switch is what a control input of one branch waits for: the Switch itself always runs.
    passed = {name: source for name, source in passed.items() if by_name[node_of(source)].op not in {"Switch", "Merge", "Enter", "Exit"}}
    redirect(result, passed)
    return remove_dead_nodes(result, outputs=outputs)


def merge_common_subexpressions(graph_def: tf.compat.v1.GraphDef, *, outputs: Collection[str]) -> tf.compat.v1.GraphDef:
    """Computes once what is computed several times from the same inputs (constants by value); ops with state stay."""
    result = copy_of(graph_def)
    keep = set(outputs)
    while True:
        seen: dict[tuple[str, tuple[str, ...], tuple[tuple[str, bytes], ...]], str] = {}
        merged: dict[str, str] = {}
        for node in result.node:
            if node.name in keep or not (node.op == "Const" or is_stateless(node)) or (node.op == "Const" and node.input):
                continue
            attributes = tuple(sorted((key, value.SerializeToString(deterministic=True)) for key, value in node.attr.items()))
            first = seen.setdefault((node.op, tuple(node.input), attributes), node.name)
            if first != node.name:
                merged[node.name] = first
        if not merged:
            return remove_dead_nodes(result, outputs=outputs)
        for node in result.node:
            for i, name in enumerate(node.input):
                node.input[i] = renamed(name, merged)
        result = remove_dead_nodes(result, outputs=outputs)
