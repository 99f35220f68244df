"""Sparse and ragged user features: pooled on users, expanded by a ragged gather where they are needed raw."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ops import graph_optimizer

v1 = tf.compat.v1
CASES = {"each": (3, 4), "ragged": (4, [3, 1, 7, 2]), "zeros": (5, [0, 3, 0, 5, 2]), "one user": (1, [6])}


def bags(users: int, *, empty: bool, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng([seed, users])
    made = [rng.integers(0, 20, size=rng.integers(0 if empty else 1, 5)) for _ in range(users)]
    return made if not empty or users == 1 else [np.zeros(0, np.int64), *made[1:]]


def sparse(rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    indices = [(r, c) for r, row in enumerate(rows) for c in range(len(row))]
    return {
        "user/indices": np.array(indices, np.int64).reshape(-1, 2),
        "user/values": np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64),
        "user/shape": np.array([len(rows), 6], np.int64),
    }


def ragged(rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    lengths = [len(row) for row in rows]
    return {
        "values": np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64),
        "row_splits": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    }


def model(kit: Any, pool: Callable[[Any], tf.Tensor]) -> tf.compat.v1.GraphDef:
    with tf.Graph().as_default() as graph:
        item = v1.placeholder(tf.float32, [None, 5], name="item")
        user = v1.sparse_placeholder(tf.int64, [None, 6], name="user")
        joined = tf.concat([pool(user), item], axis=1)
        tf.squeeze(tf.nn.relu(joined @ kit.weights(13, 16)) @ kit.weights(16, 1), axis=1, name="scores")
    return graph.as_graph_def()


def check(kit: Any, graph_def: Any, compressed: Any, feeds: Callable[[list[np.ndarray]], dict[str, np.ndarray]], *, empty: bool) -> None:
    for users, item_size in CASES.values():
        rows, counts = bags(users, empty=empty), kit.counts_of(users, item_size)
        item = np.random.default_rng(1).normal(size=(counts.sum(), 5)).astype(np.float32)
        repeated = [row for row, count in zip(rows, counts, strict=True) for _ in range(count)]
        [expected] = kit.run(graph_def, ["scores"], {**feeds(repeated), "item": item})
        [found] = kit.run(compressed, ["scores"], {**feeds(rows), "item": item, "item_size": item_size})
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


POOLS: dict[str, Callable[[Any], Callable[[Any], tf.Tensor]]] = {
    "v1 safe mean": lambda kit: lambda user: v1.nn.safe_embedding_lookup_sparse(kit.weights(20, 8), user, combiner="mean"),
    "v2 safe sum": lambda kit: lambda user: tf.nn.safe_embedding_lookup_sparse(kit.weights(20, 8), user, combiner="sum"),
    "to dense": lambda kit: lambda user: tf.reduce_sum(tf.gather(kit.weights(20, 8), tf.sparse.to_dense(user)), axis=1),
    "one-hot product": lambda kit: lambda user: tf.sparse.sparse_dense_matmul(tf.cast(user, tf.float32), kit.weights(6, 8)),
}


@pytest.mark.parametrize("pool", POOLS)
def test_pooled_on_users(kit: Any, pool: str) -> None:
    graph_def = model(kit, POOLS[pool](kit))
    names = ["user/indices", "user/values", "user/shape"]
    compressed, report = graph_optimizer.compress(
        graph_def, user_inputs=names, item_inputs=["item"], outputs=["scores"], min_items_per_user=0
    )
    assert all(boundary.kind == "rows" for boundary in report.boundaries), report.boundaries
    assert report.split
    check(kit, graph_def, compressed, sparse, empty=True)


def test_without_empty_rows(kit: Any) -> None:
    graph_def = model(kit, lambda user: tf.nn.embedding_lookup_sparse(kit.weights(20, 8), user, None, combiner="mean"))
    given = graph_optimizer.SparseInput("user/indices", "user/values", "user/shape")
    compressed, report = graph_optimizer.compress(
        graph_def, user_inputs=[given], item_inputs=["item"], outputs=["scores"], min_items_per_user=0
    )
    assert [boundary.kind for boundary in report.boundaries] == ["rows"] or report.split
    check(kit, graph_def, compressed, sparse, empty=False)


def test_a_raw_triplet_is_expanded_by_a_ragged_gather(kit: Any) -> None:
    def graph_of(user: tf.SparseTensor) -> tf.Tensor:
        cut = tf.sparse.slice(user, [0, 0], [tf.shape(user, tf.int64)[0], 3])  # no rule
        return tf.reduce_sum(tf.gather(kit.weights(20, 8), tf.sparse.to_dense(cut)), axis=1)

    graph_def = model(kit, graph_of)
    names = ["user/indices", "user/values", "user/shape"]
    given = {"user_inputs": names, "item_inputs": ["item"], "outputs": ["scores"], "min_items_per_user": 0}
    with pytest.raises(graph_optimizer.GraphCompressionError, match="no rule for the op type SparseSlice"):
        graph_optimizer.compress(graph_def, **given)
    compressed, report = graph_optimizer.compress(graph_def, **given, fallback="expand")
    assert {"entries", "indices"} <= {boundary.kind for boundary in report.boundaries}
    check(kit, graph_def, compressed, sparse, empty=True)


@pytest.mark.parametrize("form", ["to_tensor", "reduce_mean"])
def test_ragged(kit: Any, form: str) -> None:
    with tf.Graph().as_default() as graph:
        item = v1.placeholder(tf.float32, [None, 5], name="item")
        user = tf.RaggedTensor.from_row_splits(
            v1.placeholder(tf.int64, [None], name="values"), v1.placeholder(tf.int64, [None], name="row_splits"), validate=False
        )
        table = kit.weights(20, 8)
        pooled = (
            tf.reduce_sum(tf.gather(table, user.to_tensor()), axis=1)
            if form == "to_tensor"
            else tf.reduce_sum(tf.gather(table, user), axis=1)
        )
        tf.reduce_sum(tf.concat([pooled, item], axis=1) @ kit.weights(13, 4), axis=1, name="scores")
    graph_def = graph.as_graph_def()
    compressed, _ = graph_optimizer.compress(
        graph_def,
        user_inputs=[graph_optimizer.RaggedInput("values", "row_splits")],
        item_inputs=["item"],
        outputs=["scores"],
        min_items_per_user=0,
        fallback="expand",
    )
    # a user's padding must not depend on the others: reduce over the real entries only
    if form == "reduce_mean":
        check(kit, graph_def, compressed, ragged, empty=True)
    else:
        assert any(node.op == "RaggedTensorToTensor" for node in compressed.node)
