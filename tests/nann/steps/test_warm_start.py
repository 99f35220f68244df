"""`nann train --warm-start`: tables grow by new rows, weights and moments are carried over, what is no continuation is refused."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from data_prep.config import ConvertConfig, GenerateConfig
from data_prep.generate import generate_log
from nann.artifacts import open_artifact
from nann.config import TrainConfig
from nann.dataset import load_histories, load_items
from nann.errors import ArtifactError, TrainingError
from nann.memory.table import load_memory
from nann.models import load_model
from nann.steps.convert import convert
from nann.steps.train import train
from nann.training.warm_start import load_earlier_model
from pipelines.cli import main

SMALL = {
    "memory": "none",
    "emb_dim": 8,
    "num_neg": 32,
    "batch_size": 16,
    "max_length": 10,
    "xla": False,
    "validate_users": 0,
    "log_steps": 5,
}


@pytest.fixture(scope="module")
def windows(tmp_path_factory) -> tuple[Path, Path]:
    """Two datasets: the first part of a log, and its rest converted on the base of that. Some items occur in the second only."""
    directory = tmp_path_factory.mktemp("windows")
    generate_log(directory / "whole.csv", GenerateConfig(users=300, items=200, categories=8, events_per_user=14, days=4, seed=3))
    rows = [line.split(",") for line in (directory / "whole.csv").read_text().splitlines()]
    middle = sorted(int(row[-1]) for row in rows)[len(rows) // 2]
    # Items of ids divisible by 5 are published in the second half.
    kept = [row for row in rows if int(row[-1]) > middle or int(row[1]) % 5]
    (directory / "log.csv").write_text("".join(",".join(row) + "\n" for row in kept))
    log, options = directory / "log.csv", {"shards": 1, "max_length": 10}
    convert(inputs=[log], dataset=directory / "first", config=ConvertConfig(until=str(middle + 1), **options))
    convert(inputs=[log], dataset=directory / "second", config=ConvertConfig(base=directory / "first", **options))
    return directory / "first", directory / "second"


@pytest.fixture(scope="module")
def first_model(windows, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("first") / "model"
    train(dataset=windows[0], model=path, config=TrainConfig(max_steps=12, keep_moments=True, **SMALL))
    return path


def test_nothing_new_and_no_steps_is_the_same_model(windows, first_model, tmp_path) -> None:
    config = TrainConfig(epochs=0, keep_moments=True, **SMALL)
    result = train(dataset=windows[0], model=tmp_path / "model", config=config, warm_start=first_model)
    assert {name: result.metrics[name] for name in ("steps", "items_added", "categories_added", "earlier_steps")} == {
        "steps": 0,
        "items_added": 0,
        "categories_added": 0,
        "earlier_steps": 12,
    }
    before, after = load_earlier_model(first_model), load_earlier_model(tmp_path / "model")
    pairs = [(before.scorer.variables, after.scorer.variables), (before.optimizer.slots, after.optimizer.slots)]
    for old, new in pairs:
        assert len(old) == len(new) > 2
        for one, other in zip(old, new, strict=True):
            np.testing.assert_array_equal(one, other)


def test_tables_grow_by_the_new_rows(windows, first_model, tmp_path) -> None:
    old_items, new_items = (len(load_items(dataset).item_ids) - 1 for dataset in windows)
    assert new_items > old_items
    config = TrainConfig(epochs=0, keep_moments=True, seed=7, **SMALL)
    result = train(dataset=windows[1], model=tmp_path / "model", config=config, warm_start=first_model)
    assert result.metrics["items_added"] == new_items - old_items
    assert open_artifact(result.path, step="train").metrics["items_added"] == new_items - old_items
    before, after = load_earlier_model(first_model), load_earlier_model(tmp_path / "model")
    np.testing.assert_array_equal(after.scorer.item_embedding.tables[0][: old_items + 1], before.scorer.item_embedding.tables[0])
    added = after.scorer.item_embedding.tables[0][old_items + 1 :].numpy()
    assert added.shape == (new_items - old_items, 2 * 8)  # of two encoders
    assert len(np.unique(added)) == added.size  # drawn, not copied
    moments = [slot.numpy() for slot in after.optimizer.slots if tuple(slot.shape) == tuple(after.scorer.item_embedding.tables[0].shape)]
    assert len(moments) == 2
    for moment in moments:
        assert moment[: old_items + 1].any()
        assert not moment[old_items + 1 :].any()


def test_going_on_with_the_moments_is_one_training(windows, first_model, tmp_path) -> None:
    """Twelve steps and then, from the kept moments, a step: Adam's update of that step from an own formula over the slots."""
    config = TrainConfig(max_steps=1, warmup_steps=0, schedule="constant", weight_decay=0, keep_moments=True, **SMALL)
    train(dataset=windows[1], model=tmp_path / "model", config=config, warm_start=first_model)
    before, after = load_earlier_model(first_model), load_earlier_model(tmp_path / "model")
    assert int(after.optimizer.step.numpy()) == 13
    rows = before.scorer.item_embedding.tables[0].shape[0]
    first, second = (
        after.optimizer.slots[1][:rows].numpy(),
        after.optimizer.slots[1 + (len(after.optimizer.slots) - 1) // 2][:rows].numpy(),
    )
    moved = np.any(after.scorer.item_embedding.tables[0][:rows].numpy() != before.scorer.item_embedding.tables[0].numpy(), axis=1)
    assert 0 < moved.sum() < rows
    step = config.learning_rate * np.sqrt(1 - 0.999**13) / (1 - 0.9**13) * first / (np.sqrt(second) + 1e-8)
    expected = before.scorer.item_embedding.tables[0].numpy() - step
    np.testing.assert_allclose(after.scorer.item_embedding.tables[0][:rows].numpy()[moved], expected[moved], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("embedding", ["ev", "adaptive"])
def test_growing_tables_grow_by_what_is_admitted_and_shrink_by_what_is_evicted(windows, tmp_path, embedding) -> None:
    options = {**SMALL, "scorer": "two-sided", "embedding": embedding, "promote_after": 4, "shared_rows": 16, "keep_moments": True}
    first = train(dataset=windows[0], model=tmp_path / "first", config=TrainConfig(max_steps=20, **options)).metrics
    config = TrainConfig(max_steps=10, evict_after=9, **options)
    second = train(dataset=windows[1], model=tmp_path / "second", config=config, warm_start=tmp_path / "first").metrics
    assert second["items_added"] > 0
    assert min(second[name] for name in ("items_admitted", "items_evicted")) > 0
    assert second["item_rows"] == first["item_rows"] + second["items_admitted"] - second["items_evicted"]
    manifest = open_artifact(tmp_path / "second", step="train").metrics
    assert all(manifest[name] == second[name] for name in ("item_rows", "items_admitted", "items_evicted", "table_bytes"))
    before, after = (load_earlier_model(tmp_path / name) for name in ("first", "second"))
    old, new = (model.scorer.item_embedding.item_table.own.export() for model in (before, after))
    assert set(new.keys) - set(old.keys)
    assert len(set(old.keys) - set(new.keys)) > 0
    # What stays has been counted on, and was met within the steps that eviction allows.
    frequency = dict(zip(old.keys.tolist(), old.frequencies, strict=True))
    stayed = [key for key in new.keys.tolist() if key in frequency]
    assert len(stayed) > 0
    assert all(count >= frequency.get(key, 4) for key, count in zip(new.keys.tolist(), new.frequencies, strict=True))
    assert np.all(new.versions >= 30 - 1 - 9)
    # The optimizer's moments of the rows that are left, and of no others.
    slots = after.scorer.item_embedding.item_table.own.slots
    assert len(slots) == 2
    for _, slot in slots:
        assert slot.shape.rank == 2
        assert np.all(np.any(slot.numpy()[1 : 1 + len(new.keys)] != 0, axis=1))


def test_a_killed_warm_start_resumes_at_its_own_step(windows, first_model, tmp_path, monkeypatch) -> None:
    config = TrainConfig(max_steps=6, checkpoint_seconds=1e-9, log_steps=1, **{k: v for k, v in SMALL.items() if k != "log_steps"})
    train(dataset=windows[1], model=tmp_path / "whole", config=config, warm_start=first_model)

    from nann.training import loop

    class Killed(BaseException):
        pass

    add, calls = loop.Records.add, []

    def kill_at_the_fourth(self, record, **rest):
        calls.append(record["step"])
        if len(calls) == 4:
            raise Killed
        add(self, record, **rest)

    monkeypatch.setattr(loop.Records, "add", kill_at_the_fourth)
    with pytest.raises(Killed):
        train(dataset=windows[1], model=tmp_path / "killed", config=config, warm_start=first_model)
    monkeypatch.undo()
    assert (tmp_path / ".killed.partial" / "checkpoints" / "checkpoint").is_file()
    result = train(dataset=windows[1], model=tmp_path / "killed", config=config, warm_start=first_model)
    assert result.metrics["earlier_steps"] == 12
    for one, other in zip(load_model(tmp_path / "whole").variables, load_model(tmp_path / "killed").variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_moments_the_optimizer_begins_anew(windows, tmp_path) -> None:
    config = TrainConfig(max_steps=3, scorer="two-sided", **SMALL)
    train(dataset=windows[0], model=tmp_path / "plain", config=config)
    result = train(dataset=windows[1], model=tmp_path / "model", config=config, warm_start=tmp_path / "plain")
    assert result.metrics["earlier_steps"] == 0
    assert tf.reduce_all(tf.math.is_finite(load_model(tmp_path / "model").item_embedding.tables[0]))


def test_what_is_no_continuation_is_refused(windows, first_model, small_dataset, tmp_path) -> None:
    config = TrainConfig(max_steps=3, **SMALL)
    with pytest.raises(ArtifactError, match=r"converted with --base of it.*run `nann convert` again with --base"):
        train(dataset=small_dataset, model=tmp_path / "model", config=config, warm_start=first_model)
    with pytest.raises(ArtifactError, match=r"was trained with --emb-dim 8.*cannot have --emb-dim 4; give --emb-dim 8"):
        train(dataset=windows[1], model=tmp_path / "model", config=config.model_copy(update={"emb_dim": 4}), warm_start=first_model)
    with pytest.raises(ArtifactError, match="run `nann train` first"):
        train(dataset=windows[1], model=tmp_path / "model", config=config, warm_start=tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="epochs is 0, which trains nothing"):
        train(dataset=windows[1], model=tmp_path / "model", config=TrainConfig(epochs=0, **SMALL))
    assert not (tmp_path / "model").exists()


def test_the_command_takes_it(windows, first_model, tmp_path) -> None:
    arguments = ["train", "--dataset", windows[1], "--model", tmp_path / "model", "--warm-start", first_model, "--epochs", 0, "--quiet"]
    arguments += [part for name, value in SMALL.items() if name != "xla" for part in (f"--{name.replace('_', '-')}", value)]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "items_added" in result.stdout


def test_the_memory_of_new_events_is_added_to_the_earlier_one(windows, tmp_path) -> None:
    config = TrainConfig(max_steps=4, scorer="two-sided", **{**SMALL, "memory": "pairs"})
    train(dataset=windows[0], model=tmp_path / "first", config=config)
    train(dataset=windows[1], model=tmp_path / "second", config=config, warm_start=tmp_path / "first")
    first, second = load_memory(tmp_path / "first"), load_memory(tmp_path / "second")
    new_events = np.bincount(load_histories(windows[1]).item_rows, minlength=len(second.item_counts))
    before = np.pad(first.item_counts, (0, len(second.item_counts) - len(first.item_counts)))
    np.testing.assert_array_equal(second.item_counts, before + new_events)
    assert (second.options.activity, second.options.back) == (first.options.activity, first.options.back)
    assert second.totals.sum() > first.totals.sum()
