"""The rewriting of a graph in place, shared by all ways in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import tensorflow as tf

from ops.graph_optimizer.analysis import SCOPE, Analysis
from ops.graph_optimizer.cost import GraphCost, elements, graph_cost
from ops.graph_optimizer.errors import GraphCompressionError
from ops.graph_optimizer.expansion import Expander
from ops.graph_optimizer.inputs import Input, InputSeeds, count_rows, count_users, node_names, seeds_of
from ops.graph_optimizer.products import Push, push_products
from ops.graph_optimizer.provenance import Dims, SparseEntries, SparseIndices, SparseSegments, UserRows
from ops.graph_optimizer.report import BoundaryReport
from ops.graphdef.names import node_of
from ops.graphdef.reach import downstream, upstream

Fallback: TypeAlias = Literal["refuse", "expand"]
USER_OF_ROW = f"{SCOPE}/user_of_row"
MAX_ROUNDS = 10
DEFAULT_ITEMS_PER_USER = 4.0


@dataclass(frozen=True)
class Rewriting:
    """What was done to a graph.

    Attributes:
        analysis: of the graph after products were taken apart.
        pushes: those products.
        expander: of its expansions.
        replaced: tensors that took the place of a product's result, by the name of that.
    """

    analysis: Analysis
    pushes: list[Push]
    expander: Expander
    replaced: dict[str, tf.Tensor]


def is_compressed(graph: tf.Graph) -> bool:
    """The graph has been rewritten before."""
    try:
        graph.get_operation_by_name(USER_OF_ROW)
    except KeyError:
        return False
    return True


def analyse(graph: tf.Graph, seeds: InputSeeds, outputs: Sequence[Any], *, forced: frozenset[str], fallback: Fallback) -> Analysis:
    """Analyses a graph and refuses it where that is asked for.

    Raises:
        GraphCompressionError: an op mixes users or has no rule, and ``fallback`` is "refuse".
    """
    analysis = Analysis(graph, seeds.provenance, outputs, forced=forced)
    if fallback == "refuse" and analysis.refusals:
        refusal = analysis.refusals[0]
        raise GraphCompressionError(
            f"node {refusal.op.name} ({refusal.op.type}) reads user tensors and cannot run on one row per user: {refusal.reason}; "
            'take what it reads out of the user inputs, or give fallback="expand" to run it on repeated rows',
            node=refusal.op.name,
        )
    return analysis


def rewrite_graph(
    graph: tf.Graph,
    *,
    user_inputs: Sequence[Input],
    item_inputs: Sequence[Input],
    outputs: Sequence[Any],
    item_size: tf.Tensor,
    forced: frozenset[str] = frozenset(),
    fallback: Fallback = "refuse",
    push: bool = True,
    items_per_user: float = DEFAULT_ITEMS_PER_USER,
    whole: bool = False,
) -> Rewriting:
    """Rewrites a graph so that it takes one row per user.

    Args:
        graph: the graph, changed in place. Nothing is changed when it is refused.
        user_inputs: inputs that will get one row per user.
        item_inputs: inputs with one row per item.
        outputs: ops whose values are wanted.
        item_size: int tensor [], [1] or [U].
        forced: names of ops that must give their original value.
        fallback: what to do about ops that mix users: refuse the graph, or run them on repeated rows.
        push: also take products apart.
        items_per_user: the fewest that are expected, on average; work goes to the user's side where that many pay for it.
        whole: also keep the ops right that the outputs do not depend on; a graph that goes on being used has shapes to be inferred.

    Raises:
        GraphCompressionError: see `analyse`.
    """
    seeds = seeds_of(graph, user_inputs)
    analysis = analyse(graph, seeds, outputs, forced=forced, fallback=fallback)
    with graph.as_default(), tf.control_dependencies(None), tf.name_scope(f"{SCOPE}/"):
        users, rows = count_users(graph, user_inputs), count_rows(graph, item_inputs)
        expander = Expander(graph, item_size, users, rows, _groups(analysis, seeds))
    pushes: list[Push] = []
    done: set[str] = set()
    of_items = set(map(node_of, node_names(item_inputs)))  # a declaration names tensors
    item_ops = downstream(analysis.ops, of_items)
    for _ in range(MAX_ROUNDS if push else 0):
        new = push_products(analysis, expander, item_ops, done, items_per_user)
        if not new:
            break
        pushes += new
        analysis = analyse(graph, seeds, outputs, forced=forced, fallback=fallback)
        item_ops = downstream(analysis.ops, of_items)
    boundaries = analysis.boundaries
    if whole:
        rest = [op for op in graph.get_operations() if not op.name.startswith(f"{SCOPE}/")]
        analysis = Analysis(graph, seeds.provenance, rest, forced=forced)
        boundaries = analysis.boundaries
    for boundary in boundaries:
        expanded = expander.expand(boundary.tensor, boundary.provenance)
        boundary.op._update_input(boundary.input_index, expanded)
    return Rewriting(analysis, pushes, expander, {f"{push.node}:0": push.result for push in pushes})


def _groups(analysis: Analysis, seeds: InputSeeds) -> dict[str, str]:
    """Where the indices of every group of sparse entries are."""
    groups = dict(seeds.indices_of)
    for op in analysis.ops:
        for tensor in op.outputs:
            provenance = analysis.of(tensor)
            if isinstance(provenance, SparseIndices):
                groups.setdefault(provenance.group, tensor.name)
    return groups


def cost_before(graph: tf.Graph, outputs: Sequence[Any], inputs: Sequence[Input], unknown_size: int) -> GraphCost:
    """The cost of a graph all of whose inputs have R rows."""
    ops = upstream(outputs)
    rows = downstream(ops, set(node_names(inputs)))
    return graph_cost(ops, on_users=lambda op: False, on_rows=lambda op: op.name in rows, unknown_size=unknown_size)


def cost_after(
    graph: tf.Graph, outputs: Sequence[Any], user_inputs: Sequence[Input], item_inputs: Sequence[Input], unknown_size: int
) -> GraphCost:
    """The cost of a rewritten graph."""
    ops = upstream(outputs)
    rows = downstream(ops, {*node_names(item_inputs), USER_OF_ROW})
    users = downstream(ops, set(node_names(user_inputs)))
    return graph_cost(
        ops,
        on_users=lambda op: op.name in users and op.name not in rows,
        on_rows=lambda op: op.name in rows,
        unknown_size=unknown_size,
    )


def describe_boundaries(expander: Expander, unknown_size: int) -> list[BoundaryReport]:
    """What was expanded; shapes, which cost nothing, are left out."""
    reports = []
    for tensor, provenance, expanded in expander.expanded:
        if isinstance(provenance, Dims):
            continue
        kind = (
            "rows"
            if isinstance(provenance, UserRows)
            else "entries"
            if isinstance(provenance, (SparseEntries, SparseSegments))
            else "indices"
        )
        shape = None if tensor.shape.rank is None else tensor.shape.as_list()
        size = (tensor.dtype.size or 8) * elements(tensor, unknown_size)
        reports.append(BoundaryReport(tensor.op.name, kind, shape, sorted({op.name for op in expanded.consumers()}), size))
    return reports
