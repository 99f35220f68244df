"""Step `report`: one page about a whole run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nann.artifacts import StepResult
from nann.config import ReportConfig
from nann.contents import opening, read_json
from nann.dataset import load_items, load_meta
from nann.digests import sha256_file
from nann.forms import Latency, Metrics, TrainingRecord
from nann.option_types import stored_params
from nann.reporting.examples_section import chosen_examples
from nann.reporting.page import render
from nann.reporting.run_page import RunNumbers, StepTiming, run_page
from nann.reporting.run_summary import TIMINGS_NAME
from nann.steps.opening import open_step
from nann.titles import read_titles


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
    config: ReportConfig,
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
        config: the options.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: an input is unusable, the inputs are not of one run, or ``report`` holds something else.
        NannError: the file of names is not readable as such.
    """
    titles = {} if config.names is None else read_titles(config.names)
    named = {} if config.names is None else {f"names:{config.names.name}": sha256_file(config.names)}
    writer = open_step("report", locals(), params=stored_params(config, "names"), more_inputs=named)
    if writer.is_current:
        return writer.current()
    training, curve, timings = model / "training.json", evaluation / "curve.json", report.parent / TIMINGS_NAME
    numbers = RunNumbers(
        artifacts=writer.artifacts,
        meta=load_meta(dataset),
        training=read_json(training, list[TrainingRecord], "a record of a training", step="train") if training.is_file() else (),
        metrics=read_json(evaluation / "metrics.json", Metrics, "the figures of an evaluation", step="evaluate"),
        curve=read_json(curve, dict[str, Any], "a curve of recall", step="evaluate") if curve.is_file() else None,
        latency=read_json(benchmark / "latency.json", Latency, "the figures of a benchmark", step="benchmark"),
        latency_ms=_latencies(benchmark / "latencies.parquet"),
        examples=_examples(evaluation / "users.parquet", config.examples),
        name=_namer(dataset, titles),
        titled=bool(titles),
        timings=read_timings(timings) if timings.is_file() else (),
        written=datetime.now(UTC),
    )
    with opening(evaluation.parent, "a run whose figures make a page", step="evaluate"):
        page = render(run_page(numbers))
    with writer as directory:
        (directory / "report.html").write_text(page, encoding="utf-8")
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
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
            continue
        known = latest.get(timing.step)
        if done and (known is None or known.reused or not timing.reused):
            latest[timing.step] = timing
    return list(latest.values())


def _examples(path: Path, count: int) -> Sequence[Mapping[str, Any]]:
    """Rows of some users; those of earlier versions have no history."""
    with opening(path, "a table of users", step="evaluate"):
        table = pq.read_table(path)
        wanted = [name for name in ("user_id", "target_row", "rank_retrieval", "history", "retrieved") if name in table.column_names]
        chosen: Sequence[Mapping[str, Any]] = (
            table.select(wanted).take(chosen_examples(table["rank_retrieval"].to_pylist(), count)).to_pylist()
        )
        return chosen


def _namer(dataset: Path, titles: Mapping[str, str]) -> Callable[[int], str]:
    """Item row -> its title and id, or the id."""
    ids = load_items(dataset).item_ids

    def name(row: int) -> str:
        item_id = str(ids[row])
        return f"{titles[item_id]} ({item_id})" if item_id in titles else item_id

    return name


def _latencies(path: Path) -> NDArray[np.float64]:
    with opening(path, "a table of latencies", step="benchmark"):
        values = np.asarray(pq.read_table(path)["latency_ms"].to_numpy(), np.float64)
        if not np.isfinite(values).all():
            raise ValueError("a latency is not finite")
        return values
