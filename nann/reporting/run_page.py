"""The report of a whole run on one page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nann.artifacts import Artifact
from nann.evaluation.verdict import verdict
from nann.reporting import figures
from nann.reporting.benchmark_page import latency_cards, latency_section
from nann.reporting.evaluation_page import evaluation_sections
from nann.reporting.examples_section import examples_section
from nann.reporting.frame import IN_FACTS, framed
from nann.reporting.page import Card, Page, PageTable, Section
from nann.reporting.recall_sections import recall_cards
from nann.reporting.text import bytes_text, number_text, seconds_text

_BY_USERS = (
    "Test and validation users are drawn at random and leave training altogether; each gives one sample, from the middle of the user's "
    "events."
)
_BY_TIME = (
    "Split by time: all events before the moment train, those of the test and validation users too; each of these gives one sample, the "
    "first event from the moment on."
)


@dataclass(frozen=True)
class StepTiming:
    """How long a step took; ``reused`` when it only found an equal artifact."""

    step: str
    seconds: float
    reused: bool


@dataclass(frozen=True)
class RunNumbers:
    """Everything the page shows.

    Attributes:
        artifacts: name -> artifact, in pipeline order.
        meta: the dataset's ``meta.json``.
        training: records with "step", "loss" and at times "recall_all@K", in order; may be empty.
        metrics: ``metrics.json`` of the evaluation.
        curve: ``curve.json`` of the evaluation, or None.
        latency: ``latency.json`` of the benchmark.
        latency_ms: [R] latency of every measured request.
        timings: one per step, in the order they ran; may be empty.
        examples: rows of ``users.parquet`` of some users.
        name: item row -> what the item is called.
        titled: whether titles were given.
        written: when the page is made, UTC.
    """

    artifacts: Mapping[str, Artifact]
    meta: Mapping[str, Any]
    training: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, Any]
    curve: Mapping[str, Any] | None
    latency: Mapping[str, Any]
    latency_ms: NDArray[np.float64]
    timings: Sequence[StepTiming]
    examples: Sequence[Mapping[str, Any]]
    name: Callable[[int], str]
    titled: bool
    written: datetime


def run_page(run: RunNumbers) -> Page:
    """The page of one run."""
    sections = evaluation_sections(run.metrics, run.curve)
    if run.examples:
        sections.insert(1, examples_section(run.examples, run.name, titled=run.titled))
    sections += [latency_section(run.latency, run.latency_ms), _training_section(run), _data_section(run.meta)]
    sections.append(_cost_section(run))
    logs = sorted(name.removeprefix("log:") for name in run.artifacts["dataset"].manifest["inputs"] if name.startswith("log:"))
    cards = [*recall_cards(run.metrics), *latency_cards(run.latency)]
    if run.timings:
        cards.append(Card("time", seconds_text(sum(timing.seconds for timing in run.timings)), "all steps together"))
    page = Page(
        title="Retrieval run" + (f" on {', '.join(logs)}" if logs else ""),
        subtitle=f"written {run.written:%Y-%m-%d %H:%M} UTC",
        verdict=verdict(run.metrics, run.artifacts["model"].metrics.get("warnings", [])),
        cards=cards,
        sections=sections,
    )
    return framed(page, run.artifacts, meta=run.meta)


def _training_section(run: RunNumbers) -> Section:
    records = [record for record in run.training if "loss" in record and "step" in record]
    pictures, recall = [], {}
    if records:
        names = sorted(
            {name for record in records for name in record if name.startswith("recall_all@")}, key=lambda name: (len(name), name)
        )
        recall = {
            name.replace("recall_all", ""): [(record["step"], record[name]) for record in records if name in record] for name in names
        }
        losses = [record["loss"] for record in records]
        pictures = [figures.training_curves([record["step"] for record in records], losses, recall, name="loss")]
    model = run.artifacts["model"]
    rows = [[name.replace("_", " "), _text(value)] for name, value in sorted(model.metrics.items()) if not isinstance(value, (dict, list))]
    return Section(
        anchor="training",
        title="Training",
        pictures=pictures,
        explanation=(_curves_text(len(records), recall=bool(pictures and recall)) if records else "No losses were logged."),
        tables=[PageTable(["measure", "value"], rows)] if rows else [],
    )


def _curves_text(records: int, *, recall: bool) -> str:
    left = "Left, the training loss" if recall else "The training loss"
    lines = "; the light line is what was logged, the dark one its running mean" if figures.running_mean_width(records) > 1 else ""
    right = " Right: recall on validation users when every item is scored." if recall else ""
    return (
        f"{left}{lines}. It should fall and then flatten. Its height depends on the number of negatives and on the loss chosen, so it "
        f"compares only runs with equal settings; recall compares all.{right}"
    )


def _data_section(meta: Mapping[str, Any]) -> Section:
    plain = [
        [name.replace("_", " "), _text(value)]
        for name, value in sorted(meta.items())
        if not isinstance(value, (dict, list)) and value is not None and name not in IN_FACTS
    ]
    splits = [name for name in ("train", "validate", "test") if name in meta.get("num_users_per_split", {})]
    tables = [PageTable(["measure", "value"], plain)]
    if splits:
        rows = [[split, _text(meta["num_users_per_split"][split]), _text(meta["num_samples"][split])] for split in splits]
        tables.insert(0, PageTable(["split", "users", "samples"], rows))
    dropped = {**(meta.get("dropped_rows") or {}), **(meta.get("filtered_rows") or {})}
    drops = ", ".join(f"{_text(count)} {reason}" for reason, count in sorted(dropped.items()) if count)
    return Section(
        anchor="data",
        title="Data",
        lead=f"Rows of the log left out: {drops}." if drops else "No row of the log was left out.",
        tables=tables,
        explanation=_BY_USERS if meta.get("split_time") is None else _BY_TIME,
    )


def _cost_section(run: RunNumbers) -> Section:
    pictures = []
    if run.timings:
        order = list(run.timings)
        pictures.append(
            figures.step_durations(
                [timing.step for timing in order], [timing.seconds for timing in order], [timing.reused for timing in order], name="steps"
            )
        )
    sizes = [artifact.size_bytes for artifact in run.artifacts.values()]
    pictures.append(figures.artifact_sizes(list(run.artifacts), sizes, name="sizes"))
    grey = " Grey steps found their artifact already made." if any(timing.reused for timing in run.timings) else ""
    return Section(
        anchor="cost",
        title="Time and space",
        pictures=pictures,
        explanation=(
            f"{'Above: the time of each step; below: the' if run.timings else 'The'} size of what each step left on disk, "
            f"{bytes_text(sum(sizes))} in all.{grey}"
        ),
    )


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, (int, float)):
        return number_text(value)
    return value if isinstance(value, str) else json.dumps(value)
