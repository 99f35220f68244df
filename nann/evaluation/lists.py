"""Runs a retriever over many users and keeps their lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nann.progress import CountProgress

# [B, L] int64 item rows and category rows, and by name what else the model reads -> [B, K] item rows (0 pads) and [B] items scored.
Retrieve = Callable[..., tuple[NDArray[np.int64], NDArray[np.int64]]]


@dataclass(frozen=True)
class Lists:
    """What was retrieved for S users.

    Attributes:
        item_rows: [S, W] int64, best first, 0 pads.
        items_scored: [S] int64 items scored to find them.
    """

    item_rows: NDArray[np.int64]
    items_scored: NDArray[np.int64]


def chosen_users(count: int, most: int, *, seed: int) -> NDArray[np.int64]:
    """Places of at most ``most`` of ``count`` users, drawn at random, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def collect_lists(
    retrieve: Retrieve,
    histories: NDArray[np.integer],
    category_rows: NDArray[np.integer],
    *,
    width: int,
    batch_size: int,
    label: str,
    inputs: Mapping[str, NDArray[np.integer]] | None = None,
) -> Lists:
    """Retrieves for all users, batch by batch in their order, with a line of progress every few seconds.

    Args:
        retrieve: one batch of histories to lists.
        histories: [S, L] item rows, zeros at the end.
        category_rows: [N + 1] category row by item row, entry 0 is 0.
        width: entries kept per list; shorter lists are padded with 0.
        batch_size: users per call; the last batch is smaller.
        label: what runs, for the log.
        inputs: by name [S, *] what else the model reads, as of `nann.dataset.Samples`.
    """
    count = len(histories)
    rows, scored = np.zeros((count, width), np.int64), np.zeros(count, np.int64)
    progress = CountProgress(label, count, last=True)
    for first in range(0, count, batch_size):
        batch = np.asarray(histories[first : first + batch_size], np.int64)
        more = {name: np.asarray(values[first : first + batch_size], np.int64) for name, values in (inputs or {}).items()}
        found, items_scored = retrieve(batch, np.asarray(category_rows, np.int64)[batch], **more)
        kept = min(width, found.shape[1])
        rows[first : first + len(batch), :kept] = found[:, :kept]
        scored[first : first + len(batch)] = items_scored
        progress.update(first + len(batch))
    return Lists(rows, scored)
