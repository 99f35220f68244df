"""The tables at the end of a run: one line per step, and recall beside its baselines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from components.output import flatten_metrics, format_value

# What a step's line shows, the first that are there; other steps show their first numbers.
KEY_METRICS: Mapping[str, tuple[str, ...]] = {
    "convert": ("num_users", "num_items", "num_events"),
    "train": ("loss", "recall_all@200", "steps", "samples"),
    "extract": ("num_items", "item_dim"),
    "build-index": ("level_0_degree_mean", "num_enter_points", "reachable_share"),
    "rewrite": ("rounds", "num_enter_points", "saved_model_bytes"),
    "evaluate": (
        "recall_all@200",
        "recall_retrieval@200",
        "baselines.popularity.recall@200",
        "baselines.item_cf.recall@200",
        "coverage@200",
        "items_scored_share",
    ),
    "benchmark": ("p50_ms", "p90_ms", "p99_ms", "throughput_users_per_s"),
}
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
        table = Table("share of relevant items found", title="Recall", title_justify="left")
        rows = recall_rows(json.loads(metrics.read_text(encoding="utf-8")))
        for column in rows[0][1]:
            table.add_column(f"@{column}", justify="right")
        for label, values in rows:
            table.add_row(label, *values.values())
        console.print(table)
    report = run_dir / "report" / "report.html"
    if report.is_file():
        console.print(f"report: {report.absolute()}", soft_wrap=True)


def key_numbers(step: str, metrics: Mapping[str, Any]) -> str:
    """The numbers of a step worth a line: name value, name value."""
    flat = {name: value for name, value in flatten_metrics(metrics) if isinstance(value, (int, float)) and not isinstance(value, bool)}
    chosen = [name for name in KEY_METRICS.get(step, ()) if name in flat] or list(flat)[:SHOWN_METRICS]
    return ", ".join(f"{name.removeprefix('baselines.')} {format_value(flat[name])}" for name in chosen)


def recall_rows(metrics: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """(label, K -> value as text) for the exact scan, the retrieval graph, its coverage, and the baselines."""
    ks = sorted(int(name.partition("@")[2]) for name in metrics if name.startswith("recall_all@"))
    rows = [
        (label, {str(k): _share(metrics.get(f"{name}@{k}")) for k in ks})
        for label, name in (
            ("scorer, exact scan (recall-all)", "recall_all"),
            ("retrieval graph (recall-retrieval)", "recall_retrieval"),
            ("lost by the graph (recall-delta)", "recall_delta"),
            ("exact top K found (coverage)", "coverage"),
        )
    ]
    for baseline, values in (metrics.get("baselines") or {}).items():
        rows.append((f"baseline {baseline.replace('_', '-')}", {str(k): _share(values.get(f"recall@{k}")) for k in ks}))
    return rows


def _share(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, (int, float)) else "-"
