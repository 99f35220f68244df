"""Measures searches on one graph: quality against the exact scan, items scored, latency of one user."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nann.evaluation import metrics as m
from nann.evaluation.lists import Lists, collect_lists
from nann.evaluation.scan import as_retrieve, fastest_walk
from nann.index.embeddings import Embeddings
from nann.index.graph import Graph
from nann.memory.table import CorpusMemory
from nann.retrieval import BeamRetriever, SearchParameters, UserScorer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuningUsers:
    """The users to measure on.

    Attributes:
        histories: [S, L] item rows, zeros at the end, S >= 1.
        targets: [S] item row of the held-out event.
        category_rows: [N + 1] category row by item row.
        exact: lists of the exact scan, at least K wide.
        inputs: by name [S, *] what else the model reads.
    """

    histories: NDArray[np.integer]
    targets: NDArray[np.integer]
    category_rows: NDArray[np.integer]
    exact: Lists
    inputs: Mapping[str, NDArray[np.integer]] = field(default_factory=dict)


def measure_searches(
    scorer: UserScorer,
    embeddings: Embeddings,
    graph: Graph,
    users: TuningUsers,
    searches: Sequence[SearchParameters],
    *,
    k: int,
    batch_size: int,
    latency_users: int,
    memory: CorpusMemory | None = None,
) -> list[dict[str, Any]]:
    """One point per search, with walk and scoring in one native op where it is built, else the native walk, else the stock one.

    Args:
        scorer: of the converted model.
        embeddings: the corpus.
        graph: built from these embeddings.
        users: whom to search for.
        searches: at least one, all naming as many levels.
        k: K of the metrics, at most their `top_k`.
        batch_size: users per call when quality is measured.
        latency_users: calls with one user each, whose median is the latency.
        memory: of the converted model.

    Returns:
        Per search its parameters, ``items_scored_mean``, ``items_scored_share``, ``coverage@K``, ``coverage_se@K``, ``recall@K``,
        ``recall_se@K``, ``recall_delta@K`` (None where the exact recall is 0) and ``p50_ms``.
    """
    retriever = BeamRetriever(scorer, embeddings, graph, **vars(searches[0]), search=fastest_walk(scorer), memory=memory)
    retrieve, relevant = as_retrieve(retriever), np.asarray(users.targets)[:, None]
    exact_recall = float(m.recall(users.exact.item_rows, relevant, k).mean())
    points = []
    for number, parameters in enumerate(searches):
        retriever.parameters = parameters
        label = f"search {number + 1} of {len(searches)}"
        found = collect_lists(
            retrieve, users.histories, users.category_rows, width=k, batch_size=batch_size, label=label, inputs=users.inputs
        )
        recall, coverage = m.recall(found.item_rows, relevant, k), m.coverage(found.item_rows, users.exact.item_rows, k)
        scored = float(found.items_scored.mean())
        points.append(
            {
                **{name: list(value) if isinstance(value, tuple) else value for name, value in vars(parameters).items()},
                "items_scored_mean": scored,
                "items_scored_share": scored / len(embeddings),
                f"coverage@{k}": float(coverage.mean()),
                f"coverage_se@{k}": m.standard_error(coverage),
                f"recall@{k}": float(recall.mean()),
                f"recall_se@{k}": m.standard_error(recall),
                f"recall_delta@{k}": m.recall_delta(exact_recall, float(recall.mean())),
                "p50_ms": _median_latency_ms(retriever, users, latency_users),
            }
        )
        logger.info("%s: coverage %.4f, %.0f items scored, %.1f ms", parameters, points[-1][f"coverage@{k}"], scored, points[-1]["p50_ms"])
    return points


def _median_latency_ms(retriever: BeamRetriever, users: TuningUsers, count: int) -> float:
    times = []
    for number in range(min(count, len(users.histories)) + 1):
        user = slice(max(0, number - 1), max(0, number - 1) + 1)
        history = np.asarray(users.histories[user], np.int64)
        inputs = {name: values[user] for name, values in users.inputs.items()}
        begin = time.perf_counter()
        retriever(history, np.asarray(users.category_rows[history], np.int64), **inputs)
        times.append(1000 * (time.perf_counter() - begin))
    return float(np.median(times[1:]))  # the first call of a batch size allocates
