"""The passes the frozen scorer goes through before it is exported, and their report."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from nann.dataset.inputs import INPUT_PREFIX
from nann.export.freeze import FrozenScorer, input_names, user_state_names
from nann.index.embeddings import Embeddings
from ops import graph_optimizer, graph_passes
from ops.graphdef.editing import in_order_of_names
from ops.graphdef.tables import put_aside, put_back
from ops.precisions import Precision

CHECK_USERS, CHECK_LENGTH, CHECK_ITEMS, CHECK_INPUTS = 3, 24, 64, 8
EXACT_TOLERANCE, HALF_TOLERANCE = 1e-5, 0.1
HALF = {"bfloat16": tf.bfloat16, "float16": tf.float16}


def optimize_scorer(
    frozen: tf.compat.v1.GraphDef,
    *,
    num_items: int,
    num_categories: int,
    precision: Precision = "float32",
    table_precision: Precision = "float32",
) -> tuple[tf.compat.v1.GraphDef, list[dict[str, Any]]]:
    """Runs the passes over a frozen scorer; its named nodes stay.

    Args:
        frozen: of `freeze_scorer`.
        num_items: item rows of the check's histories are 1..num_items.
        num_categories: category rows are 1..num_categories.
        precision: of the weights.
        table_precision: of the tables.

    Returns:
        The graph and one record per pass: nodes, FLOPs and bytes before and after, and the largest difference of any output on random
        histories and items.

    Raises:
        PassError: a pass changes the scores by more than 1e-5 of the largest (lower precision: 0.1).
    """
    exact = [
        graph_passes.remove_identities,
        graph_passes.fold_constants,
        graph_passes.fold_batch_norms,
        graph_passes.shorten_prelu,
        graph_passes.merge_common_subexpressions,
    ]
    passes: list[tuple[Any, float]] = [(function, EXACT_TOLERANCE) for function in exact]
    both = precision == table_precision
    for name, tables, products in ((table_precision, True, both), (precision, both, True))[: 1 if both else 2]:
        if name != "float32":
            passes.append((_lower_precision(name, tables=tables, products=products), HALF_TOLERANCE))
    outputs = ["history", "history_mask", *user_state_names(frozen), "scores"]
    width = next(node for node in frozen.node if node.name == "item_embs").attr["shape"].shape.dim[-1].size
    rng = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = {
        "item_ids": rng.integers(0, num_items + 1, size=(CHECK_USERS, CHECK_LENGTH)),
        "cate_ids": rng.integers(0, num_categories + 1, size=(CHECK_USERS, CHECK_LENGTH)),
        "item_embs": rng.normal(size=(CHECK_USERS, CHECK_ITEMS, width)).astype(np.float32),
    }
    feeds |= {INPUT_PREFIX + key: rng.integers(0, CHECK_INPUTS, size=(CHECK_USERS, CHECK_LENGTH)) for key in input_names(frozen)}
    slim, aside = frozen, dict[str, tf.compat.v1.NodeDef]()
    if len(passes) == len(exact):  # these leave tables as they are
        slim, aside = put_aside(frozen)
    feeds |= {name: tf.make_ndarray(table.attr["value"].tensor) for name, table in aside.items()}
    changed, reports = graph_passes.run_passes(slim, passes, outputs=outputs, feeds=feeds)
    put_aside_bytes = sum(table.ByteSize() for table in aside.values())
    return put_back(in_order_of_names(changed), aside), [_whole(report.as_dict(), put_aside_bytes) for report in reports]


def _whole(report: dict[str, Any], put_aside_bytes: int) -> dict[str, Any]:
    """The record of a pass with the bytes of what was put aside."""
    return report | {"bytes": {when: size + put_aside_bytes for when, size in report["bytes"].items()}}


def _lower_precision(precision: Precision, *, tables: bool, products: bool) -> Any:
    if precision == "int8":
        return partial(graph_passes.int8_precision, tables=tables, products=products)
    return partial(graph_passes.half_precision, dtype=HALF[precision], tables=tables, products=products)


def kept_of_the_best(
    before: tf.compat.v1.GraphDef,
    after: tf.compat.v1.GraphDef,
    *,
    histories: np.ndarray,
    categories: np.ndarray,
    item_embs: np.ndarray,
    changed_item_embs: np.ndarray,
    top_k: int,
    inputs: Mapping[str, np.ndarray] | None = None,
) -> float:
    """Share of the exact top K of one scorer that is in the exact top K of another: what a change of precision costs in recall.

    Args:
        before: a frozen scorer.
        after: the same, changed.
        histories: [B, L] item rows.
        categories: [B, L] category rows.
        item_embs: [N, D] vectors of the corpus.
        changed_item_embs: the same as the changed scorer meets them.
        top_k: K; at most N.
        inputs: by name [B, *] int64 what else the scorers read.
    """
    best = []
    for frozen, vectors in ((before, item_embs), (after, changed_item_embs)):
        scorer = FrozenScorer(frozen)
        state = scorer.user_state(tf.constant(histories), tf.constant(categories), **(inputs or {}))
        scores = np.asarray(scorer.score(state, vectors[np.newaxis]))
        best.append(np.argsort(-scores, axis=1, kind="stable")[:, :top_k])
    shared = [len(np.intersect1d(a, b)) / max(1, min(top_k, len(item_embs))) for a, b in zip(*best, strict=True)]
    return float(np.mean(shared)) if shared else 1.0


def precompute(
    frozen: tf.compat.v1.GraphDef, corpus: Embeddings, *, max_table_bytes: int
) -> tuple[tf.compat.v1.GraphDef, Embeddings, dict[str, Any]]:
    """Computes what depends on items alone for the corpus, where that pays.

    Args:
        frozen: a frozen scorer.
        corpus: the vectors its ``item_embs`` takes.
        max_table_bytes: of the new table.

    Returns:
        The scorer, whose ``item_embs`` takes the new, wider vectors; these; and the record for the report.
    """
    outputs = ["history", "history_mask", *user_state_names(frozen), "scores"]
    changed, table, report = graph_optimizer.precompute_items(
        frozen, item_input="item_embs", item_values=corpus.vectors, outputs=outputs, axis=1, max_table_bytes=max_table_bytes
    )
    return in_order_of_names(changed), Embeddings(item_rows=corpus.item_rows, vectors=table), report.as_dict()
