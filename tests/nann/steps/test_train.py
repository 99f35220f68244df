import json
import logging
import signal

import numpy as np
import pytest
import tensorflow as tf

from nann.artifacts import open_artifact
from nann.config import ExtractConfig, TrainConfig
from nann.dataset import load_items, load_samples
from nann.errors import ArtifactError, TrainingError
from nann.evaluation.metrics import recall
from nann.models import load_model
from nann.steps.extract import extract
from nann.steps.train import train
from nann.training.validation import RecallProbe, newest

SMALL = {
    "memory": "none",
    "emb_dim": 8,
    "num_neg": 32,
    "batch_size": 64,
    "max_length": 10,
    "xla": False,
    "validate_users": 0,
    "log_steps": 5,
}


def weights(model):
    return {variable.name + str(number): variable.numpy() for number, variable in enumerate(load_model(model).variables)}


ONCE = TrainConfig(max_steps=12, **SMALL)


@pytest.fixture(scope="module")
def trained(small_dataset, tmp_path_factory):
    """A small model for tests that only look at it, as `train` returned it."""
    return train(dataset=small_dataset, model=tmp_path_factory.mktemp("trained") / "model", config=ONCE)


def test_a_small_training_beats_popularity(small_dataset, tmp_path):
    config = TrainConfig(
        memory="none", emb_dim=16, num_neg=64, batch_size=64, max_length=10, epochs=6, xla=False, validations=2, validate_users=60
    )
    result = train(dataset=small_dataset, model=tmp_path / "model", config=config)
    items, samples = load_items(small_dataset), load_samples(small_dataset, "test")
    probe = RecallProbe(load_model(tmp_path / "model"), samples, categories=items.category_rows, max_length=10)
    popular = np.argsort(-items.train_counts[1:], kind="stable")[:20] + 1
    popularity = float(np.mean(recall(np.tile(popular, (len(samples.targets), 1)), samples.targets[:, np.newaxis], 20)))
    assert probe.recall([20])["recall_all@20"] > 1.5 * popularity

    records = json.loads((tmp_path / "model" / "training.json").read_text())
    assert records[-1]["step"] == result.metrics["steps"]
    assert records[-1]["loss"] < records[0]["loss"]
    assert sum("recall_all@50" in record for record in records) == 2
    assert list((tmp_path / "model" / "events").glob("events*"))
    assert not (tmp_path / "model" / "checkpoints").exists()


def test_equal_seeds_give_equal_weights(small_dataset, tmp_path, trained):
    train(dataset=small_dataset, model=tmp_path / "two", config=ONCE)
    one, two = weights(trained.path), weights(tmp_path / "two")
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name])


def test_fused_and_stock_lookups_train_the_same_model(small_dataset, tmp_path):
    """`--no-fused` is there to compare with: the same run, up to the order of sums."""
    for name, fused in (("fused", True), ("stock", False)):
        train(dataset=small_dataset, model=tmp_path / name, config=TrainConfig(max_steps=25, fused=fused, **SMALL))
    losses = [[record["loss"] for record in json.loads((tmp_path / name / "training.json").read_text())] for name in ("fused", "stock")]
    assert len(losses[0]) == 5
    np.testing.assert_allclose(*losses, rtol=1e-4)
    # Not the networks: biases before a batch normalization have no gradient, and Adam makes steps of the rounding.
    fused, stock = (load_model(tmp_path / name).item_embedding.tables for name in ("fused", "stock"))
    for one, other in zip(fused, stock, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-2, atol=1e-3)


def test_killed_and_resumed_is_the_same_as_uninterrupted(small_dataset, tmp_path, caplog, fork_server):
    """SIGKILL after the first checkpoint; the second run resumes (it says so) and ends with the same weights and records."""
    config = TrainConfig(max_steps=40, checkpoint_seconds=0.01, **SMALL)
    train(dataset=small_dataset, model=tmp_path / "whole", config=config.model_copy(update={"checkpoint_seconds": 600.0}))
    code = (
        "from pathlib import Path; from nann.config import TrainConfig; from nann.steps.train import train\n"
        f"train(dataset=Path({str(small_dataset)!r}), model=Path({str(tmp_path / 'killed')!r}), "
        f"config=TrainConfig(**{config.model_dump()!r}))"
    )
    process = fork_server.start(code)
    checkpoints = tmp_path / ".killed.partial" / "checkpoints"
    while process.wait(0) is None and not (checkpoints / "checkpoint").exists():
        pass
    assert process.kill() == -signal.SIGKILL, "the run was over before it could be killed"
    assert not (tmp_path / "killed").exists()
    with caplog.at_level(logging.INFO, "nann"):
        train(dataset=small_dataset, model=tmp_path / "killed", config=config)
    assert "resuming from step" in caplog.text

    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    for name, value in whole.items():
        np.testing.assert_array_equal(value, killed[name])
    records = [
        [{key: value for key, value in record.items() if key != "samples_per_s"} for record in json.loads(path.read_text())]
        for path in (tmp_path / "whole" / "training.json", tmp_path / "killed" / "training.json")
    ]
    assert records[0] == records[1]


REPLICAS = {
    "negatives per sample": ("BatchSource", {"scorer": "two-sided", "negatives": "per-sample"}),
    "shared negatives": ("BatchSource", {"scorer": "two-sided"}),
    "growing tables": ("BatchSource", {"scorer": "two-sided", "embedding": "ev", "promote_after": 2}),
    "adaptive tables": ("BatchSource", {"scorer": "two-sided", "embedding": "adaptive", "promote_after": 2, "shared_rows": 8}),
    "packed rows": ("PackedBatches", {"scorer": "sequence", "dropout": 0.0, "id_dropout": 0.0}),
}


@pytest.mark.parametrize(("batches", "options"), REPLICAS.values(), ids=REPLICAS)
def test_two_replicas_train_as_one_on_the_global_batch(small_dataset, batches, options, fork_server):
    """MirroredStrategy over two logical CPUs, against one replica with twice the batch; two of them in one process disturb each other."""
    code = f"""
import json, tempfile
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pathlib import Path
from nann.config import TrainConfig
from nann.dataset import load_histories, load_items
from nann.training.batches import BatchSource, NoiseSampler
from nann.training.loop import TrainingData, train_scorer
from nann.training.packing import PackedBatches
dataset = Path({str(small_dataset)!r})
items, histories = load_items(dataset), load_histories(dataset)
sampler = NoiseSampler(items.train_counts)
losses = []
for strategy, batch in ((tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), 16), (tf.distribute.get_strategy(), 32)):
    config = TrainConfig(emb_dim=8, num_neg=8, batch_size=batch, max_steps=6, warmup_steps=0, max_length=10, xla=False, log_steps=1,
                         validate_users=0, **{options!r})
    source = {batches}(histories, max_length=10, sampler=sampler, config=config, replicas=strategy.num_replicas_in_sync)
    with tempfile.TemporaryDirectory() as directory:
        train_scorer(TrainingData(source, items, sampler.log_probability, 10), config, strategy, Path(directory))
        losses.append([record["loss"] for record in json.loads((Path(directory) / "training.json").read_text())])
print(json.dumps(losses))
"""
    done = fork_server.run(code)
    assert done.returncode == 0, done.stderr
    two, one = json.loads(done.stdout.strip().splitlines()[-1])
    assert len(two) == 6
    np.testing.assert_allclose(two, one, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_training_and_names_the_step(small_dataset, tmp_path):
    config = TrainConfig(max_steps=40, learning_rate=1e30, warmup_steps=0, schedule="constant", **SMALL)
    with pytest.raises(TrainingError, match="up to step"):
        train(dataset=small_dataset, model=tmp_path / "model", config=config)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("scorer", ["sequence", "nann", "two-sided"])
def test_mixed_precision_trains_about_as_full_precision_does(small_dataset, tmp_path, scorer):
    losses = []
    for mixed in (False, True):
        config = TrainConfig(scorer=scorer, max_steps=20, mixed_precision=mixed, adv_eps=1e-2, **SMALL)
        result = train(dataset=small_dataset, model=tmp_path / str(mixed), config=config)
        losses.append(result.metrics["loss"])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


@pytest.mark.parametrize("options", [{"loss": "bpr"}, {"negatives": "per-sample", "num_neg": 8, "loss": "nce", "adv_eps": 1e-2}])
def test_other_losses_and_negatives_train_too(small_dataset, tmp_path, options):
    config = TrainConfig(**{**SMALL, "scorer": "two-sided", "max_steps": 60, **options})
    train(dataset=small_dataset, model=tmp_path / "model", config=config)
    losses = [record["loss"] for record in json.loads((tmp_path / "model" / "training.json").read_text())]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_an_equal_model_is_kept_and_another_one_refused(small_dataset, trained):
    second = train(dataset=small_dataset, model=trained.path, config=ONCE)
    assert not trained.reused
    assert second.reused
    assert second.metrics == trained.metrics
    with pytest.raises(ArtifactError, match="made with another params"):
        train(dataset=small_dataset, model=trained.path, config=ONCE.model_copy(update={"seed": 2}))


def test_extract_writes_every_items_vector(small_dataset, tmp_path, trained):
    result = extract(model=trained.path, dataset=small_dataset, embeddings=tmp_path / "embeddings", config=ExtractConfig(batch_size=100))
    rows, vectors = (np.load(result.path / name) for name in ("item_ids.npy", "item_embs.npy"))
    items, scorer = load_items(small_dataset), load_model(trained.path)
    np.testing.assert_array_equal(rows, np.arange(1, len(items.item_ids)))
    assert (rows.dtype, vectors.dtype) == (np.int64, np.float32)
    whole = scorer.encode_item(tf.constant(rows), tf.constant(items.category_rows[rows].astype(np.int64)))
    np.testing.assert_allclose(vectors, whole, rtol=1e-5, atol=1e-6)
    assert open_artifact(result.path, step="extract").lineage["dataset"] == open_artifact(small_dataset, step="convert").digest


def test_newest_keeps_the_end_of_a_history():
    histories = np.array([[1, 2, 3, 4, 0], [5, 0, 0, 0, 0], [6, 7, 0, 0, 0]], np.int32)
    np.testing.assert_array_equal(newest(histories, histories, 2), [[3, 4], [5, 0], [6, 7]])
    np.testing.assert_array_equal(newest(histories, 10 * histories, 3), [[20, 30, 40], [50, 0, 0], [60, 70, 0]])
