"""Figures for parts of the users: by how often the target was trained on, by history length, by whether the target is a repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nann.evaluation.intervals import wilson

Mask = NDArray[np.bool_]
# First value of each bucket; the last one is open. An item without a training event is a cold one.
EVENT_EDGES = (0, 1, 5, 20, 100)
LENGTH_EDGES = (0, 4, 8, 16, 32)


def bucket_labels(edges: Sequence[int]) -> list[str]:
    """``0``, ``1-4``, ..., ``100+`` for the first values of buckets."""
    ends = [following - 1 for following in edges[1:]]
    labels = [str(first) if first == last else f"{first}-{last}" for first, last in zip(edges, ends, strict=False)]
    return [*labels, f"{edges[-1]}+"]


def user_groups(
    *, targets: NDArray[np.integer], histories: NDArray[np.integer], train_counts: NDArray[np.integer]
) -> dict[str, list[tuple[str, Mask]]]:
    """Divisions of the users, each into groups without overlap; groups of nobody are left out.

    Args:
        targets: [S] item rows.
        histories: [S, L] item rows, 0 pads.
        train_counts: [N + 1] events of training users per item row.

    Returns:
        ``target_train_events`` (by the target's training events; ``0`` are the cold items), ``history_length`` (items in the history) and
        ``target_in_history`` (``yes``, ``no``), each a list of (label, [S] mask).
    """
    events = np.asarray(train_counts)[targets]
    lengths = np.count_nonzero(histories, axis=1)
    repeated = np.any(np.asarray(histories) == np.asarray(targets)[:, None], axis=1)
    divisions = {
        "target_train_events": _buckets(events, EVENT_EDGES),
        "history_length": _buckets(lengths, LENGTH_EDGES),
        "target_in_history": [("no", ~repeated), ("yes", repeated)],
    }
    return {name: [(label, mask) for label, mask in groups if mask.any()] for name, groups in divisions.items()}


def _buckets(values: NDArray[np.integer], edges: Sequence[int]) -> list[tuple[str, Mask]]:
    bucket = np.searchsorted(edges, values, side="right") - 1
    return [(label, bucket == number) for number, label in enumerate(bucket_labels(edges))]


def group_figures(groups: Mapping[str, Sequence[tuple[str, Mask]]], hits: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Means of 0/1 values per group, with their Wilson intervals.

    Args:
        groups: of `user_groups`.
        hits: name -> [S] 0 or 1 per user.

    Returns:
        Division -> list of ``group`` (its label), ``users``, the means by name, and ``intervals`` by name.
    """
    return {
        division: [
            {
                "group": label,
                "users": int(mask.sum()),
                **{name: float(values[mask].mean()) for name, values in hits.items()},
                "intervals": {name: list(wilson(float(values[mask].sum()), int(mask.sum()))) for name, values in hits.items()},
            }
            for label, mask in members
        ]
        for division, members in groups.items()
    }
