"""The weights a training ends with, and when it ends early."""

import json
import shlex
from pathlib import Path

import pytest
import tensorflow as tf
from click.testing import CliRunner

from nann.artifacts import open_artifact
from nann.training.records import BestWeights, Records, recall_of
from pipelines.cli import main

SMALL = shlex.split("--memory none --emb-dim 8 --num-neg 16 --batch-size 64 --max-length 8 --no-xla --scorer two-sided --validate-users 60")


def record(step: int, recall: float) -> dict[str, float]:
    return {"step": step, "recall_all@50": recall, "recall_all@200": recall + 0.1}


@pytest.mark.parametrize(("recalls", "kept"), [((0.1, 0.4, 0.3), 20), ((0.1, 0.2, 0.3), 30), ((0.4, 0.4, 0.1), 10), ((), 30)])
def test_the_best_weights_are_taken(tmp_path: Path, recalls: tuple[float, ...], kept: int) -> None:
    weights, records = tf.Variable([0.0]), Records(tmp_path)
    best = BestWeights(tf.train.Checkpoint(weights=weights), tmp_path / "best", records)
    for number in range(3):
        step = 10 * (number + 1)
        weights.assign([float(step)])
        entry = record(step, recalls[number]) if recalls else {"step": step}
        best.offer(entry)
        records.add(entry, samples_per_s=1.0)
    assert best.take() == kept
    assert weights.numpy().tolist() == [float(kept)]
    assert best.take() == kept  # a run that is killed after this takes them again


@pytest.mark.parametrize("change", [{"recall_all@50": "x"}, {"samples_per_s": None}, {"step": -1}, {"recall_all@200": [1]}])
def test_a_damaged_record_and_those_after_it_do_not_count(tmp_path: Path, change: dict[str, object]) -> None:
    lines = [record(step, 0.2) | {"samples_per_s": 1.0} | (change if step == 20 else {}) for step in (10, 20, 30)]
    (tmp_path / "training.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    records = Records(tmp_path)
    assert records.last() == records.best() == record(10, 0.2) | {"samples_per_s": 1.0}
    records.finish()


def test_measurements_since_the_best_are_counted(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for step, recall in ((10, 0.2), (20, 0.5), (30, 0.5), (40, 0.1)):
        records.add(record(step, recall), samples_per_s=1.0)
        records.add({"step": step + 5}, samples_per_s=1.0)
    assert [entry["step"] for entry in records.since_best()] == [30, 40]
    assert records.best()["step"] == 20
    assert recall_of({"step": 1}) is None


def train(root: Path, dataset: Path, *options: str) -> dict[str, float]:
    result = CliRunner().invoke(main, ["train", "--dataset", str(dataset), "--model", str(root / "model"), *SMALL, *options])
    assert result.exit_code == 0, result.output
    return open_artifact(root / "model", step="train").metrics


def test_a_training_ends_when_recall_no_longer_grows(small_dataset: Path, tmp_path: Path) -> None:
    """With hardly any learning recall stands still, but for what the batches' statistics do to it."""
    metrics = train(tmp_path, small_dataset, "--max-steps", "200", "--validations", "20", "--patience", "2", "--learning-rate", "1e-12")
    records = json.loads((tmp_path / "model" / "training.json").read_text())
    recalls = [recall_of(entry) for entry in records if recall_of(entry) is not None]
    assert metrics["steps"] == records[-1]["step"] < 200
    best = recalls.index(max(recalls))
    assert len(recalls) == best + 3
    assert metrics["kept_step"] == 10 * (best + 1)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_what_is_kept_is_what_was_measured(small_dataset: Path, tmp_path: Path, keep: str) -> None:
    metrics = train(tmp_path, small_dataset, "--max-steps", "60", "--validations", "6", "--keep", keep, "--learning-rate", "0.3")
    records = {entry["step"]: entry for entry in json.loads((tmp_path / "model" / "training.json").read_text())}
    measured = {step: recall_of(entry) for step, entry in records.items() if recall_of(entry) is not None}
    best = max(measured, key=lambda step: (measured[step], -step))
    assert metrics["kept_step"] == (best if keep == "best" else 60)
    assert metrics["recall_all@50"] == records[metrics["kept_step"]]["recall_all@50"]
    assert not {"best", "checkpoints", "training.jsonl"} & {path.name for path in (tmp_path / "model").iterdir()}
