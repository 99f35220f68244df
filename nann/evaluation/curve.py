"""Quality against cost: the walk with narrower and wider lists than the exported ones, on validation users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nann.evaluation import metrics as m
from nann.evaluation.lists import Lists, Retrieve, collect_lists
from nann.evaluation.scan import as_retrieve, exact_scan, fastest_walk
from nann.index.embeddings import Embeddings
from nann.index.graph import Graph
from nann.memory.table import CorpusMemory
from nann.retrieval import BeamRetriever, SearchParameters, UserScorer

SCALES = (0.125, 0.25, 0.5, 1.0, 2.0)


def measure_curve(
    scorer: UserScorer,
    embeddings: Embeddings,
    graph: Graph,
    *,
    histories: NDArray[np.integer],
    targets: NDArray[np.integer],
    category_rows: NDArray[np.integer],
    ef: Sequence[int],
    rounds: Sequence[int],
    ks: Sequence[int],
    batch_size: int,
    scales: Sequence[float] = SCALES,
    inputs: Mapping[str, NDArray[np.integer]] | None = None,
    memory: CorpusMemory | None = None,
) -> dict[str, Any]:
    """Recall, coverage and items scored with every ``ef`` scaled, rounds as exported.

    Args:
        scorer: of the converted model.
        embeddings: the corpus.
        graph: built from these embeddings.
        histories: [S, L] item rows of validation users, zeros at the end, S >= 1.
        targets: [S] item rows.
        category_rows: [N + 1] category row by item row.
        ef: exported width per level from level 0 up.
        rounds: exported rounds per level from level 0 up.
        ks: list lengths K.
        batch_size: users per call.
        scales: factors of ef; 1 is the exported setting.
        inputs: by name [S, *] what else the scorer reads.
        memory: of the converted model.

    Returns:
        ``num_users``; ``exact`` (``recall_all@K``); ``points``, one per scale by growing scale: ``scale``, ``ef``, ``rounds``,
        ``exported``, ``items_scored_mean``, ``items_scored_share``, and ``recall@K``, ``recall_se@K`` and ``coverage@K``.
    """
    width = max(ks)
    relevant = np.asarray(targets)[:, None]

    def lists_of(retrieve: Retrieve, label: str) -> Lists:
        return collect_lists(retrieve, histories, category_rows, width=width, batch_size=batch_size, label=label, inputs=inputs)

    exact = lists_of(exact_scan(scorer, embeddings, top_k=width, memory=memory), "curve, exact scan")
    points = []
    retriever = BeamRetriever(
        scorer, embeddings, graph, ef=tuple(ef), rounds=tuple(rounds), top_k=width, search=fastest_walk(scorer), memory=memory
    )
    for scale in sorted(scales):
        scaled = tuple(max(1, round(level * scale)) for level in ef)
        retriever.parameters = SearchParameters(ef=scaled, rounds=tuple(rounds), top_k=width)
        found = lists_of(as_retrieve(retriever), f"curve, width x {scale:g}")
        point: dict[str, Any] = {"scale": scale, "ef": list(scaled), "rounds": list(rounds), "exported": scale == 1.0}
        point["items_scored_mean"] = float(found.items_scored.mean())
        point["items_scored_share"] = point["items_scored_mean"] / len(embeddings)
        for k in ks:
            recall = m.recall(found.item_rows, relevant, k)
            point[f"recall@{k}"], point[f"recall_se@{k}"] = float(recall.mean()), m.standard_error(recall)
            point[f"coverage@{k}"] = float(m.coverage(found.item_rows, exact.item_rows, k).mean())
        points.append(point)
    recalls = {f"recall_all@{k}": float(m.recall(exact.item_rows, relevant, k).mean()) for k in ks}
    return {"num_users": len(relevant), "exact": recalls, "points": points}
