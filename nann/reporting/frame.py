"""What every page has beside its own parts: data, model and options at its head, every option and digest at its end."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nann.artifacts import Artifact
from nann.dataset import load_meta
from nann.option_types import stored_params
from nann.reporting.page import PAGE_NAME, Page, PageTable, Section, render
from nann.reporting.text import number_text
from nann.steps.table import STEP_BY_NAME

Artifacts = Mapping[str, Artifact]
Options = Mapping[str, Mapping[str, Any]]
MOST_CHARACTERS = 60  # of a value among the options that are named at the head
IN_FACTS = ("num_events", "num_users", "num_items")  # of ``meta.json``, at the head and nowhere else


def framed(page: Page, artifacts: Artifacts, options: Options | None = None, *, meta: Mapping[str, Any] | None = None) -> Page:
    """A page with its head and its end.

    Args:
        page: the page of a step.
        artifacts: name -> what the step read.
        options: step -> options that are in no manifest of these: the step's own, and those of the steps that it ran.
        meta: the contents of the dataset's ``meta.json``; default: read from the artifact.
    """
    everything = {**{artifact.step: artifact.params for artifact in artifacts.values()}, **(options or {})}
    facts = list(_facts(artifacts, everything, meta))
    return dataclasses.replace(page, facts=facts, sections=[*page.sections, _configuration(artifacts, everything)])


def write_page(directory: Path, page: Page, artifacts: Artifacts, options: Options) -> None:
    """Writes ``report.html``: `framed`."""
    (directory / PAGE_NAME).write_text(render(framed(page, artifacts, options)), encoding="utf-8")


def _facts(artifacts: Artifacts, options: Options, meta: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if dataset := artifacts.get("dataset"):
        yield "data", data_text(dataset, load_meta(dataset.path) if meta is None else meta)
    if model := artifacts.get("model"):
        memory = f", memory of {number_text(model.metrics['memory_entries'])} pairs" if "memory_entries" in model.metrics else ""
        encoders = model.params.get("encoders", 1) if model.params.get("scorer") == "sequence" else 1
        size = f"embeddings of {model.params.get('emb_dim')}" + (f" in each of {encoders} encoders" if encoders > 1 else "")
        yield "model", f"{model.params.get('scorer')}, {size}{memory} (model {model.digest[:12]})"
    elif converted := artifacts.get("converted_model"):
        yield "model", f"converted model {converted.digest[:12]} of model {converted.lineage.get('model', 'unknown')[:12]}"
    yield "options", changed_options(options) or "the defaults of every step"
    if code := sorted({f"{each.manifest['code_version']} ({each.manifest['code_digest'][:12]})" for each in artifacts.values()}):
        yield "code", ", ".join(code)


def data_text(dataset: Artifact, meta: Mapping[str, Any]) -> str:
    """The logs, their size and their time, and the digest of the dataset."""
    logs = ", ".join(sorted(name.removeprefix("log:") for name in dataset.manifest["inputs"] if name.startswith("log:")))
    events, users, items = (number_text(meta.get(name)) for name in IN_FACTS)
    times = [f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M}" for time in meta.get("time_range") or ()]
    window = f", {' to '.join(times)} UTC" if times else ""
    return f"{logs or 'records'}: {events} events of {users} users, {items} items{window} (dataset {dataset.digest[:12]})"


def changed_options(options: Options) -> str:
    """The options that are not the defaults, by step: ``train: max_steps 60, seed 2; rewrite: top_k 100``."""
    texts = []
    for step, values in options.items():
        known = STEP_BY_NAME.get(step)
        config = known.load_config() if known else None
        defaults = _plain(stored_params(config())) if config else {}
        changed = [
            f"{name} {_value(value)}" for name, value in sorted(values.items()) if name in defaults and _plain(value) != defaults[name]
        ]
        if changed:
            texts.append(f"{step}: {', '.join(changed)}")
    return "; ".join(texts)


def _configuration(artifacts: Artifacts, options: Options) -> Section:
    rows = [
        [name, artifact.step, artifact.digest[:16], ", ".join(sorted(artifact.manifest["inputs"]))] for name, artifact in artifacts.items()
    ]
    folded = [
        PageTable(["option", "value"], [[key, _text(value)] for key, value in sorted(values.items())], f"{step}: options", text_columns=2)
        for step, values in options.items()
        if values
    ]
    digests = [[name, artifact.digest] for name, artifact in artifacts.items()]
    digests += [
        [f"{name} ← {source}", digest] for name, artifact in artifacts.items() for source, digest in sorted(artifact.lineage.items())
    ]
    folded.append(PageTable(["artifact", "sha256"], digests, caption="Full digests and lineage", text_columns=2))
    return Section(
        anchor="configuration",
        title="Configuration and lineage",
        tables=[PageTable(["artifact", "step", "digest", "made from"], rows, text_columns=4)] if rows else [],
        explanation=(
            "A digest identifies an artifact's content, parameters and ancestry together: two runs with equal digests are the same run. "
            "Open the lines below for every option."
        ),
        folded=folded,
    )


def _plain(value: Any) -> Any:
    """As it stands in a manifest."""
    return json.loads(json.dumps(value, default=str))


def _value(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)) and all(isinstance(entry, (int, float, str)) for entry in value):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, default=str)
