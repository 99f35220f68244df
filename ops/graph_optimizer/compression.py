"""`compress`: sample-aware compression of a GraphDef."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import tensorflow as tf

from ops.graph_optimizer.cost import GraphCost
from ops.graph_optimizer.errors import GraphCompressionError
from ops.graph_optimizer.inputs import Input, group_inputs, node_names
from ops.graph_optimizer.report import CompressionReport, break_even
from ops.graph_optimizer.rewriting import (
    DEFAULT_ITEMS_PER_USER,
    USER_OF_ROW,
    Fallback,
    Rewriting,
    cost_after,
    cost_before,
    describe_boundaries,
    rewrite_graph,
)
from ops.graphdef.editing import copy_of, rename_nodes
from ops.graphdef.importing import import_graph, output_types
from ops.graphdef.reach import part_of, upstream

REPLACED = {"MatMul", "BatchMatMul", "BatchMatMulV2", "Einsum", "Sum"}
STALE_SHAPES = ("_output_shapes", "_class")
LOSS_TOLERANCE = 1.05


def compress(
    graph_def: tf.compat.v1.GraphDef,
    *,
    user_inputs: Sequence[Input],
    item_inputs: Sequence[Input],
    outputs: Sequence[str],
    item_size: str = "item_size",
    uniform: bool = False,
    min_items_per_user: float = DEFAULT_ITEMS_PER_USER,
    fallback: Fallback = "refuse",
    push: bool = True,
    unknown_size: int = 1,
) -> tuple[tf.compat.v1.GraphDef, CompressionReport]:
    """Rewrites a graph that scores R = sum(item_size) rows of (user, item) so that it takes U user rows.

    The rewritten graph gives what the original gives on repeated user rows. What depends on users alone runs on U rows and is expanded by
    one gather where it meets items; a concatenation of both in front of a matrix product is split, so that the user's part of the product
    runs on U rows too; attention over a user's sequence is taken with the user's items side by side.

    Args:
        graph_def: a graph without variables (freeze it first); not modified.
        user_inputs: placeholders [U, ...] of the rewritten graph, by node name; for a sparse tensor a `SparseInput` or its three names,
            for a ragged one a `RaggedInput`.
        item_inputs: placeholders [R, ...], likewise.
        outputs: nodes whose first output is wanted, by name; they keep name and value.
        item_size: name of the new int32 placeholder: items per user, scalar, [1] or [U], zeros allowed.
        uniform: all users of a call have equally many items, and the placeholder is a scalar: nothing has to be padded or searched.
        min_items_per_user: the fewest items per user, on average, that the graph will be called with: where the cost model predicts that
            the rewritten graph is slower than this, the graph is left as it was; and layers go to the user's side where that many items
            pay for it, so give what you expect. 0 compresses whatever it costs.
        fallback: "refuse" raises on ops that mix the rows of a batch and on ops without a rule where they read user tensors; "expand" runs
            them on repeated rows, as the original did.
        push: take products apart, too.
        unknown_size: assumed by the cost model for axes of unknown size other than the batch.

    Returns:
        The graph and a report. A graph that was compressed before comes back unchanged.

    Raises:
        GraphCompressionError: the graph cannot be compressed; the message names the node.
    """
    users, items = group_inputs(user_inputs), group_inputs(item_inputs)
    _require_inputs(graph_def, node_names(users), node_names(items), outputs)
    if any(node.name == USER_OF_ROW for node in graph_def.node):
        count = len(graph_def.node)
        before_this = CompressionReport(compressed=True, reason="the graph was compressed before", nodes_before=count, nodes_after=count)
        return copy_of(graph_def), before_this
    prepared = without_stale_shapes(graph_def, {name for name in (*users, *items) if isinstance(name, str)})
    original = import_graph(prepared)
    before_outputs = [original.get_operation_by_name(name) for name in outputs]
    before = cost_before(original, before_outputs, [*users, *items], unknown_size)

    graph = import_graph(with_identity_outputs(prepared, outputs))
    output_ops = [graph.get_operation_by_name(name) for name in outputs]
    sizes = _item_size(graph, item_size, uniform)
    rewriting = rewrite_graph(
        graph,
        user_inputs=users,
        item_inputs=items,
        outputs=output_ops,
        item_size=sizes,
        forced=frozenset(outputs),
        fallback=fallback,
        push=push,
        items_per_user=max(min_items_per_user, 1.0),
    )
    after = cost_after(graph, output_ops, users, items, unknown_size)
    report = _report_of(rewriting, unknown_size, before, after, nodes=(len(upstream(before_outputs)), len(upstream(output_ops))))
    if min_items_per_user > 0 and report.predict(1, min_items_per_user)["speedup"] < 1 / LOSS_TOLERANCE:
        return copy_of(graph_def), _not_worth_it(report, min_items_per_user)
    keep = {*outputs, *node_names(users), *node_names(items), sizes.op.name}
    return part_of(graph.as_graph_def(), keep), report


def _report_of(
    rewriting: Rewriting, unknown_size: int, before: GraphCost, after: GraphCost, *, nodes: tuple[int, int]
) -> CompressionReport:
    return CompressionReport(
        compressed=True,
        boundaries=describe_boundaries(rewriting.expander, unknown_size),
        split=[push.node for push in rewriting.pushes if push.kind == "split"],
        batched=[push.node for push in rewriting.pushes if push.kind == "batched"],
        fallbacks=sorted({refusal.op.name for refusal in rewriting.analysis.refusals}),
        before=before,
        after=after,
        break_even_items=break_even(before, after),
        nodes_before=nodes[0],
        nodes_after=nodes[1],
    )


def _not_worth_it(report: CompressionReport, items_per_user: float) -> CompressionReport:
    """The report of a graph that was left as it was, since the rewritten one is predicted to be slower."""
    reason = f"predicted to be slower below {report.break_even_items:.1f} items per user, and at least {items_per_user:g} are expected"
    return CompressionReport(
        compressed=False,
        reason=reason,
        before=report.before,
        after=report.before,
        break_even_items=report.break_even_items,
        nodes_before=report.nodes_before,
        nodes_after=report.nodes_before,
    )


def _require_inputs(graph_def: tf.compat.v1.GraphDef, users: Sequence[str], items: Sequence[str], outputs: Sequence[str]) -> None:
    if not users:
        raise GraphCompressionError("there are no user inputs; name the placeholders that hold one row per user")
    if not outputs:
        raise GraphCompressionError("there are no outputs; name the nodes whose values are wanted")
    both = sorted(set(users) & set(items))
    if both:
        raise GraphCompressionError(f"{both[0]} is both a user input and an item input; it can be one of them", node=both[0])
    known = {node.name for node in graph_def.node}
    for name in (*users, *items, *outputs):
        if name not in known:
            raise GraphCompressionError(f"the graph has no node named {name}; give inputs and outputs by node name", node=name)


def without_stale_shapes(graph_def: tf.compat.v1.GraphDef, batched: set[str]) -> tf.compat.v1.GraphDef:
    """A copy whose inputs have a batch axis of unknown size and whose other nodes claim no shapes, which would be those of R rows."""
    copy = copy_of(graph_def)
    was_static = False
    for node in copy.node:
        for name in STALE_SHAPES:
            node.attr.pop(name, None)
        if node.name in batched and node.attr["shape"].shape.dim:
            was_static |= node.attr["shape"].shape.dim[0].size != -1
            node.attr["shape"].shape.dim[0].size = -1
    for node in copy.node:
        if was_static and node.op in {"While", "StatelessWhile", "If", "StatelessIf"}:
            node.attr.pop("output_shapes", None)
    return copy


def with_identity_outputs(graph_def: tf.compat.v1.GraphDef, outputs: Iterable[str]) -> tf.compat.v1.GraphDef:
    """A copy in which an output that is a product is followed by an `Identity` that has its name, so that it can be replaced."""
    values = {node.name: f"{node.name}/value" for node in graph_def.node if node.name in set(outputs) and node.op != "Identity"}
    copy = rename_nodes(graph_def, values)
    for (name, target), (_, dtype) in zip(values.items(), output_types(graph_def, values), strict=True):
        identity = copy.node.add(name=name, op="Identity", input=[target])
        identity.attr["T"].type = dtype.as_datatype_enum
    return copy


def _item_size(graph: tf.Graph, name: str, uniform: bool) -> tf.Tensor:
    """The placeholder of that name: a new one, or one that nothing has been connected to yet."""
    try:
        op = graph.get_operation_by_name(name)
    except KeyError:
        with graph.as_default():
            return tf.compat.v1.placeholder(tf.int32, [] if uniform else tf.TensorShape(None), name=name)
    if op.type != "Placeholder" or not op.outputs[0].dtype.is_integer or op.outputs[0].consumers():
        raise GraphCompressionError(f"the graph has a node {name} already, a {op.type}; give another name for item_size", node=name)
    return op.outputs[0]
