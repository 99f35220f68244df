"""Recall during training: the exact scan on a few validation users, by counting the items that score above the target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nann.dataset import Samples
from nann.models import ItemEncoder, Scorer

ITEM_BLOCK = 8192
USER_BLOCK = 16


class RecallProbe:
    """Measures recall-all of a scorer on fixed users.

    Args:
        scorer: the scorer in training.
        samples: held-out samples with the inputs that the scorer reads; histories are cut to the newest ``max_length`` items.
        categories: [N + 1] int32 category row by item row.
        max_length: history items the model reads.
    """

    def __init__(self, scorer: Scorer, samples: Samples, *, categories: npt.NDArray[np.int32], max_length: int) -> None:
        self._scorer, self._targets = scorer, samples.targets
        self._histories = newest(samples.histories, samples.histories, max_length).astype(np.int32)
        self._inputs = {
            name: newest(samples.histories, samples.inputs[name], max_length) if entry.side == "history" else samples.inputs[name]
            for name, entry in scorer.request_inputs.items()
        }
        self._categories = categories
        self._score = tf.function(lambda state, items: scorer.score(state, items), autograph=False, reduce_retracing=True)
        self._encode_user = tf.function(
            lambda rows, cates, inputs: scorer.encode_user(*scorer.history(rows, cates, **inputs)), autograph=False, reduce_retracing=True
        )
        self._encode_items = ItemEncoder(scorer, categories)

    def recall(self, ks: Sequence[int]) -> dict[str, float]:
        """``recall_all@K`` for each K: the share of users whose target has fewer than K items above it."""
        ranks = self._ranks()
        return {f"recall_all@{k}": float(np.mean(ranks < k)) for k in ks}

    def _ranks(self) -> npt.NDArray[np.int64]:
        count = len(self._categories)
        rows = [np.arange(first, min(first + ITEM_BLOCK, count), dtype=np.int32) for first in range(1, count, ITEM_BLOCK)]
        blocks = [self._encode_items(block)[tf.newaxis] for block in rows]
        ranks = []
        for first in range(0, len(self._targets), USER_BLOCK):
            history = self._histories[first : first + USER_BLOCK]
            targets = self._targets[first : first + USER_BLOCK]
            inputs = {name: values[first : first + USER_BLOCK] for name, values in self._inputs.items()}
            state = self._encode_user(history, self._categories[history], inputs)
            scores = np.concatenate([self._score(state, block).numpy() for block in blocks], axis=1)
            own = scores[np.arange(len(targets)), targets - 1]
            ranks.append(np.sum(scores > own[:, np.newaxis], axis=1))
        return np.concatenate(ranks)


def newest(histories: npt.NDArray[np.int32], values: npt.NDArray[np.integer], length: int) -> npt.NDArray[np.integer]:
    """Of values [S, L] beside histories [S, L] that end in zeros those of the newest ``length`` items, as [S, length]."""
    filled = np.count_nonzero(histories, axis=1)
    columns = np.maximum(filled - length, 0)[:, np.newaxis] + np.arange(length)
    inside = columns < filled[:, np.newaxis]
    return np.where(inside, np.take_along_axis(values, np.minimum(columns, histories.shape[1] - 1), axis=1), 0)
