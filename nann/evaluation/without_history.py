"""What is found when items of the history are left out, inside the search, against the exact scan without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nann.dataset import Items, Samples
from nann.evaluation import metrics as m
from nann.evaluation.lists import Lists, Retrieve, collect_lists
from nann.evaluation.scan import exact_scan
from nann.export import ConvertedModel, ExportedRetrieval


def without_history(
    exported: ConvertedModel,
    retrieval: ExportedRetrieval,
    items: Items,
    samples: Samples,
    retrieved: Lists,
    *,
    ks: Sequence[int],
    batch_size: int,
) -> dict[str, Any]:
    """Figures of the filtered search with ``exclude_history``.

    Recall is that of users whose next item is not in their history, the only ones who can be served this way.

    Args:
        exported: the model.
        retrieval: its exported graph.
        items: the catalogue.
        samples: the users, S of them.
        retrieved: their lists without a filter.
        ks: list lengths K.
        batch_size: users per call.

    Returns:
        ``num_users`` with a new next item; ``recall_all@K``, ``recall_retrieval@K`` and ``recall_unfiltered@K`` of these (None without
        any), of the exact scan and the exported graph without the history and of the graph with it; ``coverage@K`` and
        ``items_scored_mean`` of all users; ``history_share@K``, how much of the lists with the history is of it.
    """
    width, histories = max(ks), np.asarray(samples.histories)
    asked: dict[str, Any] = {"batch_size": batch_size, "inputs": samples.inputs}
    found = collect_lists(_leaving_out(retrieval), histories, items.category_rows, width=width, label="exported graph, no history", **asked)
    longer = width + histories.shape[1]
    scan = exact_scan(exported.scorer, exported.corpus[0], top_k=longer, memory=exported.memory)
    everything = collect_lists(scan, histories, items.category_rows, width=longer, label="exact scan, no history", **asked)
    exact = _dropped(everything.item_rows, histories)[:, :width]
    new = ~np.any(histories == np.asarray(samples.targets)[:, None], axis=1)
    relevant = np.asarray(samples.targets)[new, None]
    figures: dict[str, Any] = {"num_users": int(new.sum()), "items_scored_mean": float(found.items_scored.mean())}
    for k in ks:
        for name, lists in (("all", exact), ("retrieval", found.item_rows), ("unfiltered", retrieved.item_rows)):
            figures[f"recall_{name}@{k}"] = float(m.recall(lists[new], relevant, k).mean()) if new.any() else None
        figures[f"coverage@{k}"] = float(m.coverage(found.item_rows, exact, k).mean())
        figures[f"history_share@{k}"] = float((m.count_hits(retrieved.item_rows[:, :k], histories) / k).mean())
    return figures


def _leaving_out(retrieval: ExportedRetrieval) -> Retrieve:
    def retrieve(
        item_rows: NDArray[np.int64], cate_rows: NDArray[np.int64], **inputs: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        nothing, users = np.zeros((len(item_rows), 0), np.int64), np.ones(len(item_rows), bool)
        filters = {"exclude_item_ids": nothing, "category_ids": nothing, "exclude_history": users}
        found = retrieval.run("filtered", item_ids=item_rows, cate_ids=cate_rows, **filters, **inputs)
        return found["top_k_item_ids"], found["items_scored"]

    return retrieve


def _dropped(lists: NDArray[np.int64], histories: NDArray[np.integer]) -> NDArray[np.int64]:
    """The lists [S, W] without the items of the histories [S, L]; the rest moves up, zeros after it."""
    kept = np.zeros_like(lists)
    for user, (rows, history) in enumerate(zip(lists, histories, strict=True)):
        left = rows[~np.isin(rows, history)]
        kept[user, : len(left)] = left
    return kept
