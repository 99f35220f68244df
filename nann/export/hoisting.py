"""Moves what a scorer's `score` computes for the user alone to the user state, so that serving computes it once per request."""

from __future__ import annotations

import tensorflow as tf

from ops.graph_passes import remove_dead_nodes
from ops.graphdef.editing import in_order_of_names
from ops.graphdef.importing import import_graph, output_types

PRODUCTS = {"MatMul", "BatchMatMul", "BatchMatMulV2", "Einsum"}


def hoist_user_part(frozen: tf.compat.v1.GraphDef, states: list[str]) -> tf.compat.v1.GraphDef:
    """Widens the user state of a frozen scorer to all that depends on the history alone.

    The new user state are the tensors where the history's part meets the items, ``user_state_0``, ``user_state_1``, ... in the order of
    their names; sizes are taken where they are needed. A scorer whose `score` has no matrix product of the user alone stays as it is.

    Args:
        frozen: a frozen scorer, see `nann.export.freeze`; not modified.
        states: names of its user state.
    """
    graph = import_graph(frozen)
    of_user, of_item = {"history", "history_mask"}, {"item_embs"}
    for op in graph.get_operations():
        for names in (of_user, of_item):
            if any(tensor.op.name in names for tensor in op.inputs):
                names.add(op.name)
    after_state = set(states)
    for op in graph.get_operations():
        if any(tensor.op.name in after_state for tensor in op.inputs):
            after_state.add(op.name)
    hoisted = [op for op in graph.get_operations() if op.name in after_state and op.name not in of_item and op.type in PRODUCTS]
    if not hoisted:
        return frozen
    score_part = [op for op in graph.get_operations() if op.name in of_item]
    boundary: dict[str, tf.Tensor] = {}
    waiting, sizes = list(score_part), set[str]()
    while waiting:
        for tensor in waiting.pop().inputs:
            if tensor.op.name in of_item | sizes or tensor.op.name not in of_user:
                continue
            if tensor.dtype.is_integer:  # a size: it has no axis of users
                sizes.add(tensor.op.name)
                waiting.append(tensor.op)
            else:
                boundary[tensor.name] = tensor
    return _with_states(frozen, sorted(boundary), of_item, sizes, states)


def _with_states(
    frozen: tf.compat.v1.GraphDef, boundary: list[str], scoring: set[str], sizes: set[str], states: list[str]
) -> tf.compat.v1.GraphDef:
    """The graph with new nodes ``user_state_i`` between the boundary's tensors and the scoring nodes, which get sizes of their own."""
    old = {node.name: node.input[0] for node in frozen.node if node.name in states}

    def past(name: str) -> str:
        return past(old[name]) if name in old else name

    named = {past(tensor.removesuffix(":0")): f"user_state_{number}" for number, tensor in enumerate(boundary)}
    assertions = {node.name for node in frozen.node if node.op == "Assert" and node.name in scoring}
    types = output_types(frozen, boundary)
    changed = tf.compat.v1.GraphDef(versions=frozen.versions, library=frozen.library)
    for node in frozen.node:
        if node.name in old:
            continue
        for mine in (False, True):  # as the user's part reads it, and as the scoring does
            if mine and node.name not in sizes:
                continue
            copy = changed.node.add()
            copy.CopyFrom(node)
            copy.name += "/scoring" * mine
            del copy.input[:]
            for name in node.input:
                if name.startswith("^"):  # inlined functions wait for all of their inputs; only assertions are meant
                    if name[1:] in assertions:
                        copy.input.append(name)
                    continue
                source = past(name.removesuffix(":0"))
                if mine or node.name in scoring:
                    source = named.get(source, f"{source}/scoring" if source in sizes else source)
                copy.input.append(source)
    for number, (tensor, (_, dtype)) in enumerate(zip(boundary, types, strict=True)):
        identity = changed.node.add(name=f"user_state_{number}", op="Identity", input=[past(tensor.removesuffix(":0"))])
        identity.attr["T"].type = dtype.as_datatype_enum
    outputs = ["history", "history_mask", *(f"user_state_{number}" for number in range(len(boundary))), "scores"]
    return in_order_of_names(remove_dead_nodes(changed, outputs=outputs))
