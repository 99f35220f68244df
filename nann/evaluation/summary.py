"""The figures of an evaluation, and the table of users they can be traced in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nann.evaluation import metrics as m
from nann.evaluation.best_baseline import BEST_BASELINE, against_best
from nann.evaluation.groups import group_figures, user_groups
from nann.evaluation.intervals import intervals
from nann.evaluation.lists import Lists


def summarize(
    *,
    targets: NDArray[np.integer],
    histories: NDArray[np.integer],
    train_counts: NDArray[np.integer],
    exact: Lists,
    retrieved: Lists,
    baselines: Mapping[str, NDArray[np.int64]],
    ks: Sequence[int],
    num_items: int,
) -> dict[str, Any]:
    """The contents of ``metrics.json`` but for its ``split`` and ``baseline_options``.

    Args:
        targets: [S] item row of each user's held-out event, S >= 1.
        histories: [S, L] item rows, 0 pads.
        train_counts: [N + 1] events of training users per item row.
        exact: lists of the exact scan, at least max(ks) wide.
        retrieved: lists of the exported graph, as wide.
        baselines: name -> [S, W] lists.
        ks: list lengths K.
        num_items: N, items in the corpus.

    Returns:
        ``recall_all@K``, ``ndcg_all@K``, ``mrr_all@K`` (exact lists), ``recall_retrieval@K``, ``ndcg_retrieval@K``, ``mrr_retrieval@K``,
        ``precision@K``, ``f1@K``, ``catalogue_coverage@K`` (retrieved lists), ``recall_delta@K`` (None where recall_all is 0),
        ``coverage@K``, ``items_scored_mean``, ``items_scored_share``, ``num_test_users``, ``num_items``, ``baselines`` (name ->
        ``recall@K``, ``ndcg@K``, ``mrr@K``, ``catalogue_coverage@K``), ``best_baseline`` (``name@K`` and ``recall@K`` of the simple method
        with the highest recall at each K), ``ratio_to_best_baseline@K`` (recall_retrieval over that, None where it is 0),
        ``standard_errors`` and ``intervals`` (the same names, for means over users and, of intervals, the ratios) and ``groups`` (see
        `nann.evaluation.groups`).
    """
    relevant = np.asarray(targets)[:, None]
    figures: dict[str, Any] = {}
    per_user: dict[str, NDArray[np.float64]] = {"items_scored_mean": retrieved.items_scored.astype(np.float64)}
    for k in ks:
        for kind, lists in (("all", exact.item_rows), ("retrieval", retrieved.item_rows)):
            per_user |= {f"{name}_{kind}@{k}": values for name, values in _ranking(lists, relevant, k).items()}
        per_user[f"coverage@{k}"] = m.coverage(retrieved.item_rows, exact.item_rows, k)
        per_user[f"precision@{k}"] = m.precision(retrieved.item_rows, relevant, k)
        per_user[f"f1@{k}"] = m.f1(retrieved.item_rows, relevant, k)
        figures[f"catalogue_coverage@{k}"] = m.catalogue_coverage(retrieved.item_rows, k, num_items)
    figures |= {name: float(values.mean()) for name, values in per_user.items()}
    for k in ks:
        figures[f"recall_delta@{k}"] = m.recall_delta(figures[f"recall_all@{k}"], figures[f"recall_retrieval@{k}"])
    figures["items_scored_share"] = figures["items_scored_mean"] / num_items
    figures.update(num_test_users=len(targets), num_items=num_items)
    errors: dict[str, Any] = {name: m.standard_error(values) for name, values in per_user.items()}
    ranges: dict[str, Any] = {name: list(interval) for name, interval in intervals(per_user).items()}
    figures["baselines"], errors["baselines"], ranges["baselines"] = {}, {}, {}
    hits = {name: values for name, values in per_user.items() if name.startswith(("recall_all@", "recall_retrieval@"))}
    for name, lists in baselines.items():
        own = {f"{metric}@{k}": values for k in ks for metric, values in _ranking(lists, relevant, k).items()}
        covered = {f"catalogue_coverage@{k}": m.catalogue_coverage(lists, k, num_items) for k in ks}
        figures["baselines"][name] = {key: float(values.mean()) for key, values in own.items()} | covered
        errors["baselines"][name] = {key: m.standard_error(values) for key, values in own.items()}
        ranges["baselines"][name] = {key: list(interval) for key, interval in intervals(own).items()}
        hits |= {f"{name}@{k}": own[f"recall@{k}"] for k in ks}
    theirs = {name: {k: hits[f"{name}@{k}"] for k in ks} for name in baselines}
    best, paired = against_best(figures["baselines"], {k: per_user[f"recall_retrieval@{k}"] for k in ks}, theirs)
    figures[BEST_BASELINE] = best
    for k, against in paired.items():
        figures[f"ratio_to_best_baseline@{k}"] = against.ratio
        if against.ratio_interval is not None:
            ranges[f"ratio_to_best_baseline@{k}"] = list(against.ratio_interval)
    groups = user_groups(targets=targets, histories=histories, train_counts=train_counts)
    return {**figures, "standard_errors": errors, "intervals": ranges, "groups": group_figures(groups, hits)}


def _ranking(lists: NDArray[np.integer], relevant: NDArray[np.integer], k: int) -> dict[str, NDArray[np.float64]]:
    """Recall, NDCG and reciprocal rank per user."""
    return {
        "recall": m.recall(lists, relevant, k),
        "ndcg": m.ndcg(lists, relevant, k),
        "mrr": m.reciprocal_rank(lists, relevant, k),
    }


def users_table(
    *,
    user_ids: NDArray[Any],
    item_ids: NDArray[Any],
    histories: NDArray[np.integer],
    train_counts: NDArray[np.integer],
    targets: NDArray[np.integer],
    exact: Lists,
    retrieved: Lists,
    baselines: Mapping[str, NDArray[np.int64]],
    ks: Sequence[int],
) -> pa.Table:
    """One row per user, in the order of the split.

    Columns: ``user_id``; ``target_row``, ``target_item_id`` and ``target_train_events``; ``history_length`` and ``target_in_history``; the
    target's place in each list from 1, 0 where it is not there (``rank_all``, ``rank_retrieval``, ``rank_<baseline>``);
    ``items_scored``; ``coverage@K``; the ``history``, item rows oldest first; and the lists, item rows best first (``exact``,
    ``retrieved``).

    Args:
        user_ids: [S] ids as they stand in the log.
        item_ids: [N + 1] catalogue ids by item row.
        histories: [S, L] item rows, 0 pads.
        train_counts: [N + 1] events of training users per item row.
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
        "target_train_events": pa.array(np.asarray(train_counts, np.int64)[targets]),
        "history_length": pa.array(np.count_nonzero(histories, axis=1).astype(np.int64)),
        "target_in_history": pa.array(np.any(np.asarray(histories) == np.asarray(targets)[:, None], axis=1)),
        "rank_all": pa.array(m.ranks_of(exact.item_rows, targets)),
        "rank_retrieval": pa.array(m.ranks_of(retrieved.item_rows, targets)),
        **{f"rank_{name}": pa.array(m.ranks_of(lists, targets)) for name, lists in baselines.items()},
        "items_scored": pa.array(retrieved.items_scored),
        **{f"coverage@{k}": pa.array(m.coverage(retrieved.item_rows, exact.item_rows, k)) for k in ks},
        "history": _list_column(histories),
        "exact": _list_column(exact.item_rows),
        "retrieved": _list_column(retrieved.item_rows),
    }
    return pa.table(columns)


def _list_column(rows: NDArray[np.integer]) -> pa.Array:
    """[S, W] rows as a list column without the padding."""
    kept = np.asarray(rows) != 0
    offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows[kept].astype(np.int32)))
