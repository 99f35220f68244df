"""The tables at the end of a run: one line per step, and recall beside its baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from components.output import flatten_metrics, format_value
from nann.contents import read_json
from nann.forms import Metrics
from nann.manifests import read_manifest
from nann.reporting.text import list_lengths
from nann.steps.table import STEP_BY_NAME

# Of a step without figures of its own, its first numbers.
SHOWN_METRICS = 6


def print_tables(entries: Sequence[Mapping[str, Any]], run_dir: Path, stream: TextIO) -> None:
    """Prints the steps' table, the recall table when the run was evaluated, and the path of the report."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, highlight=False, width=None if stream.isatty() else 140)
    steps = Table("step", "seconds", "status", "numbers", title=f"Run {run_dir}", title_justify="left")
    for entry in entries:
        status = "up to date" if entry["reused"] else entry["status"]
        steps.add_row(entry["step"], f"{entry['seconds']:.1f}", status, key_numbers(entry["step"], entry["metrics"]))
    console.print(steps)
    metrics = run_dir / "evaluation" / "metrics.json"
    if metrics.is_file():
        for table in evaluation_tables(read_json(metrics, Metrics, "the figures of an evaluation", step="evaluate")):
            console.print(table)
    for sentence in _warnings(run_dir):
        console.print(f"warning: {sentence}", soft_wrap=True, markup=False)
    report = run_dir / "report" / "report.html"
    if report.is_file():
        console.print(f"report: {report.absolute()}", soft_wrap=True)


def _warnings(run_dir: Path) -> list[str]:
    """What training and evaluation warn of; artifacts of earlier versions do not say."""
    manifest, metrics = run_dir / "model" / "manifest.json", run_dir / "evaluation" / "metrics.json"
    found = list(read_manifest(manifest.parent, step="train")["metrics"].get("warnings", [])) if manifest.is_file() else []
    if metrics.is_file():
        found += read_json(metrics, Metrics, "the figures of an evaluation", step="evaluate").get("warnings", [])
    return found


def key_numbers(step: str, metrics: Mapping[str, Any]) -> str:
    """The numbers of a step worth a line: name value, name value."""
    flat = {name: value for name, value in flatten_metrics(metrics) if isinstance(value, (int, float)) and not isinstance(value, bool)}
    chosen = [name for name in STEP_BY_NAME[step].figures if name in flat] or list(flat)[:SHOWN_METRICS]
    return ", ".join(f"{name.removeprefix('baselines.')} {format_value(flat[name])}" for name in chosen)


def evaluation_tables(metrics: Mapping[str, Any]) -> list[Any]:
    """The tables of an evaluation: recall, place in the list, and recall for parts of the users at the largest K."""
    from rich.table import Table

    tables, widest = [], f"@{list_lengths(metrics)[-1]}"
    for title, first, rows in (
        ("Recall", "share of relevant items found", recall_rows(metrics)),
        ("Place in the list, share of the catalogue shown", "", ranking_rows(metrics)),
        *((f"Recall{widest} by {division.replace('_', ' ')}", "group", rows) for division, rows in group_rows(metrics).items()),
    ):
        if rows:
            table = Table(first, title=title, title_justify="left")
            for column in rows[0][1]:
                table.add_column(f"@{column}" if column.isdigit() else column, justify="right", overflow="fold")
            for label, values in rows:
                table.add_row(label, *values.values())
            tables.append(table)
    return tables


def recall_rows(metrics: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """(label, K -> value as text) for the exact scan, the retrieval graph, its coverage, and the baselines, with intervals."""
    ks, ranges = list_lengths(metrics), metrics.get("intervals") or {}
    rows = [
        (label, {str(k): _share(metrics.get(f"{name}@{k}"), ranges.get(f"{name}@{k}")) for k in ks})
        for label, name in (
            ("scorer, exact scan (recall-all)", "recall_all"),
            ("retrieval graph (recall-retrieval)", "recall_retrieval"),
            ("lost by the graph (recall-delta)", "recall_delta"),
            ("exact top K found (coverage)", "coverage"),
        )
    ]
    for baseline, values in (metrics.get("baselines") or {}).items():
        own = ranges.get("baselines", {}).get(baseline, {})
        label = f"baseline {baseline}"
        rows.append((label, {str(k): _share(values.get(f"recall@{k}"), own.get(f"recall@{k}")) for k in ks}))
    if best := metrics.get("best_baseline"):
        rows.append(("best baseline", {str(k): best[f"name@{k}"] for k in ks}))
        name = "ratio_to_best_baseline"
        rows.append(("retrieval graph / best baseline", {str(k): _share(metrics[f"{name}@{k}"], ranges.get(f"{name}@{k}")) for k in ks}))
    return rows


def ranking_rows(metrics: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """(label, K -> value as text) of NDCG, MRR and catalogue coverage of the retrieval graph and the baselines."""
    ks = list_lengths(metrics)
    if not all(f"ndcg_retrieval@{k}" in metrics for k in ks):
        return []
    rows = []
    kinds = (("NDCG", "ndcg_retrieval", "ndcg"), ("MRR", "mrr_retrieval", "mrr"), ("catalogue", "catalogue_coverage", "catalogue_coverage"))
    for label, own, name in kinds:
        values = {str(k): _share(metrics[f"{own}@{k}"], metrics["intervals"].get(f"{own}@{k}")) for k in ks}
        rows.append((f"{label}, retrieval graph", values))
        for baseline, figures in metrics["baselines"].items():
            rows.append((f"{label}, {baseline}", {str(k): _share(figures[f"{name}@{k}"]) for k in ks}))
    return rows


def group_rows(metrics: Mapping[str, Any]) -> dict[str, list[tuple[str, dict[str, str]]]]:
    """Division -> (group, column -> recall at the largest K as text), the model's columns first."""
    if not metrics.get("groups"):
        return {}
    k = list_lengths(metrics)[-1]
    columns = {"graph": f"recall_retrieval@{k}", "scan": f"recall_all@{k}"}
    columns |= {name: f"{name}@{k}" for name in metrics["baselines"]}
    return {
        division: [
            (group["group"], {"users": f"{group['users']:,}", **{label: f"{group[name]:.3f}" for label, name in columns.items()}})
            for group in groups
        ]
        for division, groups in metrics["groups"].items()
    }


def _share(value: Any, interval: Sequence[float] | None = None) -> str:
    if not isinstance(value, (int, float)):
        return "-"
    return f"{value:.4f}" + (f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else "")
