"""The step `report`: one page of one run, whose parts must belong together."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from nann.config import BenchmarkConfig, EvaluateConfig, ReportConfig
from nann.dataset import load_items
from nann.errors import ArtifactError
from nann.reporting.run_page import StepTiming
from nann.steps.benchmark import benchmark
from nann.steps.evaluate import evaluate
from nann.steps.report import read_timings, report
from pipelines.cli import main


@pytest.fixture(scope="module")
def artifacts(untrained_run: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("measured")
    inputs = {"converted_model": untrained_run.converted_model, "dataset": untrained_run.artifacts["dataset"]}
    evaluate(**inputs, evaluation=root / "evaluation", config=EvaluateConfig(ks=(20,), curve_users=0))
    benchmark(**inputs, benchmark=root / "benchmark", config=BenchmarkConfig(warmup_seconds=0, duration_seconds=0.1))
    return {
        **untrained_run.artifacts,
        **inputs,
        "evaluation": root / "evaluation",
        "benchmark": root / "benchmark",
    }


def test_the_page_shows_the_run_and_is_kept_when_nothing_changed(artifacts: dict[str, Path], tmp_path: Path) -> None:
    timings = tmp_path / "steps.jsonl"
    timings.write_text(json.dumps({"step": "rewrite", "seconds": 12.25, "status": "done", "reused": False}) + "\n")
    result = report(**artifacts, report=tmp_path / "report", config=ReportConfig())
    page = (tmp_path / "report" / "report.html").read_text().replace("<wbr>", "")
    metrics = json.loads((artifacts["evaluation"] / "metrics.json").read_text())
    for part in (f"{metrics['recall_all@20']:.3f}", "12.2 s", "log.csv", "ef_construction", "converted_model"):
        assert part in page
    assert not result.reused
    timings.write_text("")
    assert report(**artifacts, report=tmp_path / "report", config=ReportConfig()).reused


def test_the_command_shows_lists_of_users_with_titles(artifacts: dict[str, Path], tmp_path: Path) -> None:
    users = pq.read_table(artifacts["evaluation"] / "users.parquet").to_pylist()
    ids = load_items(artifacts["dataset"]).item_ids
    names = tmp_path / "names.csv"
    names.write_text("".join(f'{item_id},"The <item>, no. {item_id}"\n' for item_id in ids[1:]), encoding="utf-8")
    options = [part for name, path in artifacts.items() for part in (f"--{name.replace('_', '-')}", str(path))]
    options += ["--report", str(tmp_path / "report"), "--names", str(names), "--examples", "4", "--quiet"]
    done = CliRunner().invoke(main, ["report", *options])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    section = page[page.index('id="examples"') : page.index('id="ranking"')]
    assert section.count("<tr>") == 1 + 4
    best = min((user for user in users if user["rank_retrieval"]), key=lambda user: user["rank_retrieval"], default=users[0])
    for row in (best["target_row"], best["history"][-1], best["retrieved"][0]):
        assert f"The &lt;item&gt;, no. {ids[row]} ({ids[row]})" in section
    names.write_text("one column\n", encoding="utf-8")
    refused = CliRunner().invoke(main, ["report", *options, "--overwrite"])
    assert refused.exit_code == 1
    assert "line 1 has one column" in str(refused.exception or "") + refused.output


def test_parts_of_two_runs_are_refused(artifacts: dict[str, Path], untrained_string_run: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="belongs to dataset"):
        report(**{**artifacts, "dataset": untrained_string_run.artifacts["dataset"]}, report=tmp_path / "report", config=ReportConfig())
    with pytest.raises(ArtifactError, match=r"nann rewrite.*belongs to index"):
        report(**{**artifacts, "converted_model": untrained_string_run.converted_model}, report=tmp_path / "report", config=ReportConfig())
    assert list(tmp_path.iterdir()) == []


def test_timings_are_of_the_runs_that_did_the_work(tmp_path: Path) -> None:
    entries = [
        {"step": "convert", "seconds": 3, "status": "done", "reused": False},
        {"step": "train", "seconds": 50, "status": "failed", "reused": False},
        {"step": "convert", "seconds": 0.1, "status": "done", "reused": True},
        {"step": "train", "seconds": 70, "status": "done", "reused": False},
        {"step": "extract", "seconds": 0.2, "status": "done", "reused": True},
        {"step": "train", "seconds": 80, "status": "done", "reused": False},
    ]
    path = tmp_path / "steps.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + '{"step": "rewr')
    assert read_timings(path) == [StepTiming("convert", 3, False), StepTiming("train", 80, False), StepTiming("extract", 0.2, True)]
