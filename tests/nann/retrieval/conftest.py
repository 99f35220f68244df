"""Small corpora with integer vectors: their inner products are exact in float32, so ties are real and ids must be equal."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nann.index import Embeddings, Graph, build_hnsw, decode_hnsw


class DotScorer:
    """A scorer whose user state is the sum of the history's vectors, and whose logit is the inner product."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.table = tf.constant(np.concatenate([np.zeros((1, vectors.shape[1]), np.float32), vectors]))

    def user_state(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (tf.reduce_sum(tf.gather(self.table, item_rows), axis=1),)

    def score(self, user_state: tuple[tf.Tensor, ...], items: tf.Tensor) -> tf.Tensor:
        return tf.linalg.matvec(items, user_state[0])


class Corpus:
    def __init__(self, count: int, *, dim: int = 6, m: int = 4, ef_construction: int = 30, start_level: int = 2, seed: int = 0) -> None:
        self.vectors = np.random.default_rng(seed).integers(-9, 10, size=(count, dim)).astype(np.float32)
        self.embeddings = Embeddings(item_rows=np.arange(1, count + 1), vectors=self.vectors)
        index = build_hnsw(self.vectors, m=m, ef_construction=ef_construction, seed=seed + 1)
        self.graph: Graph = decode_hnsw(index, start_level=start_level)
        self.scorer = DotScorer(self.vectors)

    def histories(self, users: int, length: int = 3, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed + 100).integers(0, len(self.vectors) + 1, size=(users, length))

    def user_vectors(self, histories: np.ndarray) -> np.ndarray:
        return self.scorer.table.numpy()[histories].sum(axis=1)


@pytest.fixture(scope="session")
def make_corpus() -> Any:
    return Corpus
