"""What the graph of a training step is made of."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from nann.config import TrainConfig
from nann.models import build_model
from nann.training.step import TrainingStep, trained_variables
from ops import native
from ops.optimizers import LazyAdamW

ITEMS, CATEGORIES = 30, 4
FUSED = {"Nann>FusedEmbeddingPositionsResource", "Nann>FusedEmbeddingPositionsGrad", "Nann>FusedEmbeddingUpdateRows"}


SHAPES = {
    "samples": {"histories": [4, 5], "targets": [4], "negatives": [4, 6]},
    "packed": {"histories": [4, 5], "segments": [4, 5], "targets": [4, 5], "negatives": [1, 6]},
}
kinds = pytest.mark.parametrize("kind", list(SHAPES))


def traced_ops(kind, fused, **options):
    config = TrainConfig(scorer={"samples": "nann", "packed": "sequence"}[kind], emb_dim=8, xla=False, fused=fused, **options)
    scorer = build_model(config, num_items=ITEMS, num_categories=CATEGORIES)
    optimizer = LazyAdamW(trained_variables(scorer), fused=fused)
    step = TrainingStep(
        scorer,
        optimizer,
        config,
        categories=tf.constant(np.arange(ITEMS + 1) % CATEGORIES + 1, tf.int32),
        log_probability=tf.zeros([ITEMS + 1]),
        replicas=1,
    )
    batch = {name: tf.TensorSpec(shape, tf.int32, name=name) for name, shape in SHAPES[kind].items()}
    if kind == "packed":
        batch["weights"] = tf.TensorSpec([4, 5], tf.float32, name="weights")
    graph = tf.function(step, autograph=False).get_concrete_function(batch, tf.TensorSpec([], tf.float32)).graph.as_graph_def()
    return {node.op for nodes in [graph.node, *(function.node_def for function in graph.library.function)] for node in nodes}


@pytest.mark.skipif(native.load_library() is None, reason="the native library is not built; run `make install`")
@kinds
def test_a_step_looks_up_differentiates_and_updates_with_fused_ops(kind):
    found = traced_ops(kind, fused=True)
    assert found >= FUSED
    assert not any(op.startswith("SparseSegment") for op in found)


@kinds
def test_without_fusion_a_step_holds_stock_ops_alone(kind):
    assert not any(op.startswith("Nann>") for op in traced_ops(kind, fused=False))


OPTIONS = {
    "default": {},
    "mixed precision": {"mixed_precision": True},
    "perturbed items": {"adv_eps": 1e-3},
    "all of it, mixed": {"mixed_precision": True, "adv_eps": 1e-3, "loss": "sampled-softmax"},
    "pairs": {"loss": "bpr"},
}


@pytest.mark.parametrize("options", list(OPTIONS))
@kinds
def test_every_op_of_a_fused_step_has_a_kernel_for_gpus(host_ops, kind, options):
    if native.load_library() is None or not (Path(__file__).resolve().parents[3] / "ops/cc").is_dir():
        pytest.skip("needs the native library and its sources")
    found = traced_ops(kind, fused=True, **OPTIONS[options])
    assert found >= FUSED
    assert host_ops(found) == set(), "a step would go from the GPU to the host and back"


@pytest.mark.skipif(native.load_library() is None, reason="the native library is not built; run `make install`")
@pytest.mark.parametrize("embedding", ["ev", "adaptive"])
@kinds
def test_growing_tables_find_their_rows_on_the_host(host_ops, kind, embedding):
    """What decides which row an id has is on the host by design, and nothing else is."""
    found = host_ops(traced_ops(kind, fused=True, embedding=embedding))
    assert found == {"Nann>EmbeddingVariableStart", "Nann>EmbeddingVariableFind", "Nann>EmbeddingVariableRows"}
