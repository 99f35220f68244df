"""`nann train` with the default scorer, from the command line: what it refuses, and a limit of time."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from nann.artifacts import open_artifact
from nann.models import build_model, config_of, load_model
from nann.training.schedule import PLAN
from pipelines.cli import main

SMALL = shlex.split(
    "--memory none --emb-dim 8 --num-neg 16 --batch-size 16 --max-length 10 --no-xla --validate-users 0 --warmup-steps 4 --quiet"
)


def train(dataset: Path, model: Path, *options: str | Path | int) -> Result:
    return CliRunner().invoke(main, ["train", "--dataset", str(dataset), "--model", str(model), *SMALL, *map(str, options)])


@pytest.mark.parametrize("option", ["negatives", "teacher"])
def test_what_needs_one_history_per_target_is_refused(small_dataset: Path, tmp_path: Path, option: str) -> None:
    if option == "teacher":
        assert train(small_dataset, tmp_path / "teacher", "--scorer", "two-sided", "--max-steps", 2).exit_code == 0
    found = train(small_dataset, tmp_path / "model", f"--{option}", {"negatives": "per-sample", "teacher": tmp_path / "teacher"}[option])
    assert found.exit_code == 1
    assert f"goes without --{option}" in found.output
    assert "take --scorer nann" in found.output
    assert not (tmp_path / "model").exists()


def test_a_limit_of_time_is_one_of_steps_that_gives_the_same_model(small_dataset: Path, tmp_path: Path) -> None:
    done = train(small_dataset, tmp_path / "timed", "--max-minutes", 1e-4, "--epochs", 50)
    assert done.exit_code == 0
    assert "WARNING nann.steps.train: training was cut short by --max-minutes 0.0001, after 40 steps" in done.stderr
    assert "cut short" in open_artifact(tmp_path / "timed", step="train").metrics["warnings"][0]
    steps = open_artifact(tmp_path / "timed", step="train").metrics["steps"]
    assert steps == 40  # what a limit leaves at least: ten times the warm-up
    assert not (tmp_path / "timed" / PLAN).exists()
    assert train(small_dataset, tmp_path / "counted", "--max-steps", steps, "--epochs", 50).exit_code == 0
    timed, counted = (load_model(tmp_path / name).variables for name in ("timed", "counted"))
    for one, two in zip(timed, counted, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_a_limit_that_is_far_away_changes_nothing(small_dataset: Path, tmp_path: Path) -> None:
    assert train(small_dataset, tmp_path / "model", "--max-minutes", 1000, "--max-steps", 60, "--epochs", 50).exit_code == 0
    assert open_artifact(tmp_path / "model", step="train").metrics["steps"] == 60


def test_what_candidates_teach_without_their_ids(small_dataset: Path, tmp_path: Path) -> None:
    """Where ids are left out, of histories and of candidates, the rows of items stay as they were drawn and those of categories learn."""
    moved = {}
    for share in (0.0, 0.99):
        model = tmp_path / str(share)
        assert train(small_dataset, model, "--max-steps", 8, "--id-dropout", 0.99, "--candidate-id-dropout", share).exit_code == 0
        trained = load_model(model).item_embedding
        first = build_model(config_of(model), num_items=500, num_categories=20).item_embedding
        for name in ("item_table", "category_table"):
            before, after = (getattr(embedding, name).levels[0].numpy()[1:] for embedding in (first, trained))
            moved[name, share] = (before != after).any(axis=1).mean()
    assert moved["item_table", 0.99] < 0.1 * moved["item_table", 0.0]
    assert moved["category_table", 0.99] == moved["category_table", 0.0] == 1
