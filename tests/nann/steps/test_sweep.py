"""The step `sweep` on a small dataset: what it chooses, that it resumes, that its trials are trainings like any other."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nann.config import SweepConfig, TrainConfig
from nann.errors import TrainingError
from nann.steps.sweep import JOURNAL_NAME, sweep
from nann.steps.train import train
from nann.sweeping.space import SpaceError
from pipelines.cli import main

BASE = TrainConfig(scorer="two-sided", emb_dim=8, batch_size=64, max_steps=40, num_neg=32, xla=False, warmup_steps=0)
SPACE = {"train.learning_rate": [1e-9, 1e-2, 3e-3]}
CONFIG = SweepConfig(rungs=(0.25, 1.0), keep=0.5, users=40)


@pytest.fixture(scope="module")
def swept(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("swept") / "sweep"
    sweep(dataset=small_dataset, sweep=path, steps={"train": BASE}, space=SPACE, config=CONFIG)
    return path


def test_the_best_trial_is_chosen_and_the_rest_stopped(swept: Path) -> None:
    found = json.loads((swept / "sweep.json").read_text())
    assert [len(trial["recall"]) for trial in found["trials"]].count(2) == 2
    finished = [trial for trial in found["trials"] if trial["status"] == "finished"]
    assert found["trials"][found["chosen"]]["recall"][1] == max(trial["recall"][1] for trial in finished)
    first = {trial["trial"]: trial["recall"][0] for trial in found["trials"]}
    stopped = next(trial["trial"] for trial in found["trials"] if trial["status"] == "stopped")
    assert first[stopped] == min(first.values())
    chosen = found["trials"][found["chosen"]]["settings"]["train.learning_rate"]
    assert (swept / "chosen.yaml").read_text() == f"train:\n  learning_rate: {json.dumps(chosen)}\n"
    assert not (swept / JOURNAL_NAME).exists()
    assert "svg" in (swept / "report.html").read_text()


def test_a_trial_is_a_training_like_any_other(swept: Path, small_dataset: Path, tmp_path: Path) -> None:
    found = json.loads((swept / "sweep.json").read_text())
    best = found["trials"][found["chosen"]]
    config = BASE.model_copy(
        update={"memory": "none", "learning_rate": best["settings"]["train.learning_rate"], "validate_users": 40, "validations": 1}
    )
    alone = train(dataset=small_dataset, model=tmp_path / "model", config=config)
    assert alone.metrics["recall_all@200"] == best["recall"][-1]


def _endless(dataset: Path, path: Path) -> None:
    sweep(dataset=dataset, sweep=path, steps={"train": BASE}, space=SPACE, config=CONFIG)


def test_a_killed_sweep_goes_on(swept: Path, small_dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    process = multiprocessing.get_context("spawn").Process(target=_endless, args=(small_dataset, path))
    process.start()
    journal = tmp_path / ".sweep.partial" / JOURNAL_NAME
    while not (journal.is_file() and journal.read_text().count("\n") >= 1) and process.is_alive():
        time.sleep(0.02)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert not path.exists()
    known = [json.loads(line) for line in journal.read_text().splitlines(keepends=True) if line.endswith("\n")]
    sweep(dataset=small_dataset, sweep=path, steps={"train": BASE}, space=SPACE, config=CONFIG)
    found, uninterrupted = (json.loads((root / "sweep.json").read_text()) for root in (path, swept))
    for outcome in known:  # what was done was not done again: even its duration is the same
        assert found["trials"][outcome["trial"]]["seconds"][outcome["rung"]] == outcome["seconds"]
    assert [trial["recall"] for trial in found["trials"]] == [trial["recall"] for trial in uninterrupted["trials"]]
    assert sweep(dataset=small_dataset, sweep=path, steps={"train": BASE}, space=SPACE, config=CONFIG).reused


def test_failed_trials_are_named_and_all_failed_is_an_error(small_dataset: Path, tmp_path: Path) -> None:
    space = {"train.learning_rate": [1e38, 1e-2]}
    base = BASE.model_copy(update={"log_steps": 1})
    sweep(dataset=small_dataset, sweep=tmp_path / "one", steps={"train": base}, space=space, config=CONFIG)
    failed, fine = json.loads((tmp_path / "one" / "sweep.json").read_text())["trials"]
    assert failed["status"] == "failed"
    assert "the loss is" in failed["error"]
    assert fine["status"] == "finished"
    with pytest.raises(TrainingError, match="every trial failed"):
        sweep(
            dataset=small_dataset, sweep=tmp_path / "two", steps={"train": base}, space={"train.learning_rate": [1e38, 2e38]}, config=CONFIG
        )
    with pytest.raises(SpaceError, match="one combination"):
        sweep(dataset=small_dataset, sweep=tmp_path / "three", steps={"train": base}, space={"train.epochs": [1]}, config=CONFIG)


def test_the_command_prints_the_trials(small_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("train.num_neg: [8, 16]\n")
    (tmp_path / "config.yaml").write_text("train:\n  scorer: two-sided\n  emb_dim: 8\n  max_steps: 5\n  xla: false\n")
    options: list[Any] = ["--dataset", small_dataset, "--sweep", tmp_path / "sweep", "--space", tmp_path / "space.yaml"]
    options += ["--config", tmp_path / "config.yaml", "--rungs", "1", "--users", "20", "--set", "train.batch_size=32", "--quiet"]
    done = CliRunner().invoke(main, ["sweep", *map(str, options)])
    assert done.exit_code == 0, done.output
    assert "num_neg" in done.stdout
    assert "finished" in done.stdout
    params = json.loads((tmp_path / "sweep" / "manifest.json").read_text())["params"]
    assert (params["base"]["batch_size"], params["base"]["emb_dim"]) == (32, 8)
    there = json.loads((small_dataset / "meta.json").read_text())["num_samples"]["validate"]
    more = [*options[:3], tmp_path / "more", *options[4:], "--users", 10 * there]
    done = CliRunner().invoke(main, ["sweep", *map(str, more)])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "more" / "sweep.json").read_text())["num_users"] == there
    assert f"on {there:,} validation users" in (tmp_path / "more" / "report.html").read_text()
    assert f"the dataset has {there} validation users, {10 * there:,} were asked for" in done.stderr
    refused = CliRunner().invoke(main, ["sweep", *map(str, options), "--set", "rewrite.top_k=5"])
    assert refused.exit_code == 2
    (tmp_path / "space.yaml").write_text("rewrite.top_k: [5, 6]\n")
    wrong = CliRunner().invoke(main, ["sweep", *map(str, options)])
    assert wrong.exit_code == 1
    assert "cannot be swept" in wrong.stderr
