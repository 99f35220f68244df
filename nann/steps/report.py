"""Step `report`: one page about a whole run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from nann.artifacts import ArtifactWriter, StepResult, open_artifact, require_same_ancestor
from nann.reporting.page import render
from nann.reporting.run_page import RunNumbers, StepTiming, run_page


def report(
    *,
    dataset: Path,
    model: Path,
    embeddings: Path,
    index: Path,
    converted_model: Path,
    evaluation: Path,
    benchmark: Path,
    report: Path,
    timings: Path | None = None,
    overwrite: bool = False,
) -> StepResult:
    """Writes ``report.html``: recall, cost, latency, training, data, time, space, configuration and lineage of one run.

    The times of the steps are no part of what identifies the report: a report that is there and was made from equal artifacts is kept,
    with the times it shows.

    Args:
        dataset: artifact of `convert`.
        model: artifact of `train`.
        embeddings: artifact of `extract`.
        index: artifact of `build-index`.
        converted_model: artifact of `rewrite`.
        evaluation: artifact of `evaluate`.
        benchmark: artifact of `benchmark`.
        report: directory to write: ``report.html``.
        timings: JSON lines ``{"step", "seconds", "status", "reused", ...}``, one per finished step, or None.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: an input is unusable, the inputs are not of one run, or ``report`` holds something else.
    """
    artifacts = {
        "dataset": open_artifact(dataset, step="convert"),
        "model": open_artifact(model, step="train"),
        "embeddings": open_artifact(embeddings, step="extract"),
        "index": open_artifact(index, step="build-index"),
        "converted_model": open_artifact(converted_model, step="rewrite"),
        "evaluation": open_artifact(evaluation, step="evaluate"),
        "benchmark": open_artifact(benchmark, step="benchmark"),
    }
    for name, ancestor in artifacts.items():
        require_same_ancestor(name, ancestor, *(artifact for artifact in artifacts.values() if name in artifact.lineage))
    writer = ArtifactWriter(report, step="report", params={}, inputs=artifacts, overwrite=overwrite)
    if writer.is_current:
        return writer.current()
    training, curve = model / "training.json", evaluation / "curve.json"
    numbers = RunNumbers(
        artifacts=artifacts,
        meta=_read_json(dataset / "meta.json"),
        training=_read_json(training) if training.is_file() else (),
        metrics=_read_json(evaluation / "metrics.json"),
        curve=_read_json(curve) if curve.is_file() else None,
        latency=_read_json(benchmark / "latency.json"),
        latency_ms=np.asarray(pq.read_table(benchmark / "latencies.parquet")["latency_ms"].to_numpy(), np.float64),
        timings=read_timings(timings) if timings is not None else (),
    )
    with writer as directory:
        (directory / "report.html").write_text(render(run_page(numbers)), encoding="utf-8")
    return writer.result()


def read_timings(path: Path) -> Sequence[StepTiming]:
    """How long each step took to make the artifact that is there: the last run that did work, or else the last that kept the artifact.

    Failed runs and a line cut off by a kill are left out. Order: as the steps first appear.
    """
    latest: dict[str, StepTiming] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            timing = StepTiming(str(entry["step"]), float(entry["seconds"]), bool(entry.get("reused", False)))
            done = entry.get("status", "done") == "done"
        except (ValueError, KeyError, TypeError):
            continue
        known = latest.get(timing.step)
        if done and (known is None or known.reused or not timing.reused):
            latest[timing.step] = timing
    return list(latest.values())


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
