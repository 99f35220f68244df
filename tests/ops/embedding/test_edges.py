"""Edges: empty inputs, ids at the limits, odd sizes, structures that do not fit, NaN and infinity, threads."""

import numpy as np
import pytest
import tensorflow as tf

from ops import fused_embedding_lookup_sparse, fused_embedding_lookup_sparse_v2, fused_safe_embedding_lookup_sparse
from ops.embedding import Feature, grouped_lookup

STOCK = tf.compat.v1.nn.safe_embedding_lookup_sparse


def table_of(rows=6, dim=3, dtype=np.float32):
    return tf.Variable(np.random.default_rng(0).normal(size=(rows, dim)).astype(dtype))


def sparse(indices, values, shape):
    return tf.SparseTensor(np.array(indices, np.int64).reshape(-1, len(shape)), tf.constant(values, tf.int64), shape)


@pytest.mark.parametrize("dim", [1, 3, 8, 17, 1025])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_row_sizes(dim, dtype):
    table = table_of(9, dim, dtype)
    ids = sparse([[0, 0], [0, 1], [2, 0]], [8, 0, 3], [4, 2])
    with tf.GradientTape(persistent=True) as tape:
        ours, stock = fused_safe_embedding_lookup_sparse(table, ids, max_norm=2.0), STOCK(table, ids, max_norm=2.0)
    tolerance = {"rtol": 3e-3, "atol": 1e-3} if dtype == np.float16 else {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(ours, stock, **tolerance)
    gradients = [tf.convert_to_tensor(tape.gradient(pooled, table)) for pooled in (ours, stock)]
    if dtype == np.float16:
        tolerance = {"rtol": 3e-2, "atol": 3e-2}  # stock takes the Jacobian of the clip in 16 bits
    np.testing.assert_allclose(*gradients, **tolerance)


@pytest.mark.parametrize("default_id", [None, 2])
@pytest.mark.parametrize(
    "ids",
    [
        sparse([], [], [0, 3]),
        sparse([], [], [4, 3]),
        sparse([[0, 0], [2, 1]], [-1, -5], [3, 2]),
        sparse([[0, 0], [0, 1], [0, 2]], [4, 4, 4], [1, 3]),
        sparse([[2, 0], [0, 1], [2, 1], [0, 0]], [5, 1, 2, 3], [4, 2]),
        sparse([[0, 1, 0], [1, 0, 1], [1, 0, 0]], [1, 2, 3], [2, 2, 2]),
    ],
    ids=["empty batch", "all rows empty", "all negative", "duplicates", "unsorted rows", "rank 3"],
)
def test_structures(ids, default_id):
    table = table_of()
    with tf.GradientTape(persistent=True) as tape:
        ours = fused_safe_embedding_lookup_sparse(table, ids, default_id=default_id)
        stock = STOCK(table, ids, default_id=default_id)
    assert ours.shape == stock.shape
    np.testing.assert_allclose(ours, stock, rtol=1e-6)
    gradients = [tf.convert_to_tensor(tape.gradient(pooled, table)) for pooled in (ours, stock)]
    np.testing.assert_allclose(*gradients, rtol=1e-6)


@pytest.mark.parametrize("bad", [6, 2**31, 2**62])
def test_ids_past_the_table_are_named(bad):
    table = table_of()
    np.testing.assert_allclose(fused_safe_embedding_lookup_sparse(table, sparse([[0, 0]], [5], [1, 1]))[0], table[5])
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"must lie in \[0, 6\), got id {bad} at position 1"):
        fused_safe_embedding_lookup_sparse(table, sparse([[0, 0], [0, 1]], [1, bad], [1, 2]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"got id -3 at position 0"):
        fused_embedding_lookup_sparse_v2(table, sparse([[0, 0]], [-3], [1, 1]))


def test_an_empty_batch_into_an_empty_table():
    table = tf.Variable(tf.zeros([0, 4]))
    assert fused_safe_embedding_lookup_sparse(table, sparse([], [], [0, 1])).shape == [0, 4]
    np.testing.assert_array_equal(fused_safe_embedding_lookup_sparse(table, sparse([], [], [2, 1])), np.zeros((2, 4)))


def test_ragged_keeps_trailing_empty_rows():
    ids = tf.RaggedTensor.from_row_splits(tf.constant([1, 2], tf.int64), tf.constant([0, 1, 2, 2, 2]))
    assert fused_safe_embedding_lookup_sparse(table_of(), ids).shape == [4, 3]


@pytest.mark.parametrize("combiner", ["mean", "sqrtn", "sum"])
@pytest.mark.parametrize("weights", [[1.0, np.nan, 2.0, np.inf], [np.nan, np.nan, 0.0, -1.0], [1e-30, 1e-30, 3.0, 4.0]])
def test_strange_weights(combiner, weights):
    ids = sparse([[0, 0], [0, 1], [1, 0], [2, 0]], [1, 2, 3, 4], [3, 2])
    given = tf.SparseTensor(ids.indices, tf.constant(weights, tf.float32), ids.dense_shape)
    ours = fused_safe_embedding_lookup_sparse(table_of(), ids, given, combiner=combiner)
    np.testing.assert_allclose(ours, STOCK(table_of(), ids, given, combiner=combiner), rtol=1e-5)


def test_what_does_not_fit_is_refused():
    table, ids = table_of(), sparse([[0, 0], [1, 0]], [1, 2], [2, 1])
    weights = tf.SparseTensor(ids.indices[:1], tf.constant([1.0]), ids.dense_shape)
    with pytest.raises(tf.errors.InvalidArgumentError, match="1 weights and 2 ids"):
        fused_safe_embedding_lookup_sparse(table, ids, weights)
    with pytest.raises(ValueError, match="takes no sparse_weights"):
        fused_embedding_lookup_sparse(table, ids, weights)
    with pytest.raises(ValueError, match="takes no sparse_weights"):
        fused_safe_embedding_lookup_sparse(table, ids, weights, fusion_version="v1")
    with pytest.raises(ValueError, match="'max'"):
        fused_safe_embedding_lookup_sparse(table, ids, combiner="max")
    with pytest.raises(ValueError, match="'hash'"):
        fused_safe_embedding_lookup_sparse(table, ids, partition_strategy="hash")
    with pytest.raises(ValueError, match="'v3'"):
        fused_safe_embedding_lookup_sparse(table, ids, fusion_version="v3")
    with pytest.raises(ValueError, match="blocknums"):
        fused_safe_embedding_lookup_sparse(table, ids, blocknums=[1])
    with pytest.raises(ValueError, match="default_id must be at least 0"):
        fused_safe_embedding_lookup_sparse(table, ids, default_id=-1)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"default_id of the feature must lie in \[0, 6\), got 9"):
        fused_safe_embedding_lookup_sparse(table, sparse([], [], [1, 1]), default_id=9)
    with pytest.raises(ValueError, match="got none"):
        fused_safe_embedding_lookup_sparse([], ids)
    with pytest.raises(tf.errors.InvalidArgumentError, match="index 5 of value 0"):
        fused_safe_embedding_lookup_sparse(table, sparse([[5, 0]], [1], [2, 1]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have 3 rows, got 1"):
        fused_safe_embedding_lookup_sparse([tf.Variable(tf.ones([1, 2])), tf.Variable(tf.ones([5, 2]))], ids)
    bad = tf.RaggedTensor.from_row_splits(tf.constant([1, 2]), tf.constant([0, 2, 1, 2]), validate=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must not descend"):
        fused_safe_embedding_lookup_sparse(table, bad)
    other = sparse([[0, 0]], [1], [3, 1])
    with pytest.raises(tf.errors.InvalidArgumentError, match="same number of rows"):
        grouped_lookup([Feature(table, ids), Feature(table, other)], concat=True)


@pytest.mark.parametrize("strategy", ["div", "mod"])
@pytest.mark.parametrize("rows", [10, 9, 2])
def test_partitions_equal_stock(strategy, rows):
    whole = np.random.default_rng(1).normal(size=(rows, 4)).astype(np.float32)
    order = [np.arange(rows)[p::3] for p in range(3)] if strategy == "mod" else np.array_split(np.arange(rows), 3)
    parts = [tf.Variable(whole[chosen]) for chosen in order]
    ids = sparse([[i // 3, i % 3] for i in range(rows)], list(range(rows)), [4, 3])
    one = tf.Variable(whole)
    with tf.GradientTape(persistent=True) as tape:
        ours = fused_safe_embedding_lookup_sparse(parts, ids, partition_strategy=strategy, max_norm=1.0)
        expected = STOCK(one, ids, max_norm=1.0)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    expected_gradient = tf.convert_to_tensor(tape.gradient(expected, one)).numpy()
    for chosen, gradient in zip(order, tape.gradient(ours, parts), strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(gradient), expected_gradient[chosen], rtol=1e-5, atol=1e-6)


THREADS = """
import hashlib, sys
import numpy as np, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
from ops.embedding import Feature, grouped_lookup
from ops.embedding.update import FusedAdagrad
rng = np.random.default_rng(0)
tables = [tf.Variable(rng.normal(size=(5000, dim)).astype(np.float32)) for dim in (16, 33)]
def lookup(count):
    splits = np.sort(np.concatenate([[0], rng.integers(0, count, 999), [count]]))
    return tf.RaggedTensor.from_row_splits(rng.zipf(1.3, count) % 5000, splits)
features = [Feature(t, lookup(20000), combiner=c, max_norm=5.0) for t, c in zip(tables, ("mean", "sum"))]
direction = tf.constant(rng.normal(size=(1000, 49)), tf.float32)
seen = set()
for _ in range(20):
    digest = hashlib.sha256()
    with tf.GradientTape() as tape:
        pooled = grouped_lookup(features, concat=True)
        loss = tf.reduce_sum(pooled * direction)
    digest.update(pooled.numpy().tobytes())
    for slices in tape.gradient(loss, tables):
        digest.update(slices.indices.numpy().tobytes() + slices.values.numpy().tobytes())
    seen.add(digest.hexdigest())
FusedAdagrad(tables, 0.1).apply(features, direction, concat=True)
print(seen, hashlib.sha256(tables[0].numpy().tobytes() + tables[1].numpy().tobytes()).hexdigest())
assert len(seen) == 1
"""


def test_bits_do_not_depend_on_the_run_or_the_threads(fork_server):
    runs = [fork_server.run(THREADS, threads) for threads in "12"]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr + runs[1].stderr
    assert len({run.stdout for run in runs}) == 1
