"""The graph scorer through the steps: it learns, resumes nothing from the step, and what is served knows no graph."""

import json

import numpy as np
import pytest

from nann.config import BuildIndexConfig, EvaluateConfig, ExtractConfig, RewriteConfig, TrainConfig
from nann.dataset import load_items
from nann.export import load_frozen_graph
from nann.index import load_embeddings
from nann.models import load_model
from nann.steps.build_index import build_index
from nann.steps.evaluate import evaluate
from nann.steps.extract import extract
from nann.steps.rewrite import rewrite
from nann.steps.train import train

SMALL = {
    "memory": "none",
    "scorer": "graph",
    "emb_dim": 16,
    "num_neg": 64,
    "batch_size": 64,
    "max_length": 10,
    "xla": False,
    "validate_users": 60,
}


def test_it_beats_popularity_from_training_to_the_exported_graph(small_dataset, tmp_path):
    paths = {name: tmp_path / name for name in ("model", "embeddings", "index")}
    config = TrainConfig(epochs=3, validations=1, **SMALL)
    train(dataset=small_dataset, model=paths["model"], config=config)
    extract(model=paths["model"], dataset=small_dataset, embeddings=paths["embeddings"], config=ExtractConfig())
    build_index(embeddings=paths["embeddings"], index=paths["index"], config=BuildIndexConfig(m=8))
    converted = tmp_path / "converted_model"
    rewrite(**paths, dataset=small_dataset, converted_model=converted, config=RewriteConfig(ef=(60, 40), rounds=(6, 1), top_k=50))
    result = evaluate(
        converted_model=converted,
        dataset=small_dataset,
        evaluation=tmp_path / "evaluation",
        config=EvaluateConfig(ks=(20, 50), curve_users=0),
    )
    figures = result.metrics
    assert figures["recall_all@20"] > 1.5 * figures["baselines"]["popularity"]["recall@20"]
    assert figures["coverage@50"] > 0.9
    constants = {node.name for node in load_frozen_graph(converted / "frozen_graph.pb").node}
    assert not [name for name in constants if "near_items" in name or "similar_items" in name]

    # the neighbourhood does move the vectors
    vectors, scorer, items = load_embeddings(paths["embeddings"]).vectors, load_model(paths["model"]), load_items(small_dataset)
    rows = np.arange(1, len(items.item_ids))
    alone = scorer.encode_item(rows, items.category_rows[rows].astype(np.int64)).numpy()
    assert np.mean(np.abs(vectors - alone).max(axis=1) > 1e-2) > 0.9


@pytest.mark.parametrize("options", [{"loss": "bpr"}, {"negatives": "per-sample", "num_neg": 8, "loss": "nce", "adv_eps": 1e-2}])
def test_other_losses_and_negatives_train_it_too(small_dataset, tmp_path, options):
    config = TrainConfig(**{**SMALL, "max_steps": 60, "log_steps": 20, "validations": 0, **options})
    result = train(dataset=small_dataset, model=tmp_path / "model", config=config)
    assert np.isfinite(result.metrics["loss"])


def test_two_replicas_train_as_one_on_the_global_batch(small_dataset, fork_server):
    code = f"""
import numpy as np, tensorflow as tf, tempfile, json
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pathlib import Path
from nann.config import TrainConfig
from nann.neighborhood import NeighborhoodShape, NeighborSampler, build_graph
from nann.dataset import load_histories, load_items
from nann.training.batches import BatchSource, NoiseSampler
from nann.training.loop import TrainingData, train_scorer
dataset = Path({str(small_dataset)!r})
items, histories = load_items(dataset), load_histories(dataset)
sampler = NoiseSampler(items.train_counts)
neighbors = NeighborSampler(build_graph(histories, num_items=len(items.item_ids) - 1), NeighborhoodShape(8, 4, 4))
losses = []
for strategy, batch in ((tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), 16), (tf.distribute.get_strategy(), 32)):
    config = TrainConfig(scorer="graph", emb_dim=8, num_neg=8, batch_size=batch, max_steps=4, warmup_steps=0, max_length=10, xla=False,
                         log_steps=1, validate_users=0)
    source = BatchSource(histories, max_length=10, sampler=sampler, config=config,
                         replicas=strategy.num_replicas_in_sync, neighbors=neighbors)
    with tempfile.TemporaryDirectory() as directory:
        train_scorer(TrainingData(source, items, sampler.log_probability, 10), config, strategy, Path(directory))
        losses.append([record["loss"] for record in json.loads((Path(directory) / "training.json").read_text())])
print(losses)
"""
    done = fork_server.run(code)
    assert done.returncode == 0, done.stderr
    two, one = json.loads(done.stdout.strip().splitlines()[-1])
    assert len(two) == 4
    np.testing.assert_allclose(two, one, atol=2e-5)
