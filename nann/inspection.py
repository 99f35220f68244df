"""What is in a graph file: inputs, outputs, ops, cost per user and per item, and what sample-aware compression would do to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from nann.errors import ArtifactError
from nann.export.allowed_ops import require_loadable_meta
from nann.export.load import read_saved_meta
from ops import graph_optimizer
from ops.graph_optimizer.cost import graph_cost
from ops.graphdef.editing import consumers
from ops.graphdef.importing import import_graph
from ops.graphdef.reach import downstream, upstream

SCORER_USERS, SCORER_ITEMS, SCORER_OUTPUTS = ("item_ids", "cate_ids"), ("item_embs",), ("scores",)


@dataclass(frozen=True)
class GraphSummary:
    """A graph in numbers.

    Attributes:
        inputs: name -> (type, shape) of the placeholders.
        outputs: name -> (type, shape).
        ops: op type -> how often, most frequent first; functions count once each.
        constant_bytes: size of all constants.
        flops_per_user: FLOPs of ops that depend on user inputs but on no item, for one user.
        flops_per_item: FLOPs of ops that depend on items, for one item; both 0 where no inputs were named.
        compression: lines that say what compression would do.
    """

    inputs: dict[str, tuple[str, str]]
    outputs: dict[str, tuple[str, str]]
    ops: dict[str, int]
    constant_bytes: int
    flops_per_user: float
    flops_per_item: float
    compression: list[str]


def inspect(
    graph: Path,
    *,
    user_inputs: Sequence[str] = (),
    item_inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    items_per_user: float = 100.0,
    length: int = 50,
    signature: str = "serving_default",
    allow_own_models: bool = False,
) -> GraphSummary:
    """Summarises a graph.

    Args:
        graph: a GraphDef (``.pb``), a MetaGraph (``.meta``) or a SavedModel directory.
        user_inputs: placeholders with one row per user; for a frozen scorer they need not be named.
        item_inputs: placeholders with one row per item, likewise.
        outputs: nodes whose values count; default: those that nothing reads.
        items_per_user: to predict the effect of compression for.
        length: assumed size of axes of unknown size (histories), other than the batch.
        signature: of a SavedModel.
        allow_own_models: load a SavedModel whatever ops it holds.

    Raises:
        ArtifactError: it cannot be read, or has no node of a given name.
    """
    graph_def, named = _read(graph, signature, allow_own_models)
    names = {node.name for node in graph_def.node}
    is_scorer = {*SCORER_USERS, *SCORER_ITEMS, *SCORER_OUTPUTS} <= names
    if is_scorer and not user_inputs and not item_inputs:
        user_inputs, item_inputs, outputs = SCORER_USERS, SCORER_ITEMS, outputs or SCORER_OUTPUTS
    read = consumers(graph_def)
    outputs = (
        outputs
        or named
        or [node.name for node in graph_def.node if node.name not in read and node.op not in {"NoOp", "Placeholder", "Const"}]
    )
    for name in (*user_inputs, *item_inputs, *outputs):
        if name not in names:
            raise ArtifactError(f"{graph} has no node named {name}; give names of nodes, without ':0'")
    imported = import_graph(graph_def)
    ops = upstream([imported.get_operation_by_name(name) for name in outputs])
    items = downstream(ops, set(item_inputs))
    users = downstream(ops, set(user_inputs))
    cost = graph_cost(ops, on_users=lambda op: op.name in users - items, on_rows=lambda op: op.name in items, unknown_size=length)
    return GraphSummary(
        inputs={op.name: _type(op) for op in imported.get_operations() if op.type in {"Placeholder", "PlaceholderWithDefault"}},
        outputs={name: _type(imported.get_operation_by_name(name)) for name in outputs},
        ops=dict(Counter(node.op for node in graph_def.node).most_common()),
        constant_bytes=sum(node.attr["value"].tensor.ByteSize() for node in graph_def.node if node.op == "Const"),
        flops_per_user=cost.per_user.flops,
        flops_per_item=cost.per_item.flops,
        compression=_compression(graph_def, user_inputs, item_inputs, outputs, items_per_user, length, is_scorer=is_scorer),
    )


def _type(op: Any) -> tuple[str, str]:
    if not op.outputs:
        return "none", ""
    return op.outputs[0].dtype.name, str(op.outputs[0].shape).replace("None", "?")


def _read(path: Path, signature: str, allow_own_models: bool) -> tuple[tf.compat.v1.GraphDef, list[str]]:
    try:
        if path.is_dir():
            return _read_saved_model(path, signature, allow_own_models)
        raw = path.read_bytes()
        if path.suffix == ".meta":
            return tf.compat.v1.MetaGraphDef.FromString(raw).graph_def, []
        return tf.compat.v1.GraphDef.FromString(raw), []
    except (OSError, DecodeError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path} is no GraphDef, MetaGraph or SavedModel ({error}); give a .pb, a .meta or a directory") from error


def _read_saved_model(path: Path, signature: str, allow_own_models: bool) -> tuple[tf.compat.v1.GraphDef, list[str]]:
    require_loadable_meta(read_saved_meta(path), path, allow_own_models=allow_own_models)
    loaded = tf.saved_model.load(str(path))
    if signature not in loaded.signatures:
        raise ValueError(f"it has no signature {signature}, only {', '.join(loaded.signatures)}")
    frozen = convert_variables_to_constants_v2(loaded.signatures[signature], lower_control_flow=False)
    return frozen.graph.as_graph_def(), [tensor.op.name for tensor in frozen.outputs]


def _compression(
    graph_def: tf.compat.v1.GraphDef,
    user_inputs: Sequence[str],
    item_inputs: Sequence[str],
    outputs: Sequence[str],
    items_per_user: float,
    length: int,
    *,
    is_scorer: bool,
) -> list[str]:
    if not user_inputs or not item_inputs:
        return ["name user and item inputs (--user-inputs, --item-inputs) to see what it would do"]
    if is_scorer and tuple(item_inputs) == SCORER_ITEMS:
        return ["a frozen scorer: it takes each user once already, and all items of a user beside each other"]
    try:
        _, report = graph_optimizer.compress(
            graph_def,
            user_inputs=list(user_inputs),
            item_inputs=list(item_inputs),
            outputs=list(outputs),
            min_items_per_user=items_per_user,
            unknown_size=length,
        )
    except graph_optimizer.GraphCompressionError as error:
        return [f"refused: {error}"]
    if report.reason:
        return [report.reason]
    predicted = report.predict(1, items_per_user)
    lines = [
        f"FLOPs of 1 user x {items_per_user:g} items: {predicted['flops_before']:,.0f} -> {predicted['flops_after']:,.0f}",
        f"bytes moved: {predicted['bytes_before']:,.0f} -> {predicted['bytes_after']:,.0f}; predicted {predicted['speedup']:.2f}x",
        f"pays from {report.break_even_items:.1f} items per user on",
    ]
    lines += [f"expands {boundary.node} {boundary.shape} for {', '.join(boundary.consumers)}" for boundary in report.boundaries]
    lines += [f"splits {node} into a user's and an item's part" for node in report.split]
    return lines + [f"takes {node} with a user's items side by side" for node in report.batched]
