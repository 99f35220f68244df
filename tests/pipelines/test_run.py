"""The whole DAG on a tiny generated log, through kfp's local runner, and the single-step commands on what it left."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nann.steps.table import NAMES_OF, TRAINING_STEPS
from pipelines.cli import main
from pipelines.runner import read_timings

CONFIG = """
generate: {users: 150, items: 120, categories: 6, events_per_user: 12}
convert: {shards: 1, max_length: 10}
train: {emb_dim: 4, batch_size: 64, num_neg: 8, max_steps: 12, xla: false}
rewrite: {ef: [50, 10], rounds: [2, 1], top_k: 50}
evaluate: {ks: [20, 50], curve_users: 0}
benchmark: {warmup_seconds: 0, duration_seconds: 0.2}
"""


def nann(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dag")
    (directory / "config.yaml").write_text(CONFIG)
    result = nann("pipeline", "run", "--run-dir", directory / "run", "--config", directory / "config.yaml")
    assert result.exit_code == 0, result.output
    (directory / "stdout").write_text(result.stdout)
    (directory / "stderr").write_text(result.stderr)
    return directory / "run"


def test_every_step_left_its_artifact_log_and_timing(run_dir: Path) -> None:
    for step in TRAINING_STEPS:
        assert (run_dir / step.writes / "manifest.json").is_file()
        assert f"step {step.name} done after" in (run_dir / "logs" / f"{step.name}.log").read_text()
    entries = read_timings(run_dir / "steps.jsonl")[: len(TRAINING_STEPS)]
    assert [entry["step"] for entry in entries] == list(NAMES_OF["training"])
    assert all(entry["status"] == "done" and not entry["reused"] for entry in entries)
    metrics = json.loads((run_dir / "evaluation" / "metrics.json").read_text())
    assert {"recall_all@50", "recall_retrieval@50", "coverage@50", "baselines", "items_scored_share"} <= set(metrics)


def test_the_tables_end_with_the_report(run_dir: Path) -> None:
    text = (run_dir.parent / "stdout").read_text()
    for part in (*NAMES_OF["training"], "recall_all@", "coverage", "baseline popularity", "baseline item_cf", "p50_ms"):
        assert part in text
    assert "warning: " in text
    assert "test users are few" in text
    for number, step in enumerate(NAMES_OF["training"], 1):
        assert f"step {number} of {len(NAMES_OF['training'])}: {step}\n" in (run_dir.parent / "stderr").read_text()
    assert text.splitlines()[-1] == f"report: {run_dir / 'report' / 'report.html'}"


def test_kfp_has_metrics_summaries_and_the_page(run_dir: Path) -> None:
    summaries = [path.parent.name for path in (run_dir / "kfp").rglob("summary")]
    assert sorted(summaries) == sorted([*NAMES_OF["training"], "summarise"])
    pages = {path.parent.name: path.read_text() for path in (run_dir / "kfp").rglob("page")}
    assert set(pages) == set(NAMES_OF["training"])
    for step in TRAINING_STEPS:
        own = run_dir / step.writes / "report.html"
        assert pages[step.name] == own.read_text() if own.is_file() else f"<h1>{step.name}</h1>" in pages[step.name]
    outputs = json.loads(next((run_dir / "kfp").rglob("evaluate/executor_output.json")).read_text())
    assert outputs["artifacts"]["evaluation"]["artifacts"][0]["uri"] == str(run_dir / "evaluation")
    assert "recall_all@50" in outputs["artifacts"]["metrics"]["artifacts"][0]["metadata"]


def test_the_summary_goes_from_the_report_back_to_the_bytes_of_the_log(run_dir: Path) -> None:
    summary = json.loads((run_dir / "summary.json").read_text())
    assert (summary["state"], summary["failed_step"], summary["error"], summary["broken"]) == ("SUCCEEDED", "", "", [])
    assert [entry["step"] for entry in summary["steps"]] == list(NAMES_OF["training"])
    made = {link["name"]: link for link in summary["lineage"]}
    assert summary["lineage"][0]["name"] == "report"
    # Walked by hand: every digest is that of the manifest it names, down to the log's own bytes.
    waiting, seen = ["report"], set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        assert made[name]["digest"] == hashlib.sha256((run_dir / name / "manifest.json").read_bytes()).hexdigest()
        for source, digest in made[name]["inputs"].items():
            if source == "log:log.csv":
                assert digest == hashlib.sha256((run_dir / "log.csv").read_bytes()).hexdigest()
                seen.add(source)
            else:
                assert digest == made[source]["digest"]
                waiting.append(source)
    assert seen == {"log:log.csv", *(step.writes for step in TRAINING_STEPS)}
    [page] = [path for path in (run_dir / "kfp").rglob("summary") if path.parent.name == "summarise"]
    assert page.read_text().startswith("# SUCCEEDED\n")


@pytest.mark.parametrize("step", [step for step in TRAINING_STEPS if step.name != "convert"], ids=lambda step: step.name)
def test_a_single_step_finds_its_work_done(run_dir: Path, step) -> None:
    # The same parameters reach a step from the command line and through the DAG, or this would refuse to replace the artifact.
    config = ("--config", run_dir / "logs" / f"{step.name}.yaml") if step.config else ()
    result = nann(step.name, "--output-root", run_dir, *config, "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(f"{run_dir / step.writes} (was up to date)\n")


def test_a_second_run_keeps_everything(run_dir: Path) -> None:
    before = len(read_timings(run_dir / "steps.jsonl"))
    result = nann("pipeline", "run", "--run-dir", run_dir, "--config", run_dir / "config.yaml", "--quiet")
    assert result.exit_code == 0, result.output
    assert all(entry["reused"] for entry in read_timings(run_dir / "steps.jsonl")[before:])
    assert re.search(r"step 2 of \d+: train, (less than a minute|about .*) left\n", result.stderr)


def test_start_from_runs_anew_from_there(run_dir: Path) -> None:
    before = len(read_timings(run_dir / "steps.jsonl"))
    # Another config of an earlier step does not matter: its artifact is taken as it is.
    arguments = (
        "--config",
        run_dir / "config.yaml",
        "--set",
        "train.epochs=3",
        "--set",
        "benchmark.batch_size=2",
        "--start-from",
        "benchmark",
    )
    result = nann("pipeline", "run", "--run-dir", run_dir, *arguments, "--quiet")
    assert result.exit_code == 0, result.output
    entries = read_timings(run_dir / "steps.jsonl")[before:]
    assert [entry["step"] for entry in entries if not entry["reused"]] == ["benchmark", "report"]


def test_both_ways_to_infer_agree(run_dir: Path) -> None:
    history = ",".join(line.split(",")[1] for line in (run_dir / "log.csv").read_text().splitlines()[:4])
    model = run_dir / "converted_model"
    portable = nann("infer", "--item-ids", history, "--output-root", run_dir, "--top-k", 5, "--json", "--quiet")
    linked = nann(
        *("infer", "--item-ids", history, "--graph-file", model / "frozen_graph.pb", "--meta-path", model / "0.meta"),
        *("--top-k", 5, "--json", "--quiet"),
    )
    assert (portable.exit_code, linked.exit_code) == (0, 0), portable.output + linked.output
    found, same = json.loads(portable.stdout), json.loads(linked.stdout)
    assert len(found) == 5
    assert [entry["item_id"] for entry in found] == [entry["item_id"] for entry in same]
    assert [entry["score"] for entry in found] == pytest.approx([entry["score"] for entry in same], rel=1e-5)
    table = nann("infer", "--item-ids", history, "--output-root", run_dir, "--top-k", 5, "--quiet")
    assert table.stdout.splitlines()[0].split() == ["rank", "item_id", "score"]
