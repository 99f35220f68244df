"""The end of a run as a Markdown page and as ``summary.json`` in the run directory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from components.output import format_value, set_up_logging
from components.webhook import post_run_end
from nann.reporting.run_summary import RunSummary, summarise_run, write_summary

# What backend 2.17 calls the end of the steps: the state of their execution in ML Metadata (kubeflow/pipelines, backend/src/v2/driver).
SUCCEEDED_AS = {"COMPLETE": "SUCCEEDED", "CACHED": "SUCCEEDED"}
logger = logging.getLogger(__name__)


def tell_run_end(page: str, *, run_dir: str, steps: Sequence[str], state: str, error: str, run: str = "") -> None:
    """What the exit task does: a page, ``summary.json``, and a word to the webhook when the environment names one.

    Args:
        page: file of the Markdown page.
        run_dir: the durable run directory, or "": then only the state is known.
        steps: names of the pipeline's steps, in order.
        state: of the steps together, as kfp says it.
        error: what kfp says about a failure, or "".
        run: its id on the server, or "".
    """
    set_up_logging(verbose=False, quiet=False)
    state = SUCCEEDED_AS.get(state, state)
    if run_dir and Path(run_dir).is_dir():
        summary = summarise_run(Path(run_dir), steps=steps, state=state, error=error or "")
        write_summary(Path(run_dir), summary)
    else:
        summary = RunSummary(state=state, error=error or "")
    Path(page).write_text(summary_page(summary), encoding="utf-8")
    post_run_end(summary, run=run, run_dir=run_dir)
    logger.info("run %s%s", state, f": {summary.failed_step or 'the run'}: {summary.error}" if summary.error else "")


def summary_page(summary: RunSummary) -> str:
    """The summary as Markdown."""
    lines = [f"# {summary.state}", ""]
    if summary.error:
        where = f"Step `{summary.failed_step}`: " if summary.failed_step else ""
        lines += [f"{where}{summary.error}", ""]
    if summary.steps:
        lines += ["| step | status | seconds |", "|---|---|---|"]
        for entry in summary.steps:
            status = "up to date" if entry.get("reused") else entry["status"]
            lines.append(f"| {entry['step']} | {status} | {format_value(entry['seconds']) if entry['seconds'] else ''} |")
        lines.append("")
    if summary.lineage:
        lines += ["| artifact | step | sha256 of its manifest | made from |", "|---|---|---|---|"]
        for link in summary.lineage:
            sources = "<br>".join(f"{name} `{digest[:12]}`" for name, digest in link.inputs.items())
            lines.append(f"| {link.name} | {link.step} | `{link.digest[:12]}` | {sources} |")
        lines.append("")
    lines += [f"- {sentence}" for sentence in summary.broken]
    return "\n".join(lines).rstrip() + "\n"
