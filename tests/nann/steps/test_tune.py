"""The step `tune`: what it chooses is what `rewrite` takes, and finds what was measured."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from nann.config import RewriteConfig, TuneConfig
from nann.errors import ArtifactError
from nann.steps.tune import tune

TRIED: dict[str, Any] = {"widths": (10, 40), "rounds": (1, 6), "upper_rounds": (1,), "users": 20, "latency_users": 2, "k": 20}


def test_points_and_choice(untrained_run: Any, tmp_path: Path) -> None:
    config = TuneConfig(**TRIED, target_coverage=0.9, target_recall_delta=1.0, graphs=("8:60",))
    inputs = {"converted_model": untrained_run.converted_model, "dataset": untrained_run.artifacts["dataset"]}
    result = tune(**inputs, tuning=tmp_path / "tuning", config=config)
    tuning = json.loads((tmp_path / "tuning" / "tuning.json").read_text())
    assert [point["graph"] for point in tuning["points"]] == ["exported"] * 4 + ["8:60"] * 4
    for points in (tuning["points"][:4], tuning["points"][4:]):
        assert points[0]["items_scored_mean"] < points[-1]["items_scored_mean"]
        assert points[0]["coverage@20"] <= points[-1]["coverage@20"]
    chosen = tuning["points"][tuning["chosen"]]
    assert tuning["reached"]
    assert chosen["coverage@20"] >= 0.9
    assert result.metrics["items_scored_mean"] == chosen["items_scored_mean"]
    sections = yaml.safe_load((tmp_path / "tuning" / "chosen.yaml").read_text())
    assert RewriteConfig(**sections["rewrite"]).ef == tuple(chosen["ef"])
    assert "<svg" in (tmp_path / "tuning" / "report.html").read_text()
    assert tune(**inputs, tuning=tmp_path / "tuning", config=config).reused


def test_a_target_out_of_reach_is_said(untrained_run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = TuneConfig(k=20, widths=(2,), rounds=(1,), upper_rounds=(0,), users=5, latency_users=1, target_coverage=1.0)
    inputs = {"converted_model": untrained_run.converted_model, "dataset": untrained_run.artifacts["dataset"]}
    result = tune(**inputs, tuning=tmp_path / "tuning", config=config)
    assert not result.metrics["reached"]
    assert "no search reaches the targets" in caplog.text


def test_a_model_of_another_dataset_is_refused(untrained_run: Any, untrained_string_run: Any, tmp_path: Path) -> None:
    inputs = {"converted_model": untrained_run.converted_model, "dataset": untrained_string_run.artifacts["dataset"]}
    with pytest.raises(ArtifactError, match="belongs to dataset"):
        tune(**inputs, tuning=tmp_path / "tuning", config=TuneConfig(**TRIED))
