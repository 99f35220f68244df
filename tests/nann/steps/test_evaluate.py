"""The step `evaluate`: figures follow from the users' table, the scan is a scan, both exported forms agree, foreign inputs are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from nann.artifacts import open_artifact
from nann.config import EvaluateConfig
from nann.dataset import load_histories, load_items, load_samples
from nann.errors import ArtifactError
from nann.index import load_embeddings
from nann.models import load_max_length, load_model
from nann.retrieval import HistoryScorer
from nann.steps.evaluate import evaluate

BASELINES = ("popularity", "popularity_recent", "category_popularity", "repeat_last", "item_cf", "vsknn", "sequential_rules")
CONFIG = EvaluateConfig(ks=(5, 20), curve_users=10, batch_size=8, exclude_history=True)


@pytest.fixture(scope="module")
def evaluated(untrained_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evaluated") / "evaluation"
    run_evaluate(untrained_run, path, CONFIG)
    return path


def run_evaluate(run: Any, path: Path, config: EvaluateConfig) -> Any:
    return evaluate(converted_model=run.converted_model, dataset=run.artifacts["dataset"], evaluation=path, config=config)


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return json.loads((path / "metrics.json").read_text()), pq.read_table(path / "users.parquet").to_pylist()


def test_figures_follow_from_the_users_table(evaluated: Path, untrained_run: Any) -> None:
    metrics, users = read(evaluated)
    count = len(users)
    assert metrics["num_test_users"] == count
    for k in (5, 20):
        hits = {name: [0 < user[f"rank_{name}"] <= k for user in users] for name in ("all", "retrieval", *BASELINES)}
        assert metrics[f"recall_all@{k}"] == pytest.approx(sum(hits["all"]) / count)
        assert metrics[f"recall_retrieval@{k}"] == pytest.approx(sum(hits["retrieval"]) / count)
        for name in BASELINES:
            assert metrics["baselines"][name][f"recall@{k}"] == pytest.approx(sum(hits[name]) / count)
        covered = [len(set(user["retrieved"][:k]) & set(user["exact"][:k])) / k for user in users]
        assert metrics[f"coverage@{k}"] == pytest.approx(sum(covered) / count)
        assert metrics[f"precision@{k}"] == pytest.approx(metrics[f"recall_retrieval@{k}"] / k)
        share = sum(hits["retrieval"]) / count
        assert metrics["standard_errors"][f"recall_retrieval@{k}"] == pytest.approx((share * (1 - share) / (count - 1)) ** 0.5)
    samples = load_samples(untrained_run.artifacts["dataset"], "test")
    held_out = dict(zip(samples.user_ids.tolist(), samples.histories.tolist(), strict=True))
    assert all(user["history"] == [row for row in held_out[user["user_id"]] if row] for user in users)
    for figures, ranges in (
        (metrics, metrics["intervals"]),
        *((metrics["baselines"][n], metrics["intervals"]["baselines"][n]) for n in BASELINES),
    ):
        for name, interval in ranges.items():
            if name != "baselines" and figures[name] is not None:
                assert interval[0] <= figures[name] <= interval[1], name
    options = metrics["baseline_options"]
    assert metrics["baseline_bounds"] == {}  # the log is short
    for name, parameter in (("item_cf", "decay"), ("popularity_recent", "hours")):
        tried = options[name]["tried"]
        assert tried[f"{options[name][parameter]:g}"] == max(tried.values())
        assert options[name]["num_users"] == len(load_samples(untrained_run.artifacts["dataset"], "validate").targets)
    assert list(metrics["baselines"]) == sorted(BASELINES)
    for k in (5, 20):
        best = metrics["best_baseline"][f"name@{k}"]
        recalls = {name: metrics["baselines"][name][f"recall@{k}"] for name in BASELINES}
        assert recalls[best] == max(recalls.values()) == metrics["best_baseline"][f"recall@{k}"]
        ratio = metrics[f"ratio_to_best_baseline@{k}"]
        assert ratio == pytest.approx(metrics[f"recall_retrieval@{k}"] / recalls[best])
    low, high = metrics["intervals"]["ratio_to_best_baseline@20"]
    assert low <= metrics["ratio_to_best_baseline@20"] <= high
    for division in metrics["groups"].values():
        assert sum(group["users"] for group in division) == count
        found = sum(group["users"] * group["recall_retrieval@20"] for group in division)
        assert found == pytest.approx(count * metrics["recall_retrieval@20"])
    assert "test users are few" in metrics["warnings"][0]
    assert metrics["warnings"][0][1:] in (evaluated / "report.html").read_text()  # in its verdict
    assert metrics["items_scored_mean"] == pytest.approx(sum(user["items_scored"] for user in users) / count)
    assert metrics["items_scored_share"] == pytest.approx(metrics["items_scored_mean"] / metrics["num_items"])


def test_the_exact_lists_are_a_scan_with_the_model(evaluated: Path, untrained_run: Any) -> None:
    paths = untrained_run.artifacts
    _, users = read(evaluated)
    samples, items = load_samples(paths["dataset"], "test"), load_items(paths["dataset"])
    embeddings = load_embeddings(paths["embeddings"])
    scorer = HistoryScorer(load_model(paths["model"]), max_length=load_max_length(paths["model"]))
    histories = samples.histories.astype(np.int64)
    state = scorer.user_state(histories, items.category_rows.astype(np.int64)[histories])
    scores = scorer.score(state, embeddings.vectors[np.newaxis]).numpy()
    for user, row in zip(users, scores, strict=True):
        found = row[np.searchsorted(embeddings.item_rows, user["exact"])]
        assert found == pytest.approx(np.sort(row)[::-1][:20], rel=1e-4, abs=1e-5)
    assert [user["target_row"] for user in users] == samples.targets.tolist()
    assert [user["user_id"] for user in users] == samples.user_ids.tolist()


def test_popularity_counts_training_users_only(evaluated: Path, untrained_run: Any) -> None:
    histories = load_histories(untrained_run.artifacts["dataset"])
    counts = np.bincount(histories.item_rows)
    popular = sorted(range(1, len(counts)), key=lambda row: (-counts[row], row))[:20]
    _, users = read(evaluated)
    for user in users:
        rank = popular.index(user["target_row"]) + 1 if user["target_row"] in popular else 0
        assert user["rank_popularity"] == rank


def test_the_exported_point_of_the_curve_is_the_exported_graph(untrained_run: Any, tmp_path: Path) -> None:
    """On the same users the walk with the exported parameters finds what the exported graph finds."""
    config = EvaluateConfig(ks=(5, 20), split="validate", curve_users=10_000, batch_size=8, baselines=False)
    run_evaluate(untrained_run, tmp_path / "evaluation", config)
    metrics, _ = read(tmp_path / "evaluation")
    curve = json.loads((tmp_path / "evaluation" / "curve.json").read_text())
    assert metrics["split"] == "validate"
    assert metrics["baselines"] == metrics["best_baseline"] == {}
    assert "ratio_to_best_baseline@5" not in metrics
    assert curve["num_users"] == metrics["num_test_users"]
    (point,) = [point for point in curve["points"] if point["exported"]]
    assert point["items_scored_mean"] == pytest.approx(metrics["items_scored_mean"])
    for k in (5, 20):
        assert point[f"recall@{k}"] == pytest.approx(metrics[f"recall_retrieval@{k}"])
        assert point[f"coverage@{k}"] == pytest.approx(metrics[f"coverage@{k}"])
        assert curve["exact"][f"recall_all@{k}"] == pytest.approx(metrics[f"recall_all@{k}"])
    scored = [point["items_scored_mean"] for point in curve["points"]]
    assert scored == sorted(scored)


def test_both_exported_forms_and_both_runs_agree(evaluated: Path, untrained_run: Any, tmp_path: Path) -> None:
    run_evaluate(untrained_run, tmp_path / "meta", CONFIG.model_copy(update={"graph": "meta"}))
    run_evaluate(untrained_run, tmp_path / "again", CONFIG)
    for name in ("metrics.json", "users.parquet", "curve.json", "report.html"):
        assert (tmp_path / "again" / name).read_bytes() == (evaluated / name).read_bytes()
        if name != "report.html":  # which names the option
            assert (tmp_path / "meta" / name).read_bytes() == (evaluated / name).read_bytes()
    assert open_artifact(tmp_path / "again", step="evaluate").digest == open_artifact(evaluated, step="evaluate").digest


def test_the_history_is_left_out(evaluated: Path, untrained_run: Any) -> None:
    metrics, users = read(evaluated)
    found = metrics["without_history"]
    new = [user for user in users if not user["target_in_history"]]
    histories = load_samples(untrained_run.artifacts["dataset"], "test").histories
    assert found["num_users"] == len(new)
    for k in (5, 20):
        taken = [len(set(user["retrieved"][:k]) & set(rows.tolist())) / k for user, rows in zip(users, histories, strict=True)]
        assert found[f"history_share@{k}"] == pytest.approx(np.mean(taken))
        assert found[f"coverage@{k}"] == 1  # so small a corpus is scanned
        assert found[f"recall_retrieval@{k}"] == found[f"recall_all@{k}"] >= found[f"recall_unfiltered@{k}"]
        assert found[f"recall_unfiltered@{k}"] == pytest.approx(np.mean([0 < user["rank_retrieval"] <= k for user in new]))
    assert "Without the items of the history" in (evaluated / "report.html").read_text()


def test_string_ids_a_part_of_the_users_and_no_curve(untrained_string_run: Any, tmp_path: Path) -> None:
    config = EvaluateConfig(ks=(20,), max_users=7, curve_users=0)
    result = run_evaluate(untrained_string_run, tmp_path / "evaluation", config)
    _, users = read(tmp_path / "evaluation")
    item_ids = load_items(untrained_string_run.artifacts["dataset"]).item_ids
    assert result.metrics["num_test_users"] == len(users) == 7
    assert "standard_errors" not in result.metrics
    assert [user["target_item_id"] for user in users] == [item_ids[user["target_row"]] for user in users]
    assert not (tmp_path / "evaluation" / "curve.json").exists()
    assert run_evaluate(untrained_string_run, tmp_path / "evaluation", config).reused


def test_what_cannot_be_evaluated_is_refused_before_any_work(untrained_run: Any, untrained_string_run: Any, tmp_path: Path) -> None:
    path = tmp_path / "evaluation"
    with pytest.raises(ArtifactError, match=r"nann rewrite.*belongs to dataset"):
        evaluate(
            converted_model=untrained_run.converted_model, dataset=untrained_string_run.artifacts["dataset"], evaluation=path, config=CONFIG
        )
    with pytest.raises(ArtifactError, match="returns 20 items, but metrics at K = 200"):
        run_evaluate(untrained_run, path, EvaluateConfig())
    with pytest.raises(ArtifactError, match="made by `nann convert`"):
        evaluate(converted_model=untrained_run.artifacts["dataset"], dataset=path, evaluation=path, config=CONFIG)
    assert list(tmp_path.iterdir()) == []
