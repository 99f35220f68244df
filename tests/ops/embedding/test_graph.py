import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from ops.embedding import (
    Feature,
    fused_embedding_lookup_sparse,
    fused_embedding_lookup_sparse_v2,
    fused_safe_embedding_lookup_sparse,
    grouped_lookup,
)
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


def call_flat(frozen):
    """Calls a function of flat tensors with `inputs`, which are told apart by dtype and rank."""
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
    return frozen(*ordered)


@pytest.mark.parametrize("fused", [True, False])
def test_frozen_equals_live_and_holds_no_resource(fused):
    model = Model()
    frozen = freeze(model.__call__.get_concrete_function(), fused=fused)
    assert not {"VarHandleOp", "ReadVariableOp"} & ops_of(frozen.graph.as_graph_def())
    assert all(tensor.dtype != tf.resource for op in frozen.graph.get_operations() for tensor in [*op.inputs, *op.outputs])
    assert bool(FUSED & ops_of(frozen.graph.as_graph_def())) == fused
    for ours, live in zip(call_flat(frozen), model(*inputs()), strict=True):
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


def everywhere(graph_def):
    """The ops of a graph and of the functions of its library."""
    return ops_of(graph_def).union(*({node.op for node in function.node_def} for function in graph_def.library.function))


def calling_a_function():
    """A graph whose lookups are all in functions, called and called by one another."""
    model = Model()

    @tf.function(autograph=False)
    def inner(ids, weights, positions):
        return model(ids, weights, positions)

    @tf.function(autograph=False, input_signature=model.__call__.input_signature)
    def outer(ids, weights, positions):
        return [tf.identity(tensor) for tensor in inner(ids, weights, positions)]

    return model, outer.get_concrete_function()


def test_defuse_and_fuse_reach_into_functions():
    _, function = calling_a_function()
    graph_def = function.graph.as_graph_def()
    assert not FUSED & ops_of(graph_def)
    assert FUSED & everywhere(graph_def)
    apart = defuse(graph_def)
    assert not any(op.startswith("Nann>") for op in everywhere(apart))
    tensors = tensor_form(graph_def)
    assert {"Nann>FusedEmbeddingLookup", "Nann>FusedEmbeddingPositions"} <= everywhere(tensors)
    for again, before in zip(fuse(apart).library.function, tensors.library.function, strict=True):
        assert dict(again.ret) == dict(before.ret)
        assert sorted(node.SerializeToString(deterministic=True) for node in again.node_def) == sorted(
            node.SerializeToString(deterministic=True) for node in before.node_def
        )


@pytest.mark.parametrize("fused", [True, False])
def test_frozen_functions_hold_no_resource(fused):
    model, function = calling_a_function()
    frozen = freeze(function, fused=fused)
    found = everywhere(frozen.graph.as_graph_def())
    assert not {"VarHandleOp", "ReadVariableOp"} & found
    assert bool(FUSED & found) == fused
    for ours, live in zip(call_flat(frozen), model(*inputs()), strict=True):
        np.testing.assert_allclose(ours, live, rtol=1e-5, atol=1e-6)


LOADED = """
import sys, numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
ids = tf.SparseTensor([[0, 0], [0, 1], [2, 0]], tf.constant([1, -1, 9], tf.int64), [4, 2])
np.savez(sys.argv[2], *model(ids, tf.constant([0.5, 1.0, 2.0]), tf.constant([[1, 0], [9, 3]])))
"""


def test_a_defused_saved_model_runs_without_the_library(tmp_path):
    model = Model()
    tf.saved_model.save(model, str(tmp_path / "model"))
    path = tmp_path / "model" / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    graph_def = saved.meta_graphs[0].graph_def
    assert FUSED & everywhere(graph_def)
    graph_def.CopyFrom(defuse(graph_def))
    assert not any(op.startswith("Nann>") for op in everywhere(graph_def))
    path.write_bytes(saved.SerializeToString())
    subprocess.run(
        [sys.executable, "-I", "-c", LOADED, str(tmp_path / "model"), str(tmp_path / "out.npz")], check=True, capture_output=True
    )
    found = np.load(tmp_path / "out.npz")
    for name, live in zip(found.files, model(*inputs()), strict=True):
        np.testing.assert_allclose(found[name], live, rtol=1e-5, atol=1e-6)


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
    for lookup in (fused_embedding_lookup_sparse, fused_embedding_lookup_sparse_v2, fused_safe_embedding_lookup_sparse):
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


def test_a_lookup_in_a_function_is_one_op():
    """Nothing on the way but the op: what a call costs is the op and the call."""
    table = tf.Variable(tf.ones([5, 2]))
    traced = tf.function(lambda ids: fused_safe_embedding_lookup_sparse(table, ids), autograph=False)
    nodes = [node.op for node in traced.get_concrete_function(tf.SparseTensorSpec([None, None], tf.int64)).graph.as_graph_def().node]
    assert sorted(op for op in nodes if op not in ("Placeholder", "Identity", "NoOp")) == ["Nann>FusedEmbeddingLookupResource"]


# Logical devices have to be made before TensorFlow starts.
MIRRORED = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from ops import fused_safe_embedding_lookup_sparse
from ops.optimizers import LazyAdamW
start = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
batches = [([1, 1, 4], [0, 2, 3]), ([5, 0, 4], [0, 1, 3])]

def gradient_of(table, values, splits):
    ids = tf.RaggedTensor.from_row_splits(values, splits)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(fused_safe_embedding_lookup_sparse(table, ids, combiner="mean") ** 2)
    return tape.gradient(loss, table)

def train(strategy, given):
    with strategy.scope():
        table = tf.Variable(start)
        optimizer = LazyAdamW([table])
    def replica(values, splits):
        optimizer.apply([gradient_of(table, values, splits)], tf.constant(0.1))
    @tf.function(autograph=False)
    def step(values, splits):
        strategy.run(replica, args=(values, splits))
    for _ in range(3):
        step(*given(strategy))
    return table.numpy()

def halves(strategy):
    def one(part):
        of_replica = lambda context: tf.constant(batches[context.replica_id_in_sync_group][part], tf.int64)
        return strategy.experimental_distribute_values_from_function(of_replica)
    return [one(0), one(1)]

def whole(strategy):
    (a, b), (c, d) = batches
    return tf.constant(a + c, tf.int64), tf.constant(b + [b[-1] + end for end in d[1:]], tf.int64)

two = tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices("CPU")])
assert two.num_replicas_in_sync == 2
np.testing.assert_allclose(train(two, halves), train(tf.distribute.get_strategy(), whole), rtol=1e-5)
"""


def test_two_mirrored_replicas_train_as_one_on_the_whole_batch(fork_server):
    run = fork_server.run(MIRRORED)
    assert run.returncode == 0, run.stderr[-3000:]
