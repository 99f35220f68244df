"""hnswlib's own search against the exact scan, for scorers that are inner products."""

from typing import Any

import numpy as np
import tensorflow as tf

from nann.retrieval import ExactRetriever
from nann.retrieval.inner_product import InnerProductSearch, is_inner_product


def test_finds_what_the_scan_finds(make_corpus: Any) -> None:
    corpus = make_corpus(800, m=8, ef_construction=100)
    assert is_inner_product(corpus.scorer, corpus.embeddings)
    histories = corpus.histories(8)
    search = InnerProductSearch(corpus.scorer, corpus.embeddings, top_k=20)
    found = search(histories, np.zeros_like(histories))
    exact = ExactRetriever(corpus.scorer, corpus.embeddings, top_k=20)(histories, np.zeros_like(histories))
    products = np.take_along_axis(corpus.user_vectors(histories) @ corpus.vectors.T, found - 1, 1)
    # integers tie: what counts is how good the items are
    assert np.mean(products == exact.scores) > 0.95
    assert (np.diff(products, axis=1) <= 0).all()


def test_other_scorers_are_told_apart(make_corpus: Any) -> None:
    corpus = make_corpus(100)

    class Squared(type(corpus.scorer)):  # type: ignore[misc]
        def score(self, user_state: tuple[tf.Tensor, ...], items: tf.Tensor) -> tf.Tensor:
            return tf.square(super().score(user_state, items))

    assert not is_inner_product(Squared(corpus.vectors), corpus.embeddings)
