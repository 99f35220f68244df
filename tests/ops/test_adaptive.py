"""Adaptive embedding: what its design promises, against stock TensorFlow's hashed column, a plain column, and numpy."""

import re
from itertools import chain

import numpy as np
import pytest
import tensorflow as tf

from ops import CounterFilter, EmbeddingVariable, EmbeddingVariableOption, GlobalStepEvict, feature_column
from ops.adaptive import adaptive_feature, adaptive_lookup, bucket_of
from ops.embedding.graph import freeze
from ops.embedding.update import FusedSgd

V1 = tf.compat.v1
# The sample of the interface's documentation; only the import differs.
SAMPLE = """
from ops.v1 import tf

columns = tf.feature_column.categorical_column_with_adaptive_embedding("col_emb", hash_bucket_size=100, dtype=tf.int64)
W = tf.feature_column.embedding_column(categorical_column=columns,
                                       dimension=3,
                                       initializer=tf.ones_initializer(tf.float32))
ids={}
ids["col_emb"] = tf.SparseTensor(indices=[[0,0],[1,0],[2,0],[3,0],[4,0],[5,0],[6,0],[7,0],[8,0],[9,0]],
                                 values=tf.cast([1,2,3,4,5,6,7,8,9,0], tf.int64),
                                 dense_shape=[10, 1])
adaptive_mask_tensors={}
adaptive_mask_tensors["col_emb"] = tf.cast([1,0,1,0,1,0,0,1,0,1], tf.int32)
emb = tf.feature_column.input_layer(ids, [W], adaptive_mask_tensors=adaptive_mask_tensors)

fun = tf.multiply(emb, 2.0, name='multiply')
loss = tf.reduce_sum(fun, name='reduce_sum')

graph=tf.get_default_graph()

opt = tf.train.FtrlOptimizer(0.1, l1_regularization_strength=2.0, l2_regularization_strength=0.00001)
g_v = opt.compute_gradients(loss)
train_op = opt.apply_gradients(g_v)
init = tf.global_variables_initializer()

with tf.Session() as sess:
  sess.run([init])
  emb1, top, l = sess.run([emb, train_op, loss])
  emb1, top, l = sess.run([emb, train_op, loss])
  emb1, top, l = sess.run([emb, train_op, loss])
  emb1, top, l = sess.run([emb, train_op, loss])
  print(emb1, top, l)
"""
AFTER = """
assert all(type(gradient).__name__ == "IndexedSlices" for gradient, _ in g_v) and len(g_v) == 2
"""


def ftrl(gradient_per_step, steps, rate=0.1, l1=2.0, l2=0.00001):
    """Algorithm 1 of McMahan et al. for one weight that starts at 1."""
    weight, squares, linear = 1.0, 0.1, 0.0
    for _ in range(steps):
        new = squares + gradient_per_step**2
        linear += gradient_per_step - (new**0.5 - squares**0.5) / rate * weight
        squares = new
        weight = 0.0 if abs(linear) <= l1 else (np.sign(linear) * l1 - linear) / (squares**0.5 / rate + 2 * l2)
    return weight


def test_the_documented_sample_runs_with_only_its_imports_changed(fork_server):
    run = fork_server.run(SAMPLE + AFTER)
    assert run.returncode == 0, run.stderr
    *rows, last = re.findall(r"-?\d+\.\d*(?:e-?\d+)?", run.stdout)
    static = [2, 4, 6, 7, 9]
    buckets = bucket_of(tf.constant(static), 100).numpy()
    shared = {key: int(np.sum(buckets == bucket)) for key, bucket in zip(static, buckets, strict=True)}
    printed = np.array(rows, float).reshape(10, 3)
    assert float(last) == pytest.approx(2 * printed.sum(), rel=1e-5)
    # three updates, or four: a TF1 graph does not say whether the last one comes before the rows are read
    expected = np.array([[ftrl(2.0 * shared.get(key, 1), steps) for steps in (3, 4)] for key in (1, 2, 3, 4, 5, 6, 7, 8, 9, 0)])
    assert np.all(np.abs(printed[:, :, np.newaxis] - expected[:, np.newaxis, :]).min(axis=2) < 1e-5)


def start(shape, dtype):
    """Initial values that differ from row to row."""
    return tf.reshape(tf.cast(tf.range(tf.reduce_prod(shape)) % 97, dtype) / 97 - 0.3, shape)


FEATURES = {
    "ints": tf.ragged.constant([[5, 9, 5], [], [2**40], [0, 123456, 7, 8]], dtype=tf.int64),
    "texts": tf.ragged.constant([["a", "b"], ["a"], [], ["", "longer text"]]),
}


@pytest.mark.parametrize("combiner", ["mean", "sqrtn", "sum"])
@pytest.mark.parametrize("do_fusion", [None, "v1", "v2"])
def test_mask_0_is_the_hashed_column_and_mask_1_a_plain_one(combiner, do_fusion):
    dtypes = {"ints": tf.int64, "texts": tf.string}
    with tf.Graph().as_default(), V1.Session() as session:
        sparse = {name: tf.RaggedTensor.from_row_splits(given.values, given.row_splits).to_sparse() for name, given in features_as_numpy()}
        hashed = [
            V1.feature_column.embedding_column(
                V1.feature_column.categorical_column_with_hash_bucket(name, 11, dtype), 3, combiner=combiner, initializer=stock_start
            )
            for name, dtype in dtypes.items()
        ]
        expected = V1.feature_column.input_layer(sparse, hashed)
        session.run(V1.global_variables_initializer())
        expected = session.run(expected)

    def layer(column_of, masks=None):
        columns = [
            feature_column.embedding_column(column_of(name, dtype), 3, combiner=combiner, initializer=start, do_fusion=do_fusion)
            for name, dtype in dtypes.items()
        ]
        return feature_column.input_layer(FEATURES, columns, adaptive_mask_tensors=masks).numpy(), columns

    def adaptive(name, dtype):
        return feature_column.categorical_column_with_adaptive_embedding(name, 11, dtype)

    masks = {name: tf.zeros_like(given.values, tf.int32) for name, given in FEATURES.items()}
    found, columns = layer(adaptive, masks)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    assert all(column.variable().total_count() == 0 for column in columns)
    plain, _ = layer(feature_column.categorical_column_with_embedding)
    ones_masks = {name: tf.ones_like(mask) for name, mask in masks.items()}
    promoted, columns = layer(adaptive, ones_masks)
    static = [column.static_table().numpy() for column in columns]
    assert promoted.shape == plain.shape
    for column, table in zip(columns, static, strict=True):
        exported = column.variable().export()
        keys = tf.constant(exported.keys, column.categorical_column.dtype)
        np.testing.assert_array_equal(exported.values, table[bucket_of(keys, 11).numpy()])
    np.testing.assert_allclose(promoted, expected, rtol=1e-6, atol=1e-7)  # each own row starts as its static one


def features_as_numpy():
    for name, given in FEATURES.items():
        yield name, NumpyRagged(given)


class NumpyRagged:
    """The values of an eager ragged tensor, to be made constants of another graph."""

    def __init__(self, given):
        self.values, self.row_splits = given.values.numpy(), given.row_splits.numpy()


def stock_start(shape, dtype, partition_info=None):
    return start(shape, dtype)


def test_all_ones_trains_like_a_plain_embedding_variable():
    ids = tf.ragged.constant([[4, 9], [4], [7, 7, 1]], dtype=tf.int64)
    static = tf.Variable(tf.fill([5, 2], 0.5))
    plain, own = (EmbeddingVariable(2, initializer=tf.constant_initializer(0.5)) for _ in range(2))
    optimizers = [FusedSgd([variable.table], 0.1) for variable in (plain, own)]
    for _ in range(3):
        results = []
        for variable, optimizer, adaptive in zip((plain, own), optimizers, (False, True), strict=True):
            with tf.GradientTape() as tape:
                if adaptive:
                    pooled = adaptive_lookup(variable, static, ids, mask=tf.ones([6], tf.int32))
                else:
                    pooled = tf.nn.safe_embedding_lookup_sparse(variable.table, variable.rows_like(ids).to_sparse(), combiner="mean")
                loss = tf.reduce_sum(pooled**2)
            gradient = tape.gradient(loss, variable.table)
            optimizer.apply_rows([(gradient, variable.table)])
            results.append(pooled)
        np.testing.assert_allclose(results[0], results[1], rtol=1e-6)
    np.testing.assert_array_equal(plain.export().keys, own.export().keys)
    np.testing.assert_allclose(plain.export().values, own.export().values, rtol=1e-6)


def colliding(buckets):
    """Two int64 keys of one bucket."""
    keys = tf.range(1000, dtype=tf.int64)
    rows = bucket_of(keys, buckets).numpy()
    return np.flatnonzero(rows == rows[0])[:2].tolist()


def test_a_promoted_key_starts_from_its_static_row_and_goes_its_own_way():
    one, other = colliding(4)
    static = tf.Variable(start([4, 2], tf.float32))
    own = EmbeddingVariable(2)
    optimizer = FusedSgd([static, own.table], 0.1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64), tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, 2])])
    def step(keys, mask, gradient):
        rows = tf.RaggedTensor.from_row_lengths(keys, tf.ones_like(keys))
        feature = adaptive_feature(own, static, rows, combiner="sum", mask=mask)
        optimizer.apply(feature.features, [gradient, gradient])

    bucket = int(bucket_of(tf.constant([one], tf.int64), 4)[0])
    step(tf.constant([one, other], tf.int64), tf.constant([0, 0]), tf.ones([2, 2]))
    shared = static.numpy()[bucket]
    np.testing.assert_allclose(shared, start([4, 2], tf.float32).numpy()[bucket] - 0.2, rtol=1e-6)
    before = static.numpy()
    step(tf.constant([one], tf.int64), tf.constant([1]), tf.zeros([1, 2]))
    np.testing.assert_array_equal(own.export().values, [shared])
    step(tf.constant([one, other], tf.int64), tf.constant([1, 1]), tf.constant([[1.0, 2.0], [-3.0, 4.0]]))
    np.testing.assert_array_equal(static.numpy(), before)  # bit-unchanged
    exported = own.export()
    assert exported.keys.tolist() == [one, other]
    np.testing.assert_allclose(exported.values, shared - 0.1 * np.array([[1, 2], [-3, 4]]), rtol=1e-5)
    step(tf.constant([one], tf.int64), tf.constant([0]), tf.ones([1, 2]))  # mask 0: the static row again, and only it
    np.testing.assert_array_equal(own.export().values, exported.values)
    np.testing.assert_allclose(static.numpy()[bucket], shared - 0.1, rtol=1e-6)


@pytest.mark.parametrize("combiner", ["mean", "sqrtn", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_rows_of_mixed_sources_combine(combiner, weighted, fused):
    ids = [[3, -1, 8], [], [-5], [8, 8, 3, 11], [2]]
    mask = [[1, 1, 0], [], [1], [0, 1, 0, 1], [0]]
    weights = [[0.5, 9.0, 2.0], [], [1.0], [1.5, -1.0, np.nan, 3.0], [0.25]]
    static = tf.Variable(start([7, 3], tf.float32))
    own = EmbeddingVariable(3)
    flat, flat_mask = tf.constant(list(chain(*ids))), tf.constant(list(chain(*mask)))
    own.rows_of(tf.constant([3, 8, 11]), start=lambda _: tf.random.stateless_normal([3, 3], [1, 2]))
    trained = dict(zip([3, 8, 11], own.export().values, strict=True))
    ragged = tf.RaggedTensor.from_row_lengths(flat, [len(row) for row in ids])
    given = ragged.with_flat_values(tf.constant(list(chain(*weights)), tf.float32)) if weighted else None
    found = adaptive_lookup(own, static, ragged, weights=given, combiner=combiner, mask=flat_mask, fused=fused)
    assert own.total_count() == 3
    table = static.numpy()
    for row, keys in enumerate(ids):
        total, scale, squares = np.zeros(3), 0.0, 0.0
        for key, masked, weight in zip(keys, mask[row], weights[row] if weighted else [1.0] * len(keys), strict=True):
            if key < 0 or (combiner != "sum" and not weight > 0):
                continue
            vector = trained[key] if masked else table[int(bucket_of(tf.constant([key]), 7)[0])]
            total, scale, squares = total + weight * vector, scale + weight, squares + weight**2
        divisor = {"sum": 1.0, "mean": scale, "sqrtn": squares**0.5}[combiner]
        expected = total / divisor if divisor else np.zeros(3)
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-6)


def test_a_counter_promotes_and_inference_changes_nothing():
    column = feature_column.categorical_column_with_adaptive_embedding("f", 5, tf.int64, promote_after=3)
    embedding = feature_column.embedding_column(column, 2, initializer=start, combiner="sum")

    def layer(keys, training):
        features = {"f": tf.ragged.constant([keys], dtype=tf.int64)}
        return feature_column.input_layer(features, embedding, training=training).numpy()

    own = embedding.variable()
    layer([1, 1, 2], training=True)
    assert own.total_count() == 0
    shared = layer([1, 2], training=False)
    np.testing.assert_array_equal(own.get_frequency(tf.constant([1, 2])), [2, 1])
    layer([1, 2, -1], training=True)  # the third time for 1
    assert own.export().keys.tolist() == [1]
    np.testing.assert_array_equal(layer([1, 2], training=False), shared)
    own.table.assign_add(tf.ones_like(own.table))
    np.testing.assert_allclose(layer([1, 2], training=False), shared + 1, rtol=1e-6)
    own.evict(GlobalStepEvict(1))
    assert own.total_count() == 1
    for _ in range(3):
        layer([4], training=True)
    own.evict(GlobalStepEvict(1))
    assert own.export().keys.tolist() == [4]
    np.testing.assert_array_equal(layer([1, 2], training=False), shared)  # an evicted key shares again


def test_weighted_columns_and_partitions():
    features = {
        "f": tf.sparse.from_dense([[3, 4], [4, 0]]),
        "w": tf.sparse.from_dense([[0.5, 2.0], [1.0, 0.0]]),
    }

    def result(parts, combiner):
        categorical = feature_column.categorical_column_with_adaptive_embedding("f", 5, tf.int32, partition_num=parts, promote_after=2)
        categorical = feature_column.weighted_categorical_column(categorical, "w")
        column = feature_column.embedding_column(categorical, 2, initializer=start, combiner=combiner, do_fusion="v2")
        return feature_column.input_layer(features, column).numpy(), column

    for combiner in ("sum", "mean"):
        found, column = result(None, combiner)
        table = column.static_table().numpy()[bucket_of(tf.constant([3, 4]), 5).numpy()]
        weights = np.array([[0.5, 2.0], [0.0, 1.0]])
        expected = weights @ table / (1 if combiner == "sum" else weights.sum(axis=1, keepdims=True))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        np.testing.assert_array_equal(found, result(3, combiner)[0])


def test_a_short_last_batch_and_empty_rows_at_its_end():
    """One graph of TensorFlow 1, fed with batches of several sizes: each must give what its rows give alone."""
    batches = [[[5, 9], [5], [7, 2, 9]], [[2]], [[9], []], [[]]]
    with tf.Graph().as_default(), V1.Session() as session:
        values, splits, mask = (V1.placeholder(dtype, [None]) for dtype in (tf.int64, tf.int64, tf.int32))
        for do_fusion in (None, "v2"):
            categorical = feature_column.categorical_column_with_adaptive_embedding(f"f{do_fusion}", 5, tf.int64)
            column = feature_column.embedding_column(categorical, 2, initializer=start, do_fusion=do_fusion)
            features = {categorical.key: tf.RaggedTensor.from_row_splits(values, splits, validate=False)}
            layer = feature_column.input_layer(features, column, adaptive_mask_tensors={categorical.key: mask})
            session.run(V1.global_variables_initializer())
            table = session.run(column.static_table())
            for rows in batches:
                flat = list(chain(*rows))
                feeds = {values: flat, splits: np.cumsum([0, *map(len, rows)]), mask: [key % 2 for key in flat]}
                expected = [table[bucket_of_one(row)].mean(axis=0) if row else np.zeros(2) for row in rows]
                np.testing.assert_allclose(session.run(layer, feeds), np.reshape(expected, [-1, 2]), rtol=1e-5, atol=1e-7)
            exported = session.run([column.variable().keys, column.variable().state])
            assert exported[0][: exported[1][0]].tolist() == [5, 9, 7]


def bucket_of_one(keys):
    """Buckets of 5 by TensorFlow's own hashed column, in a graph of its own."""
    with tf.Graph().as_default(), V1.Session() as session:
        column = V1.feature_column.categorical_column_with_hash_bucket("f", 5, tf.int64)
        indicator = V1.feature_column.indicator_column(column)
        layer = V1.feature_column.input_layer({"f": tf.constant(keys, tf.int64)[:, tf.newaxis]}, indicator)
        return session.run(layer).argmax(axis=1)


@pytest.mark.parametrize("fused", [False, True])
def test_a_layer_freezes_and_saves_into_a_servable_graph(fused, tmp_path, fork_server):
    columns = [
        feature_column.embedding_column(
            feature_column.categorical_column_with_adaptive_embedding(name, 5, dtype, promote_after=3, partition_num=parts),
            3,
            initializer=start,
            do_fusion="v2" if fused else None,
        )
        for name, dtype, parts in (("ints", tf.int64, None), ("texts", tf.string, 2))
    ]
    for _ in range(2):
        feature_column.input_layer(FEATURES, columns)
    for column in columns:  # own rows that differ from their static ones
        for table in column.variable().tables:
            table.assign_add(tf.ones_like(table))

    @tf.function(input_signature=[{name: tf.RaggedTensorSpec([None, None], given.dtype) for name, given in FEATURES.items()}])
    def serve(features):
        return feature_column.input_layer(features, columns, training=False)

    expected = serve(FEATURES)
    assert np.any(expected.numpy() > 0.3)
    assert np.any(expected.numpy() < 0)
    concrete = serve.get_concrete_function()
    frozen = freeze(concrete, fused=fused)
    flat = tf.nest.flatten(FEATURES, expand_composites=True)
    np.testing.assert_allclose(frozen(*flat)[0], expected, rtol=1e-6)
    nodes = list(frozen.graph.as_graph_def().node)
    assert not any(node.op == "ReadVariableOp" or node.op.startswith("Nann>EmbeddingVariable") for node in nodes)
    assert any(node.op.startswith("Nann>") for node in nodes) == fused
    model = tf.Module()
    model.serve, model.tables = serve, [(column.variable(), column.static_table()) for column in columns]
    counts = [column.variable().state.numpy() for column in columns]
    tf.saved_model.save(model, str(tmp_path / "model"))
    program = f"""
import numpy as np, tensorflow as tf
from ops import native
native.load_library()
features = {{"ints": tf.ragged.constant({FEATURES["ints"].to_list()!r}, dtype=tf.int64),
             "texts": tf.ragged.constant({[[text.decode() for text in row] for row in FEATURES["texts"].to_list()]!r})}}
model = tf.saved_model.load({str(tmp_path / "model")!r})
np.save({str(tmp_path / "served.npy")!r}, model.serve(features))
"""
    done = fork_server.run(program)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "served.npy"), expected, rtol=1e-6)
    for column, before in zip(columns, counts, strict=True):
        np.testing.assert_array_equal(column.variable().state, before)


def test_refusals():
    with pytest.raises(ValueError, match="hash_bucket_size must be at least 1"):
        feature_column.categorical_column_with_adaptive_embedding("f", 0)
    option = EmbeddingVariableOption(filter_option=CounterFilter(2))
    with pytest.raises(ValueError, match="not both"):
        feature_column.categorical_column_with_adaptive_embedding("f", 5, ev_option=option, promote_after=2)
    column = feature_column.embedding_column(feature_column.categorical_column_with_embedding("f", tf.int64), 2)
    with pytest.raises(ValueError, match="'f', which is no adaptive column"):
        feature_column.input_layer({"f": tf.ragged.constant([[1]])}, column, adaptive_mask_tensors={"f": tf.constant([1])})
