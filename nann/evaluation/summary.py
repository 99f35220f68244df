"""The figures of an evaluation, and the table of users they can be traced in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nann.evaluation import metrics as m
from nann.evaluation.lists import Lists


def summarize(
    *,
    targets: NDArray[np.integer],
    exact: Lists,
    retrieved: Lists,
    baselines: Mapping[str, NDArray[np.int64]],
    ks: Sequence[int],
    num_items: int,
) -> dict[str, Any]:
    """The contents of ``metrics.json`` but for its ``split``.

    Args:
        targets: [S] item row of each user's held-out event, S >= 1.
        exact: lists of the exact scan, at least max(ks) wide.
        retrieved: lists of the exported graph, as wide.
        baselines: name -> [S, W] lists.
        ks: list lengths K.
        num_items: N, items in the corpus.

    Returns:
        ``recall_all@K``, ``recall_retrieval@K``, ``recall_delta@K`` (None where recall_all is 0), ``coverage@K``, ``precision@K``,
        ``f1@K`` (the last two of the retrieved lists), ``items_scored_mean``, ``items_scored_share``, ``num_test_users``,
        ``num_items``, ``baselines`` (name -> ``recall@K``) and ``standard_errors`` (the same names).
    """
    relevant = np.asarray(targets)[:, None]
    figures: dict[str, Any] = {}
    errors: dict[str, Any] = {"baselines": {}}
    for k in ks:
        per_user = {
            "recall_all": m.recall(exact.item_rows, relevant, k),
            "recall_retrieval": m.recall(retrieved.item_rows, relevant, k),
            "coverage": m.coverage(retrieved.item_rows, exact.item_rows, k),
            "precision": m.precision(retrieved.item_rows, relevant, k),
            "f1": m.f1(retrieved.item_rows, relevant, k),
        }
        for name, values in per_user.items():
            figures[f"{name}@{k}"] = float(values.mean())
            errors[f"{name}@{k}"] = m.standard_error(values)
        figures[f"recall_delta@{k}"] = m.recall_delta(figures[f"recall_all@{k}"], figures[f"recall_retrieval@{k}"])
    figures["baselines"] = {}
    for name, lists in baselines.items():
        values_by_k = {f"recall@{k}": m.recall(lists, relevant, k) for k in ks}
        figures["baselines"][name] = {key: float(values.mean()) for key, values in values_by_k.items()}
        errors["baselines"][name] = {key: m.standard_error(values) for key, values in values_by_k.items()}
    scored = float(retrieved.items_scored.mean())
    errors["items_scored_mean"] = m.standard_error(retrieved.items_scored.astype(np.float64))
    figures.update(items_scored_mean=scored, items_scored_share=scored / num_items, num_test_users=len(targets), num_items=num_items)
    return {**figures, "standard_errors": errors}


def users_table(
    *,
    user_ids: NDArray[Any],
    item_ids: NDArray[Any],
    histories: NDArray[np.integer],
    targets: NDArray[np.integer],
    exact: Lists,
    retrieved: Lists,
    baselines: Mapping[str, NDArray[np.int64]],
    ks: Sequence[int],
) -> pa.Table:
    """One row per user, in the order of the split.

    Columns: ``user_id``; ``target_row`` and ``target_item_id``; ``history_length`` and ``target_in_history``; the target's place in each
    list from 1, 0 where it is not there (``rank_all``, ``rank_retrieval``, ``rank_<baseline>``); ``items_scored``; ``coverage@K``;
    and the lists themselves, item rows best first (``exact``, ``retrieved``).

    Args:
        user_ids: [S] ids as they stand in the log.
        item_ids: [N + 1] catalogue ids by item row.
        histories: [S, L] item rows, 0 pads.
        targets: see `summarize`, as the remaining arguments.
        exact: exact lists.
        retrieved: lists of the exported graph.
        baselines: name -> [S, W] lists.
        ks: list lengths K.
    """
    columns: dict[str, Any] = {
        "user_id": pa.array(user_ids),
        "target_row": pa.array(np.asarray(targets, np.int64)),
        "target_item_id": pa.array(item_ids[targets].tolist()),
        "history_length": pa.array(np.count_nonzero(histories, axis=1).astype(np.int64)),
        "target_in_history": pa.array(np.any(np.asarray(histories) == np.asarray(targets)[:, None], axis=1)),
        "rank_all": pa.array(m.ranks_of(exact.item_rows, targets)),
        "rank_retrieval": pa.array(m.ranks_of(retrieved.item_rows, targets)),
        **{f"rank_{name}": pa.array(m.ranks_of(lists, targets)) for name, lists in baselines.items()},
        "items_scored": pa.array(retrieved.items_scored),
        **{f"coverage@{k}": pa.array(m.coverage(retrieved.item_rows, exact.item_rows, k)) for k in ks},
        "exact": _list_column(exact.item_rows),
        "retrieved": _list_column(retrieved.item_rows),
    }
    return pa.table(columns)


def _list_column(rows: NDArray[np.int64]) -> pa.Array:
    """[S, W] rows as a list column without the padding."""
    kept = rows != 0
    offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows[kept].astype(np.int32)))
