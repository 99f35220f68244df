"""What became of a run, whatever that was: which steps ran, why it ended, and from which bytes its last artifact comes.

Read from the run directory alone (``steps.jsonl`` and the manifests), so it can be written after a failure, by the pipeline's exit task.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from data_prep.durable import write_file
from data_prep.json_text import json_text
from data_prep.opening import Stored, read_json_lines
from nann.artifacts import MANIFEST_NAME
from nann.forms import Number, Numbers

SUMMARY_NAME = "summary.json"
TIMINGS_NAME = "steps.jsonl"
NOT_RUN = "not run"


class StepEntry(Stored):
    """A line of ``steps.jsonl``."""

    step: str
    status: str
    seconds: Number
    reused: bool = False
    metrics: Numbers = Field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True)
class Link:
    """One artifact of the chain from the last artifact to the logs.

    Attributes:
        name: of the artifact (its directory).
        step: that made it.
        digest: sha256 (hex) of its manifest.
        inputs: input name -> digest; ``log:FILE`` is the sha256 of a log's bytes.
    """

    name: str
    step: str
    digest: str
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class RunSummary:
    """A run as it ended.

    Attributes:
        state: "SUCCEEDED", "FAILED" or "CANCELED".
        error: why it ended so, or "".
        failed_step: the step that failed, or "".
        steps: in order, each with ``step``, ``status`` ("done", "failed", "not run"), ``seconds``, ``reused``, ``metrics``.
        lineage: from the last artifact back, each artifact before those it was made from.
        broken: sentences about links whose digest is not that of the artifact that is there now.
    """

    state: str
    error: str = ""
    failed_step: str = ""
    steps: Sequence[Mapping[str, Any]] = ()
    lineage: Sequence[Link] = ()
    broken: Sequence[str] = field(default_factory=tuple)


def summarise_run(run: Path, *, steps: Sequence[str], state: str, error: str = "") -> RunSummary:
    """Reads what became of a run.

    Args:
        run: the run directory.
        steps: names of the pipeline's steps, in an order in which they can run.
        state: how the run ended, as the pipeline's engine says.
        error: what the engine says about it; the failed step's own reason goes before it.
    """
    entries = _of_this_run(read_entries(run / TIMINGS_NAME), steps)
    failed = next((entry for entry in entries if entry["status"] == "failed"), None)
    lineage = read_lineage(run)
    return RunSummary(
        state=state,
        error=str(failed.get("reason") or error) if failed else error,
        failed_step=str(failed["step"]) if failed else "",
        steps=entries,
        lineage=lineage,
        broken=_broken(lineage),
    )


def write_summary(run: Path, summary: RunSummary) -> Path:
    """Writes ``summary.json`` into the run directory, replacing it at once; returns its path."""
    path = run / SUMMARY_NAME
    write_file(path, json_text(asdict(summary)))
    return path


def read_entries(path: Path) -> list[dict[str, Any]]:
    """The entries of a ``steps.jsonl`` in their order; a line cut off by a kill is left out."""
    return [entry for entry in read_json_lines(path, StepEntry) if entry is not None]


def _of_this_run(entries: Sequence[Mapping[str, Any]], steps: Sequence[str]) -> list[dict[str, Any]]:
    """One entry per step. One that is older than that of a step before it is of an earlier run, so this run has not come to it."""
    position = {str(entry["step"]): number for number, entry in enumerate(entries)}
    newest, chosen = -1, []
    for step in steps:
        here = position.get(step, -1)
        if here < newest or here < 0:
            chosen.append({"step": step, "status": NOT_RUN, "seconds": 0.0, "reused": False, "metrics": {}})
        else:
            chosen.append(dict(entries[here]))
        newest = max(newest, here)
    return chosen


def read_lineage(run: Path) -> list[Link]:
    """The artifacts of a run directory, each before those it was made from; directories without a readable manifest are left out."""
    links: dict[str, Link] = {}
    for path in sorted(run.glob(f"*/{MANIFEST_NAME}")):
        raw = path.read_bytes()
        try:
            manifest = json.loads(raw)
            inputs = {str(name): str(digest) for name, digest in sorted(manifest["inputs"].items())}
            links[path.parent.name] = Link(path.parent.name, str(manifest["step"]), hashlib.sha256(raw).hexdigest(), inputs)
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            continue
    depth: dict[str, int] = {}

    def depth_of(name: str) -> int:
        if name not in depth:
            depth[name] = 0  # a circle cannot be, but must not hang either
            depth[name] = 1 + max((depth_of(source) for source in links[name].inputs if source in links), default=0)
        return depth[name]

    return sorted(links.values(), key=lambda link: (-depth_of(link.name), link.name))


def _broken(lineage: Sequence[Link]) -> list[str]:
    there = {link.name: link.digest for link in lineage}
    return [
        f"{link.name} was made from {name} {digest[:12]}, but {there[name][:12]} is there"
        for link in lineage
        for name, digest in link.inputs.items()
        if there.get(name, digest) != digest
    ]
