"""The classic alternative for a two-sided scorer: hnswlib's own search for the largest inner products, without any walk of ours."""

from __future__ import annotations

from collections.abc import Sequence

import hnswlib
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nann.index.embeddings import Embeddings
from nann.retrieval.retrievers import UserScorer

CHECK_ITEMS, CHECK_TOLERANCE = 64, 1e-4


def is_inner_product(scorer: UserScorer, embeddings: Embeddings, inputs: Sequence[str] = ()) -> bool:
    """Whether a scorer's logit is the inner product of its user state and the item vector, tried on one history and some items.

    Args:
        scorer: the model.
        embeddings: the corpus.
        inputs: names of what the scorer reads beside items.
    """
    rows = tf.constant(embeddings.item_rows[:1][np.newaxis], tf.int64)
    state = scorer.user_state(rows, tf.zeros_like(rows), **dict.fromkeys(inputs, tf.zeros_like(rows)))
    vectors = embeddings.vectors[:CHECK_ITEMS]
    if len(state) != 1 or state[0].shape.rank != 2 or state[0].shape[1] != vectors.shape[1]:
        return False
    scores = np.asarray(scorer.score(state, tf.constant(vectors)[tf.newaxis]))[0]
    products = vectors @ np.asarray(state[0])[0]
    return bool(np.abs(scores - products).max() <= CHECK_TOLERANCE * max(1.0, np.abs(products).max()))


class InnerProductSearch:
    """An hnswlib index over the item vectors, inner product, asked with the user's vector.

    Args:
        scorer: of which `is_inner_product` holds.
        embeddings: the corpus.
        top_k: K, items returned.
        m: HNSW degree M.
        ef_construction: candidate list size while building.
        ef: candidate list size of a search; at least K.
        threads: that build and search.
    """

    def __init__(
        self,
        scorer: UserScorer,
        embeddings: Embeddings,
        *,
        top_k: int,
        m: int = 32,
        ef_construction: int = 200,
        ef: int = 400,
        threads: int = 1,
    ) -> None:
        self._rows, self._top_k, self._threads = embeddings.item_rows.astype(np.int64), min(top_k, len(embeddings)), threads
        self._encode = tf.function(lambda rows, cates, inputs: scorer.user_state(rows, cates, **inputs)[0])
        self.index = hnswlib.Index("ip", embeddings.vectors.shape[1])
        self.index.init_index(max_elements=len(embeddings), M=m, ef_construction=ef_construction, random_seed=1)
        self.index.add_items(embeddings.vectors, np.arange(len(embeddings), dtype=np.uint64), num_threads=threads)
        self.index.set_ef(max(ef, self._top_k))

    def __call__(self, item_rows: NDArray[np.int64], cate_rows: NDArray[np.int64], **inputs: NDArray[np.int64]) -> NDArray[np.int64]:
        """The best item rows [B, K] of histories [B, L], best first."""
        values = {name: tf.constant(value, tf.int64) for name, value in inputs.items()}
        users = np.asarray(self._encode(tf.constant(item_rows, tf.int64), tf.constant(cate_rows, tf.int64), values))
        positions, _ = self.index.knn_query(users, k=self._top_k, num_threads=self._threads)
        found: NDArray[np.int64] = self._rows[positions.astype(np.int64)]
        return found
