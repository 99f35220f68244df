"""Retrievers: histories in, item rows and scores out. The beam walk and the exact scan share one interface, so that the one is the
oracle of the other."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from nann.index.embeddings import Embeddings
from nann.index.graph import Graph
from nann.models import Scorer
from nann.retrieval.beam import Found, UserState, beam_search
from nann.retrieval.exact import exact_search
from nann.retrieval.history import prepare_history
from nann.retrieval.plan import plan_walk
from nann.retrieval.tables import SearchTables


class UserScorer(Protocol):
    """What retrieval needs of a model, trained or frozen."""

    def user_state(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> UserState:
        """The user state of raw histories [B, L] int64: any integers, any L."""

    def score(self, user_state: UserState, items: tf.Tensor) -> tf.Tensor:
        """Logits [B, n] of items [B, n, D] or [1, n, D]."""


class HistoryScorer:
    """A `Scorer` that takes histories as they come.

    Args:
        scorer: the model.
        max_length: most recent history items it reads.
    """

    def __init__(self, scorer: Scorer, *, max_length: int) -> None:
        self.scorer = scorer
        self.max_length = max_length

    def prepare(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`prepare_history` with this model's numbers."""
        return prepare_history(
            item_rows,
            cate_rows,
            num_items=self.scorer.num_items,
            num_categories=self.scorer.num_categories,
            max_length=self.max_length,
        )

    def user_state(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> UserState:
        """The user state of raw histories [B, L] int64."""
        return tuple(self.scorer.encode_user(*self.scorer.history(*self.prepare(item_rows, cate_rows))))

    def score(self, user_state: UserState, items: tf.Tensor) -> tf.Tensor:
        """Logits [B, n] of items [B, n, D] or [1, n, D]."""
        return self.scorer.score(user_state, items)


class Retrieved(NamedTuple):
    """Items per user, best first.

    Attributes:
        item_rows: [B, K] int64, 0 where fewer than K items were found.
        scores: [B, K] float32, -inf there.
        items_scored: [B] int64.
    """

    item_rows: np.ndarray
    scores: np.ndarray
    items_scored: np.ndarray


def rows_at(item_rows: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Item rows [B, K] at positions [B, K], 0 for position -1."""
    return tf.where(positions >= 0, tf.gather(item_rows, tf.maximum(positions, 0)), 0)


class _Retriever:
    """Common to both: the compiled call."""

    def __init__(self, scorer: UserScorer, item_rows: tf.Variable) -> None:
        self._scorer = scorer
        self._item_rows = item_rows
        signature = [tf.TensorSpec([None, None], tf.int64)] * 2
        self._call = tf.function(self._retrieve, input_signature=signature)

    def _find(self, user_state: UserState) -> Found:
        raise NotImplementedError

    def _retrieve(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        found = self._find(self._scorer.user_state(item_rows, cate_rows))
        return rows_at(self._item_rows, found.positions), found.scores, found.items_scored

    def __call__(self, item_rows: np.ndarray, cate_rows: np.ndarray) -> Retrieved:
        """Retrieves for histories [B, L] of item rows and category rows, oldest first, zeros anywhere."""
        outputs = self._call(tf.constant(item_rows, tf.int64), tf.constant(cate_rows, tf.int64))
        return Retrieved(*(output.numpy() for output in outputs))


class BeamRetriever(_Retriever):
    """The walk with given search parameters, for measurements and curves; the exported graph holds the same walk.

    Args:
        scorer: the model.
        embeddings: the corpus.
        graph: built from these embeddings.
        ef: see `plan_walk`.
        rounds: see `plan_walk`.
        top_k: K.
    """

    def __init__(
        self, scorer: UserScorer, embeddings: Embeddings, graph: Graph, *, ef: tuple[int, ...], rounds: tuple[int, ...], top_k: int
    ) -> None:
        self._tables = SearchTables.create(embeddings, graph, max_levels=len(ef))
        self._plan = plan_walk(graph, ef=ef, rounds=rounds, top_k=top_k)
        super().__init__(scorer, self._tables.item_rows)

    def _find(self, user_state: UserState) -> Found:
        return beam_search(self._scorer.score, user_state, self._tables, self._plan)


class ExactRetriever(_Retriever):
    """The exact scan.

    Args:
        scorer: the model.
        embeddings: the corpus.
        top_k: K.
        block: items scored at a time.
    """

    def __init__(self, scorer: UserScorer, embeddings: Embeddings, *, top_k: int, block: int = 4096) -> None:
        self._item_embs = tf.Variable(embeddings.vectors, trainable=False)
        self._top_k, self._block = top_k, block
        super().__init__(scorer, tf.Variable(embeddings.item_rows, trainable=False))

    def _find(self, user_state: UserState) -> Found:
        return exact_search(self._scorer.score, user_state, self._item_embs, top_k=self._top_k, block=self._block)
