"""A trained model as the teacher of another one: its scores of the candidates that the student is trained on (arXiv 1503.02531)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nann.models import ItemEncoder, load_model

ITEM_BLOCK = 8192


class Teacher:
    """Scores of a trained model; its item vectors are computed once.

    Args:
        model: a model directory.
        category_rows: [N + 1] int32 category row by item row.
        compiled: score with XLA.
        allow_own, named: see `nann.models.load_model`.

    Attributes:
        inputs: names of what it reads with a history.

    Raises:
        ArtifactError: the directory holds no model.
    """

    def __init__(
        self,
        model: Path,
        category_rows: npt.NDArray[np.int32],
        *,
        compiled: bool = False,
        allow_own: bool = False,
        named: str = "",
    ) -> None:
        self._scorer = load_model(model, allow_own=allow_own, named=named)
        self.inputs = tuple(self._scorer.request_inputs)
        count = len(category_rows)
        encode = ItemEncoder(self._scorer, category_rows)
        blocks = [encode(np.arange(first, min(first + ITEM_BLOCK, count))) for first in range(1, count, ITEM_BLOCK)]
        self._vectors = tf.concat([tf.zeros([1, self._scorer.item_dim]), *blocks], axis=0)
        self._score = tf.function(self._scored, jit_compile=compiled, autograph=False)

    def logits(self, histories: tf.Tensor, categories: tf.Tensor, candidates: tf.Tensor, **inputs: tf.Tensor) -> tf.Tensor:
        """Logits [B, n] float32 of item rows [B or 1, n], for histories [B, L] of item rows, their category rows, and what else is read."""
        sequence, mask = self._scorer.history(histories, categories, **inputs)
        return tf.stop_gradient(self._score(sequence, mask, tf.gather(self._vectors, candidates)))

    def _scored(self, sequence: tf.Tensor, mask: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        return self._scorer.score(self._scorer.encode_user(sequence, mask), items)


def distillation_loss(logits: tf.Tensor, teacher_logits: tf.Tensor, log_expected: tf.Tensor, ignored: tf.Tensor) -> tf.Tensor:
    """KL divergence [B] of the student's distribution over the candidates from the teacher's, both with the expected-count correction.

    Args:
        logits: [B, n] the student's.
        teacher_logits: [B, n].
        log_expected: [B or 1, n] log of the count with which each candidate is expected among the negatives.
        ignored: [B, n] bool, candidates that stand there a second time.
    """
    low = tf.fill(tf.shape(logits), tf.constant(-1e9))
    student, teacher = (tf.nn.log_softmax(tf.where(ignored, low, each - log_expected)) for each in (logits, teacher_logits))
    return tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=1)
