"""Step `report`: one page about a whole run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from data_prep.json_text import read_json
from nann.artifacts import StepResult
from nann.reporting.page import render
from nann.reporting.run_page import RunNumbers, StepTiming, run_page
from nann.reporting.run_summary import TIMINGS_NAME
from nann.steps.opening import open_step


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
    overwrite: bool = False,
) -> StepResult:
    """Writes ``report.html``: recall, cost, latency, training, data, time, space, configuration and lineage of one run.

    The times of the steps are read from ``steps.jsonl`` beside the report if it is there: JSON lines ``{"step", "seconds", "status",
    "reused", ...}``, one per finished step. They are no part of what identifies the report: one that is there and was made from equal
    artifacts is kept, with the times it shows.

    Args:
        dataset: artifact of `convert`.
        model: artifact of `train`.
        embeddings: artifact of `extract`.
        index: artifact of `build-index`.
        converted_model: artifact of `rewrite`.
        evaluation: artifact of `evaluate`.
        benchmark: artifact of `benchmark`.
        report: directory to write: ``report.html``.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: an input is unusable, the inputs are not of one run, or ``report`` holds something else.
    """
    writer = open_step("report", locals())
    if writer.is_current:
        return writer.current()
    training, curve, timings = model / "training.json", evaluation / "curve.json", report.parent / TIMINGS_NAME
    numbers = RunNumbers(
        artifacts=writer.artifacts,
        meta=_read_json(dataset / "meta.json"),
        training=_read_json(training) if training.is_file() else (),
        metrics=_read_json(evaluation / "metrics.json"),
        curve=_read_json(curve) if curve.is_file() else None,
        latency=_read_json(benchmark / "latency.json"),
        latency_ms=np.asarray(pq.read_table(benchmark / "latencies.parquet")["latency_ms"].to_numpy(), np.float64),
        timings=read_timings(timings) if timings.is_file() else (),
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
    return read_json(path)
