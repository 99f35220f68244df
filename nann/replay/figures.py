"""Figures of one window: recall in parts, simple methods, and the choice of what is chosen from the past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nann.evaluation.metrics import standard_error
from nann.evaluation.recommenders import ItemCF, UserItems, popular_list
from nann.replay.log import Questions, ReplayLog
from nann.replay.prior import HOUR
from nann.replay.scan import ranks_in_lists

Ranks = npt.NDArray[np.int64]


def recall_parts(ranks: Ranks, targets: npt.NDArray[np.integer], ks: Sequence[int], *, items_before: int, items_now: int) -> dict[str, Any]:
    """Recall over all users, and over users whose target belongs to a part of the catalogue.

    Args:
        ranks: [S] items above each target.
        targets: [S] item rows.
        ks: list lengths K.
        items_before: items known when the last window began.
        items_now: items known now; rows above this cannot be found by anyone.

    Returns:
        ``recall@K`` and ``standard_error@K`` over all; ``recall_known@K``, over targets known now, ``recall_new@K``, over those first
        seen in the last window, ``recall_older@K``, over the other known ones; ``users``, ``known``, ``new``: numbers of users. None
        where a part is empty.
    """
    targets = np.asarray(targets)
    parts = {
        "recall_known": targets <= items_now,
        "recall_new": (targets > items_before) & (targets <= items_now),
        "recall_older": targets <= items_before,
    }
    figures: dict[str, Any] = {
        "users": len(targets),
        "known": int(parts["recall_known"].sum()),
        "new": int(parts["recall_new"].sum()),
    }
    for k in ks:
        hits = (ranks < k).astype(np.float64)
        figures[f"recall@{k}"] = float(hits.mean()) if len(hits) else None
        figures[f"standard_error@{k}"] = standard_error(hits)
        for name, part in parts.items():
            figures[f"{name}@{k}"] = float(hits[part].mean()) if part.any() else None
    return figures


def simple_ranks(log: ReplayLog, moment: int, questions: Questions, width: int) -> dict[str, Ranks]:
    """[S] ranks by popularity of the last 6 and 24 hours, and by item CF on the last 48 hours' events (lists of ``width``)."""
    num_items = log.items_before(moment)
    found = {
        f"popularity_{hours}h": ranks_in_lists(popular_list(log.counts(moment - hours * HOUR, moment), width), questions.targets)
        for hours in (6, 24)
    }
    recent = np.flatnonzero((log.times >= moment - 48 * HOUR) & (log.times < moment))
    users = log.users[recent]
    row_splits = np.concatenate([[0], np.flatnonzero(np.diff(users)) + 1, [len(users)]]) if len(users) else np.zeros(1, np.int64)
    item_cf = ItemCF(UserItems(log.item_rows[recent], row_splits, num_items=num_items))
    fill = popular_list(log.counts(moment - 48 * HOUR, moment), width)
    found["item_cf_48h"] = ranks_in_lists(item_cf.recommend(questions.histories, width, fill=fill), questions.targets)
    return found


def choose_best(past: Sequence[Mapping[Any, float]], default: Any) -> Any:
    """The key with the largest sum over past windows; ``default`` without any."""
    total: dict[Any, float] = {}
    for window in past:
        for key, value in window.items():
            total[key] = total.get(key, 0.0) + value
    return max(total, key=lambda key: total[key]) if total else default
