import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from ops.embedding import Feature, fused_embedding_lookup_sparse, fused_safe_embedding_lookup_sparse, grouped_lookup
from ops.embedding.graph import FUSED, defuse, freeze, fuse, tensor_form
from ops.lookup import lookup_positions


class Model(tf.Module):
    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.tables = [tf.Variable(rng.normal(size=(10, dim)).astype(np.float32)) for dim in (4, 6)]

    @tf.function(
        input_signature=[
            tf.SparseTensorSpec([None, None], tf.int64),
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([None, None], tf.int32),
        ]
    )
    def __call__(self, ids, weights, positions):
        weighted = ids.with_values(weights)
        features = [Feature(self.tables[0], ids, weighted, "sqrtn", 1.0, 3), Feature(self.tables[1], ids, combiner="sum")]
        left, right = grouped_lookup(features)
        both = grouped_lookup(features, concat=True)
        return left + 1.0, right * 2.0, both, lookup_positions(self.tables, [positions, positions])


def inputs():
    ids = tf.SparseTensor([[0, 0], [0, 1], [2, 0]], tf.constant([1, -1, 9], tf.int64), [4, 2])
    return ids, tf.constant([0.5, 1.0, 2.0]), tf.constant([[1, 0], [9, 3]])


def ops_of(graph_def):
    return {node.op for node in graph_def.node}


@pytest.mark.parametrize("fused", [True, False])
def test_frozen_equals_live_and_holds_no_resource(fused):
    model = Model()
    frozen = freeze(model.__call__.get_concrete_function(), fused=fused)
    assert not {"VarHandleOp", "ReadVariableOp"} & ops_of(frozen.graph.as_graph_def())
    assert all(tensor.dtype != tf.resource for op in frozen.graph.get_operations() for tensor in [*op.inputs, *op.outputs])
    assert bool(FUSED & ops_of(frozen.graph.as_graph_def())) == fused
    ids, weights, positions = inputs()
    ordered = []
    for tensor in frozen.inputs:
        if tensor.dtype == tf.float32:
            ordered.append(weights)
        elif tensor.dtype == tf.int32:
            ordered.append(positions)
        elif tensor.shape.rank == 2:
            ordered.append(ids.indices)
        else:
            ordered.append(ids.dense_shape if tensor.shape.as_list() == [2] else ids.values)
    for ours, live in zip(frozen(*ordered), model(*inputs()), strict=True):
        np.testing.assert_allclose(ours, live, rtol=1e-5, atol=1e-6)


def test_defuse_and_fuse_are_inverse():
    model = Model()
    frozen = freeze(model.__call__.get_concrete_function()).graph.as_graph_def()
    apart = defuse(frozen)
    assert not FUSED & ops_of(apart)
    assert not any(op.startswith("Nann>") for op in ops_of(apart))
    again = fuse(apart)
    assert sorted(node.SerializeToString(deterministic=True) for node in again.node) == sorted(
        node.SerializeToString(deterministic=True) for node in frozen.node
    )
    assert defuse(apart) is apart


def test_defused_resource_form_reads_the_variables():
    model = Model()
    graph_def = model.__call__.get_concrete_function().graph.as_graph_def()
    assert "ReadVariableOp" in ops_of(tensor_form(graph_def))
    assert not FUSED & ops_of(defuse(graph_def))


PLAIN = """
import sys, numpy as np, tensorflow as tf
graph_def = tf.compat.v1.GraphDef.FromString(open(sys.argv[1], "rb").read())
tf.import_graph_def(graph_def)
"""


def test_a_defused_graph_loads_without_the_library(tmp_path):
    model = Model()
    path = tmp_path / "graph.pb"
    path.write_bytes(freeze(model.__call__.get_concrete_function(), fused=False).graph.as_graph_def().SerializeToString())
    subprocess.run([sys.executable, "-I", "-c", PLAIN, str(path)], check=True, capture_output=True)


def test_traced_graphs_hold_fused_nodes_and_no_segments():
    table = tf.Variable(tf.ones([5, 2]))
    for lookup in (fused_embedding_lookup_sparse, fused_safe_embedding_lookup_sparse):
        traced = tf.function(lambda ids, lookup=lookup: lookup(table, ids), autograph=False)
        found = ops_of(traced.get_concrete_function(tf.SparseTensorSpec([None, None], tf.int64)).graph.as_graph_def())
        assert any(op.startswith("Nann>Fused") for op in found)
        assert not any(op.startswith("SparseSegment") for op in found)


def test_saved_model_round_trip(tmp_path):
    model = Model()
    tf.saved_model.save(model, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    for ours, live in zip(loaded(*inputs()), model(*inputs()), strict=True):
        np.testing.assert_array_equal(ours, live)


def test_mirrored_strategy():
    devices = tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    with strategy.scope():
        table = tf.Variable(tf.ones([5, 2]))

    @tf.function(autograph=False)
    def step(values):
        def replica(values):
            ids = tf.RaggedTensor.from_row_splits(values, [0, 2, 3])
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(fused_safe_embedding_lookup_sparse(table, ids, combiner="sum"))
            gradient = tape.gradient(loss, table)
            return tf.convert_to_tensor(gradient)

        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(replica, args=(values,)), axis=None)

    np.testing.assert_array_equal(step(tf.constant([1, 1, 4]))[:, 0], [0, 2, 0, 0, 1])
