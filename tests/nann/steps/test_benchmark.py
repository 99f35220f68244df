"""The step `benchmark`: every answered request is in the table, and the figures are of that table."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from nann.artifacts import open_artifact
from nann.config import BenchmarkConfig
from nann.errors import ArtifactError
from nann.steps.benchmark import benchmark
from ops import retrieval as native_ops


@pytest.mark.parametrize(("threads", "batch_size"), [(1, 1), (2, 50)])
def test_figures_are_those_of_the_latencies(untrained_run: Any, tmp_path: Path, threads: int, batch_size: int) -> None:
    config = BenchmarkConfig(threads=threads, batch_size=batch_size, warmup_seconds=0.05, duration_seconds=0.2)
    path = tmp_path / "benchmark"
    result = benchmark(
        converted_model=untrained_run.converted_model, dataset=untrained_run.artifacts["dataset"], benchmark=path, config=config
    )
    figures = json.loads((path / "latency.json").read_text())
    latencies = pq.read_table(path / "latencies.parquet").to_pydict()
    assert result.metrics == figures
    assert figures["requests"] == len(latencies["latency_ms"]) > 0
    assert figures["errors"] == 0
    assert figures["p50_ms"] == pytest.approx(np.median(latencies["latency_ms"]))
    assert figures["throughput_users_per_s"] == pytest.approx(batch_size * figures["requests"] / figures["measured_seconds"])
    assert set(latencies["client"]) == set(range(threads))
    assert figures["load_seconds"] > 0
    assert figures["peak_rss_bytes"] > 10**8
    assert "<svg" in (path / "report.html").read_text()
    assert set(open_artifact(path, step="benchmark").manifest["inputs"]) == {"converted_model", "dataset"}


def test_forms_take_turns_at_a_fixed_rate(untrained_run: Any, tmp_path: Path) -> None:
    if not native_ops.available():
        pytest.skip("the native library is not built; run `make install`")
    config = BenchmarkConfig(
        graphs=("native", "fused", "portable"), blocks=2, requests_per_s=50, warmup_seconds=0.03, duration_seconds=0.41, traced_requests=2
    )
    inputs = {"converted_model": untrained_run.converted_model, "dataset": untrained_run.artifacts["dataset"]}
    figures = benchmark(**inputs, benchmark=tmp_path / "benchmark", config=config).metrics
    assert set(figures["graphs"]) == {"native", "fused", "portable"}
    for graph in figures["graphs"].values():
        assert graph["requests"] == 10 + 11
        assert 0 < graph["walk_share"] < 1
        assert min(graph[name] for name in ("user_ms", "scoring_ms", "walk_ms", "p999_ms")) > 0
    latencies = pq.read_table(tmp_path / "benchmark" / "latencies.parquet").to_pydict()
    assert latencies["graph"].count("native") == figures["graphs"]["native"]["requests"] == figures["requests"]
    assert "native" in (tmp_path / "benchmark" / "report.html").read_text()


def test_a_model_of_another_dataset_is_refused(untrained_run: Any, untrained_string_run: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="belongs to dataset"):
        benchmark(
            converted_model=untrained_run.converted_model,
            dataset=untrained_string_run.artifacts["dataset"],
            benchmark=tmp_path / "benchmark",
            config=BenchmarkConfig(),
        )
    assert list(tmp_path.iterdir()) == []


def test_further_models_side_by_side(untrained_run: Any, tmp_path: Path) -> None:
    inputs = {"converted_model": untrained_run.converted_model, "dataset": untrained_run.artifacts["dataset"]}
    config = BenchmarkConfig(
        others={"again": str(untrained_run.converted_model)}, warmup_seconds=0, duration_seconds=0.1, traced_requests=0, threads=1
    )
    figures = benchmark(**inputs, benchmark=tmp_path / "benchmark", config=config).metrics
    assert set(figures["graphs"]) == {"portable", "again/portable"}
    assert all(graph["requests"] > 0 for graph in figures["graphs"].values())
    assert "again/portable" in (tmp_path / "benchmark" / "report.html").read_text()
    assert set(open_artifact(tmp_path / "benchmark", step="benchmark").manifest["inputs"]) == {
        "converted_model",
        "converted_model again",
        "dataset",
    }
