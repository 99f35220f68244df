"""The step `compare` and its command, on evaluations of untrained scorers."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from nann.config import CompareConfig, EvaluateConfig
from nann.errors import ArtifactError
from nann.steps.compare import compare
from nann.steps.evaluate import evaluate
from pipelines.cli import main

CONFIG = CompareConfig(ks=(5, 20), metrics=("recall", "mrr"))


@pytest.fixture(scope="module")
def evaluations(untrained_run: Any, untrained_string_run: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root, paths = tmp_path_factory.mktemp("evaluations"), {}
    for name, run, split in (
        ("test", untrained_run, "test"),
        ("validate", untrained_run, "validate"),
        ("other", untrained_string_run, "test"),
    ):
        config = EvaluateConfig(ks=(5, 20), curve_users=0, tune_users=0, split=split)
        paths[name] = root / name
        evaluate(converted_model=run.converted_model, dataset=run.artifacts["dataset"], evaluation=paths[name], config=config)
    without = EvaluateConfig(ks=(5, 20), curve_users=0, baselines=False)
    paths["none"] = root / "none"
    artifacts = untrained_run.artifacts
    evaluate(converted_model=untrained_run.converted_model, dataset=artifacts["dataset"], evaluation=paths["none"], config=without)
    return paths


def test_means_are_those_of_the_evaluations(evaluations: dict[str, Path]) -> None:
    found = compare(a=[evaluations["test"]], b="item_cf", config=CONFIG)
    metrics = json.loads((evaluations["test"] / "metrics.json").read_text())
    assert found.num_users == metrics["num_test_users"]
    for k in (5, 20):
        paired = found.figures[f"recall@{k}"]
        assert paired.mean_a == pytest.approx(metrics[f"recall_retrieval@{k}"])
        assert paired.mean_b == pytest.approx(metrics["baselines"]["item_cf"][f"recall@{k}"])
        assert found.figures[f"mrr@{k}"].mean_a == pytest.approx(metrics[f"mrr_retrieval@{k}"])
    every = compare(a=[evaluations["test"]] * 3, b=[evaluations["test"]], config=CONFIG.model_copy(update={"lists": "all"}))
    assert (every.seeds_a, every.seeds_b) == (3, 1)
    assert every.per_seed_a["recall@20"] == pytest.approx([metrics["recall_all@20"]] * 3)
    assert every.figures["recall@20"].difference == pytest.approx(0)


def test_the_best_baseline_is_that_of_each_length(evaluations: dict[str, Path]) -> None:
    metrics = json.loads((evaluations["test"] / "metrics.json").read_text())
    found = compare(a=[evaluations["test"]], b="best_baseline", config=CONFIG)
    best = metrics["best_baseline"]
    assert list(found.figures) == ["recall@5", "recall@20", "mrr@5", "mrr@20"]
    assert found.name_b == f"the best baseline ({best['name@5']} @5, {best['name@20']} @20)"
    for k in (5, 20):
        own = compare(a=[evaluations["test"]], b=best[f"name@{k}"], config=CONFIG)
        for metric in ("recall", "mrr"):
            assert found.figures[f"{metric}@{k}"] == own.figures[f"{metric}@{k}"]
            assert found.per_seed_b[f"{metric}@{k}"] == own.per_seed_b[f"{metric}@{k}"]
        assert found.figures[f"recall@{k}"].mean_b == best[f"recall@{k}"]
        assert found.figures[f"recall@{k}"].ratio == metrics[f"ratio_to_best_baseline@{k}"]
    with pytest.raises(ArtifactError, match="holds no baseline to compare with; run `nann evaluate` with --baselines"):
        compare(a=[evaluations["none"]], b="best_baseline", config=CONFIG)


def test_other_users_and_longer_lists_are_refused(evaluations: dict[str, Path], untrained_run: Any) -> None:
    with pytest.raises(ArtifactError, match="of whom 0 are the same; compare evaluations of the same split"):
        compare(a=[evaluations["test"]], b=[evaluations["validate"]], config=CONFIG)
    with pytest.raises(ArtifactError, match=r"of whom \d+ are the same|held-out item"):
        compare(a=[evaluations["test"]], b=[evaluations["other"]], config=CONFIG)
    with pytest.raises(ArtifactError, match="lists of 20 items, but K = 50"):
        compare(a=[evaluations["test"]], b="item_cf", config=CompareConfig(ks=(50,)))
    with pytest.raises(ArtifactError, match="made by `nann rewrite`"):
        compare(a=[untrained_run.converted_model], b="item_cf", config=CONFIG)


def test_the_command(evaluations: dict[str, Path], tmp_path: Path) -> None:
    path = str(evaluations["test"])
    done = CliRunner().invoke(main, ["compare", path, "item_cf", "--ks", "5,20", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    users = pq.read_table(evaluations["test"] / "users.parquet")
    ranks = users["rank_item_cf"].to_numpy()
    assert found["figures"]["recall@20"]["mean_b"] == pytest.approx(np.mean((ranks > 0) & (ranks <= 20)))
    best = CliRunner().invoke(main, ["compare", path, "best_baseline", "--ks", "5,20"])
    assert "B: the best baseline (" in best.stdout
    page = tmp_path / "pages" / "a-b.html"
    table = CliRunner().invoke(main, ["compare", f"{path},{path}", path, "--ks", "20", "--page", str(page)])
    assert "(mean of 2 seeds)" in table.stdout
    text = page.read_text(encoding="utf-8")
    for part in ("Not decided, the interval of the difference holds 0", "(mean of 2 seeds)", "Seed by seed", "+0.0000"):
        assert part in text
    assert "recall@20" in table.stdout
    refused = CliRunner().invoke(main, ["compare", path, "no_such_baseline", "--ks", "20"])
    assert refused.exit_code == 1
    assert "it has all, retrieval, popularity" in refused.stderr


def test_the_command_finds_evaluations_in_runs_and_in_directories_of_seeds(evaluations: dict[str, Path], tmp_path: Path) -> None:
    for place in ("run/evaluation", "seeded/seed_runs/seed-2/evaluation", "seeded/seed_runs/seed-10/evaluation"):
        shutil.copytree(evaluations["test"], tmp_path / place)
    arguments = ["compare", "--ks", "5,20", "--json"]
    for a, seeds in (("run", 1), ("seeded", 2), ("seeded/seed_runs", 2)):
        done = CliRunner().invoke(main, [*arguments, str(tmp_path / a), str(tmp_path / "run")])
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert (found["seeds_a"], found["seeds_b"]) == (seeds, 1)
        assert found["figures"]["recall@20"]["difference"] == pytest.approx(0)
    assert found["name_a"] == ", ".join(str(tmp_path / f"seeded/seed_runs/seed-{seed}/evaluation") for seed in (2, 10))
    empty = CliRunner().invoke(main, [*arguments, str(tmp_path), str(tmp_path / "run")])
    assert empty.exit_code == 1
    assert f"error: {tmp_path} holds no evaluation; run `nann evaluate` there" in empty.stderr
