import numpy as np
import pytest
import tensorflow as tf

from ops import feature_column

# The samples of the interface's documentation; only the imports differ.
FIRST = """
from ops.v1 import tf
from tensorflow.python.framework import ops

column = tf.feature_column.categorical_column_with_embedding("col_emb", dtype=tf.dtypes.int64)
W = tf.feature_column.embedding_column(
            categorical_column=column,
            dimension=3,
            initializer=tf.ones_initializer(tf.dtypes.float32),
            do_fusion={do_fusion})

ids={{}}
ids["col_emb"] = tf.SparseTensor(indices=[[0,0],[1,1],[2,2],[3,3],[4,4]], values=tf.cast([1,2,3,4,5], tf.dtypes.int64), dense_shape=[5, 4])
emb = tf.feature_column.input_layer(ids, [W])
"""
SECOND = """
from ops.v1 import tf, feature_column, feature_column_ops
from tensorflow.python.framework import ops

columns = feature_column.sparse_column_with_embedding(column_name="col_emb", dtype=tf.dtypes.int64)
W = feature_column.embedding_column(sparse_id_column=columns,
            dimension=3,
            initializer=tf.ones_initializer(tf.dtypes.float32),
            do_fusion={do_fusion})

ids={{}}
ids["col_emb"] = tf.SparseTensor(indices=[[0,0],[1,1],[2,2],[3,3],[4,4]], values=tf.cast([1,2,3,4,5], tf.dtypes.int64), dense_shape=[5, 4])
emb = feature_column_ops.input_from_feature_columns(columns_to_tensors=ids, feature_columns=[W])
"""
TRAIN = """
fun = tf.multiply(emb, 2.0, name='multiply')
loss = tf.reduce_sum(fun, name='reduce_sum')
opt = tf.train.FtrlOptimizer(0.1, l1_regularization_strength=2.0, l2_regularization_strength=0.00001)
g_v = opt.compute_gradients(loss)
train_op = opt.apply_gradients(g_v)
init = tf.global_variables_initializer()

with tf.Session() as sess:
    sess.run(init)
    print("init global done")
    print(sess.run([emb, train_op,loss]))
    print(sess.run([emb, train_op,loss]))
    print(sess.run([emb, train_op,loss]))
"""
NODES = """
nodes = {node.op for node in tf.get_default_graph().as_graph_def().node}
print("fused" if any(op.startswith("Nann>FusedEmbeddingLookup") for op in nodes) else "stock")
assert any(op.startswith("SparseSegment") for op in nodes) != any(op.startswith("Nann>Fused") for op in nodes)
"""


@pytest.mark.parametrize("sample", [FIRST, SECOND], ids=["embedding_column", "sparse_id_column"])
def test_the_documented_samples_give_equal_losses(sample, fork_server):
    printed = {}
    for do_fusion in (None, "v1", "v2"):
        program = sample.format(do_fusion=repr(do_fusion)) + TRAIN + NODES
        run = fork_server.run(program)
        assert run.returncode == 0, run.stderr
        *lines, kind = run.stdout.strip().splitlines()
        assert kind == ("stock" if do_fusion is None else "fused")
        printed[do_fusion] = "\n".join(lines)
    assert printed[None] == printed["v1"] == printed["v2"]
    assert "float32(30.0)" in printed[None]


def columns(do_fusion):
    return [
        feature_column.embedding_column(
            feature_column.categorical_column_with_embedding(name, dtype),
            dimension=dim,
            combiner=combiner,
            initializer=lambda shape, dtype: tf.cast(tf.reshape(tf.range(tf.reduce_prod(shape)) % 7, shape), dtype) / 7,
            do_fusion=fusion,
        )
        for (name, dtype, dim, combiner), fusion in zip(
            [("b", tf.int64, 3, "sum"), ("a", tf.string, 2, "mean"), ("c", tf.int32, 4, "sqrtn")], do_fusion, strict=True
        )
    ]


def test_columns_in_the_order_of_their_names_whatever_the_fusion():
    features = {
        "a": tf.sparse.from_dense([["x", ""], ["y", "x"], ["", ""]]),
        "b": tf.ragged.constant([[5], [], [9, 5]], dtype=tf.int64),
        "c": tf.ragged.constant([[1, 2], [3], [2]], dtype=tf.int32),
    }
    results = [feature_column.input_layer(features, columns(fusion)).numpy() for fusion in ([None] * 3, ["v2"] * 3, ["v1", None, "v2"])]
    assert results[0].shape == (3, 9)
    assert not results[0][2, :2].any()
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0].astype(np.float32), rtol=1e-6)


def test_all_fused_columns_take_one_op():
    made = columns(["v2", "v1", "v2"])

    @tf.function
    def layer(a, b, c):
        return feature_column.input_layer({"a": a, "b": b, "c": c}, made)

    specs = [
        tf.SparseTensorSpec([None, None], tf.string),
        tf.RaggedTensorSpec([None, None], tf.int64),
        tf.RaggedTensorSpec([None, None], tf.int32),
    ]
    nodes = [node.op for node in layer.get_concrete_function(*specs).graph.as_graph_def().node]
    assert nodes.count("Nann>FusedEmbeddingLookupResource") == 1
    assert not any(op.startswith("SparseSegment") for op in nodes)


def test_refusals():
    column = feature_column.categorical_column_with_embedding("a", tf.int64)
    with pytest.raises(ValueError, match="do_fusion"):
        feature_column.embedding_column(column, 3, do_fusion="v3")
    with pytest.raises(ValueError, match="one of categorical_column and sparse_id_column"):
        feature_column.embedding_column(dimension=3)
    with pytest.raises(ValueError, match="'a' is not among"):
        feature_column.input_layer({}, [feature_column.embedding_column(column, 3)])
    with pytest.raises(ValueError, match="must be of dtype int64, got string"):
        feature_column.input_layer({"a": tf.ragged.constant([["1"]])}, [feature_column.embedding_column(column, 3)])
    with pytest.raises(ValueError, match="distinct names"):
        feature_column.input_layer({}, [feature_column.embedding_column(column, 3)] * 2)
