"""Where the time of a request goes: the ops of a SavedModel, timed one by one and sorted into parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nann.contents import without_wildcards
from nann.export.freeze import ENCODE_USER, PARAMETERS, SCORE
from nann.export.retrieval_graph import MICROSECONDS

PARTS = ("user_ms", "scoring_ms", "walk_ms")


def trace_requests(directory: Path, requests: Iterable[dict[str, np.ndarray]]) -> dict[str, float]:
    """Time of the ops of `serving_default`, mean per request after the first: user encoding, scoring, and everything else, the walk.

    Of an op that both walks and scores the time is divided as it says itself.

    Ops that run at once are both counted in full, and timing costs time: the shares tell, not the sum.

    Args:
        directory: of a SavedModel that `nann.export.open_graph` has opened.
        requests: at least two, each with ``item_ids`` and ``cate_ids`` [B, L] int64 and the model's inputs; the first is not counted.

    Returns:
        ``user_ms``, ``scoring_ms``, ``walk_ms`` and ``walk_share``.
    """
    totals: Counter[str] = Counter()
    count = -1
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        with without_wildcards(directory) as plain:
            meta = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(plain))
        signature = meta.signature_def["serving_default"]
        wanted = [info.name for info in signature.outputs.values()]
        fused = any(op.name == MICROSECONDS for op in graph.get_operations())
        wanted += [f"{MICROSECONDS}:0"] if fused else []
        options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
        for request in requests:
            count += 1
            metadata = tf.compat.v1.RunMetadata()
            values = {signature.inputs[name].name: value for name, value in request.items()}
            outputs = session.run(wanted, values, options=options, run_metadata=metadata)
            if count:
                walking, scoring = outputs[-1] if fused else (1, 0)
                totals.update(_parts_us(metadata, walking / max(1, walking + scoring)))
    if count < 1:
        raise ValueError(f"needs at least 2 requests, got {count + 1}")
    times = {part: totals[part] / count / 1000 for part in PARTS}
    return {**times, "walk_share": times["walk_ms"] / max(sum(times.values()), 1e-9)}


def _parts_us(metadata: Any, walking: float) -> Counter[str]:
    """Microseconds per part; `walking` is the walk's share of an op that does both."""
    times: Counter[str] = Counter()
    for device in metadata.step_stats.dev_stats:
        for node in device.node_stats:
            took = node.op_end_rel_micros - node.op_start_rel_micros
            if "BeamSearch" in node.node_name:
                times.update({"walk_ms": round(walking * took), "scoring_ms": round((1 - walking) * took)})
                continue
            path = node.node_name.split("/")
            of_user = any(ENCODE_USER in name or PARAMETERS in name for name in path)
            times["user_ms" if of_user else "scoring_ms" if any(SCORE in name for name in path) else "walk_ms"] += took
    return times
