"""Ranks of targets under a scorer and a prior, over all items known at a moment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nann.models import Scorer
from nann.replay.log import Questions

USERS_AT_ONCE = 128
OUT = np.iinfo(np.int64).max


class ScorerScan:
    """The vectors of a scorer's items, ready to rank targets among them.

    Args:
        scorer: a trained scorer.
        category_rows: [N + 1 or more] category row by item row.
        num_items: n, items known; rows 1..n.
    """

    def __init__(self, scorer: Scorer, category_rows: npt.NDArray[np.int32], *, num_items: int) -> None:
        rows = np.arange(1, num_items + 1, dtype=np.int32)
        self._categories, self._num_items = category_rows, num_items
        self._items = scorer.encode_item(tf.constant(rows), tf.constant(category_rows[rows]))[tf.newaxis]

        def scores(histories: tf.Tensor, categories: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
            return scorer.score(scorer.encode_user(*scorer.history(histories, categories)), items)

        self._scores = tf.function(scores, autograph=False, reduce_retracing=True)

    def ranks(
        self, questions: Questions, log_prior: npt.NDArray[np.float32], weights: Sequence[float]
    ) -> dict[float, npt.NDArray[np.int64]]:
        """Items above the target by ``weight * score + log_prior``, per weight; equal scores are above it.

        Args:
            questions: users and targets.
            log_prior: [N + 1 or more] log share by item row.
            weights: of the score.

        Returns:
            weight -> [S] int64; a target not among the items known is `OUT`.
        """
        ranks = {weight: np.full(len(questions), OUT) for weight in weights}
        prior = log_prior[1 : self._num_items + 1]
        reachable = np.isfinite(prior)
        for first in range(0, len(questions), USERS_AT_ONCE):
            part = slice(first, first + USERS_AT_ONCE)
            # Rows the model has not seen yet read as missing.
            histories = np.where(questions.histories[part] <= self._num_items, questions.histories[part], 0)
            scored = self._scores(histories, self._categories[histories], self._items).numpy()
            targets = questions.targets[part]
            users = np.flatnonzero(targets <= self._num_items)
            users = users[reachable[targets[users] - 1]]
            for weight in weights:
                total = weight * scored[users] + prior
                own = total[np.arange(len(users)), targets[users] - 1]
                ranks[weight][first + users] = (total >= own[:, np.newaxis]).sum(axis=1) - 1
        return ranks


def ranks_in_lists(lists: npt.NDArray[np.integer], targets: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """[S] place of each target in its list [S, W] (or in one list [W] for all), from 0; `OUT` where it is not there."""
    lists = np.atleast_2d(lists)
    found = lists == np.asarray(targets)[:, np.newaxis]
    return np.where(found.any(axis=1), found.argmax(axis=1), OUT).astype(np.int64)
