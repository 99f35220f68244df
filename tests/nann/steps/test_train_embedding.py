"""`train --embedding ev|adaptive`: what is admitted, what is written, and that the steps after it work."""

import numpy as np
import pytest
import tensorflow as tf

from nann.artifacts import open_artifact
from nann.config import BuildIndexConfig, EvaluateConfig, ExtractConfig, RewriteConfig, TrainConfig
from nann.dataset import load_histories, load_items
from nann.errors import ArtifactError
from nann.models import build_model, load_model
from nann.steps.build_index import build_index
from nann.steps.evaluate import evaluate
from nann.steps.extract import extract
from nann.steps.rewrite import rewrite
from nann.steps.train import train
from nann.training.warm_start import load_earlier_model

SMALL = {
    "scorer": "two-sided",  # the quickest to trace; what grows is the same in all
    "memory": "none",
    "emb_dim": 8,
    "num_neg": 32,
    "batch_size": 64,
    "max_length": 10,
    "xla": False,
    "validate_users": 0,
    "log_steps": 5,
}


def target_counts(dataset):
    """How often every item is a target in one epoch."""
    histories = load_histories(dataset)
    starts = np.repeat(histories.row_splits[:-1], np.diff(histories.row_splits))
    positions = np.flatnonzero(np.arange(len(starts)) - starts >= histories.first_target)
    return np.bincount(histories.item_rows[positions], minlength=len(load_items(dataset).item_ids)), len(positions)


@pytest.mark.parametrize("embedding", ["ev", "adaptive"])
def test_items_met_often_enough_have_rows_of_their_own(small_dataset, tmp_path, embedding):
    counts, samples = target_counts(small_dataset)
    # one batch is the whole epoch: every target is counted exactly once
    options = {**SMALL, "batch_size": samples, "num_neg": 1, "negatives": "per-sample"}
    config = TrainConfig(**options, max_steps=1, embedding=embedding, promote_after=4, shared_rows=16)
    result = train(dataset=small_dataset, model=tmp_path / "model", config=config)
    expected = int(np.sum(counts >= 4))
    assert 0 < expected < len(counts) - 1
    metrics = open_artifact(tmp_path / "model", step="train").metrics
    assert metrics == result.metrics
    assert (metrics["items_admitted"], metrics["items_evicted"], metrics["item_rows"]) == (expected, 0, expected)
    live = load_model(tmp_path / "model", trainable=True)
    rows = live.item_embedding.item_table.rows_of(np.arange(len(counts)))
    np.testing.assert_array_equal(rows[-1] > 0, counts >= 4)
    if embedding == "adaptive":
        np.testing.assert_array_equal(rows[0] > 0, (counts < 4) & (np.arange(len(counts)) > 0))
    frozen = load_model(tmp_path / "model")
    items = load_items(small_dataset)
    ids = np.arange(1, len(counts))
    for model in (live, frozen):
        model.vectors = model.encode_item(tf.constant(ids), tf.constant(items.category_rows[ids]))
    np.testing.assert_allclose(live.vectors, frozen.vectors, rtol=1e-6)


@pytest.mark.parametrize(("embedding", "scorer"), [("ev", "sequence"), ("adaptive", "two-sided")])
def test_the_steps_after_training_work(small_dataset, tmp_path, embedding, scorer):
    options = {**SMALL, "scorer": scorer, "promote_after": 3, "shared_rows": 16, "evict_after": 3}
    config = TrainConfig(**options, max_steps=15, embedding=embedding)
    metrics = train(dataset=small_dataset, model=tmp_path / "model", config=config).metrics
    assert metrics["items_evicted"] > 0
    assert metrics["item_rows"] == metrics["items_admitted"] - metrics["items_evicted"]
    paths = {name: tmp_path / name for name in ("model", "embeddings", "index")}
    common = {"model": paths["model"], "dataset": small_dataset}
    extract(**common, embeddings=paths["embeddings"], config=ExtractConfig())
    build_index(embeddings=paths["embeddings"], index=paths["index"], config=BuildIndexConfig(m=4, ef_construction=40))
    search = RewriteConfig(ef=(100, 60), rounds=(6, 1), top_k=50)
    rewrite(**common, embeddings=paths["embeddings"], index=paths["index"], converted_model=tmp_path / "converted_model", config=search)
    result = evaluate(
        converted_model=tmp_path / "converted_model",
        dataset=small_dataset,
        evaluation=tmp_path / "evaluation",
        config=EvaluateConfig(ks=(50,), baselines=False, curve_users=0, max_users=40),
    )
    assert result.metrics["coverage@50"] > 0.9


@pytest.mark.parametrize("embedding", ["ev", "adaptive"])
def test_interrupted_and_resumed_is_the_same_as_uninterrupted(small_dataset, tmp_path, embedding, monkeypatch):
    config = TrainConfig(**SMALL, max_steps=20, embedding=embedding, promote_after=3, shared_rows=16, checkpoint_seconds=1e-9)
    train(dataset=small_dataset, model=tmp_path / "whole", config=config)
    save = tf.train.CheckpointManager.save

    def save_and_stop(self, checkpoint_number):
        save(self, checkpoint_number=checkpoint_number)
        if checkpoint_number == 10:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tf.train.CheckpointManager, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(dataset=small_dataset, model=tmp_path / "stopped", config=config)
    train(dataset=small_dataset, model=tmp_path / "stopped", config=config)
    for end in ("index", "data-00000-of-00001"):
        assert (tmp_path / "whole" / f"weights.{end}").read_bytes() == (tmp_path / "stopped" / f"weights.{end}").read_bytes(), end


def test_a_model_goes_into_a_larger_catalogue(small_dataset, tmp_path):
    """Tables that grow are keyed by rows of the catalogue: the checkpoint restores into a scorer of more items."""
    config = TrainConfig(**SMALL, max_steps=5, embedding="adaptive", promote_after=2, shared_rows=16)
    train(dataset=small_dataset, model=tmp_path / "model", config=config)
    old = load_model(tmp_path / "model", trainable=True)
    new = build_model(config, num_items=old.num_items + 100, num_categories=old.num_categories + 3)
    tf.train.Checkpoint(scorer=new).read(str(tmp_path / "model" / "weights")).assert_consumed()
    ids = tf.range(old.num_items + 1)
    for one, other in zip(old.item_embedding.item_table.rows_of(ids), new.item_embedding.item_table.rows_of(ids), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(old.item_embedding.tables, new.item_embedding.tables, strict=True):
        held = min(len(one.numpy()), len(other.numpy()))
        np.testing.assert_array_equal(one.numpy()[:held], other.numpy()[:held])


@pytest.mark.parametrize("embedding", ["ev", "adaptive"])
def test_a_warm_start_takes_rows_counts_and_moments_over(small_dataset, tmp_path, embedding):
    options = {**SMALL, "embedding": embedding, "promote_after": 3, "shared_rows": 16, "keep_moments": True}
    train(dataset=small_dataset, model=tmp_path / "first", config=TrainConfig(**options, max_steps=12))
    config = TrainConfig(**options, epochs=0)
    metrics = train(dataset=small_dataset, model=tmp_path / "same", config=config, warm_start=tmp_path / "first").metrics
    assert metrics["items_admitted"] == 0 < metrics["item_rows"]
    before, after = (load_earlier_model(tmp_path / name) for name in ("first", "same"))
    pairs = [(before.scorer.variables, after.scorer.variables), (before.optimizer.slots, after.optimizer.slots)]
    for old, new in pairs:
        assert len(old) == len(new) > 2
        for one, other in zip(old, new, strict=True):
            if "_own_state" not in one.name:  # what was admitted is counted anew
                np.testing.assert_array_equal(one, other)
    moments = [variable.numpy() for variable in before.scorer.variables if "moment" in variable.name]
    assert len(moments) == 4
    assert all(np.any(moment) for moment in moments)
    metrics = train(
        dataset=small_dataset, model=tmp_path / "next", config=TrainConfig(**options, max_steps=12), warm_start=tmp_path / "first"
    ).metrics
    assert metrics["item_rows"] == open_artifact(tmp_path / "first", step="train").metrics["item_rows"] + metrics["items_admitted"]
    with pytest.raises(ArtifactError, match="cannot have --embedding static"):
        train(dataset=small_dataset, model=tmp_path / "other", config=TrainConfig(**SMALL), warm_start=tmp_path / "first")
