"""The report of `benchmark`: latency and throughput of the exported graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nann.reporting import figures
from nann.reporting.page import Card, Page, PageTable, Section
from nann.reporting.text import bytes_text, number_text, seconds_text

Figures = Mapping[str, Any]
ROW_NAMES = {"p999": "p99.9", "user": "user encoding", "walk": "walk and the rest"}


def benchmark_page(latency: Figures, latency_ms: NDArray[np.float64]) -> Page:
    """The page of one benchmark.

    Args:
        latency: the contents of ``latency.json``.
        latency_ms: [R] latency of every measured request that was answered.
    """
    return Page(
        title="Latency of the exported retrieval graph",
        subtitle=_load_text(latency),
        cards=latency_cards(latency),
        sections=[dataclasses.replace(latency_section(latency, latency_ms), lead="")],
    )


def latency_cards(latency: Figures) -> list[Card]:
    """Headline numbers."""
    return [
        Card("median latency", f"{number_text(latency['p50_ms'])} ms", f"p99 {number_text(latency['p99_ms'])} ms"),
        Card("throughput", number_text(float(latency["throughput_users_per_s"])), "users per second"),
    ]


def latency_section(latency: Figures, latency_ms: NDArray[np.float64]) -> Section:
    """Histogram and table."""
    marks = {name: latency[f"{name}_ms"] for name in ("p50", "p90", "p99")}
    graphs = latency.get("graphs", {"": latency})
    names = [name for name in ("min", "p50", "p90", "p99", "p999", "max", "mean", "user", "scoring", "walk") if f"{name}_ms" in latency]
    rows = [[ROW_NAMES.get(name, name), *(_milliseconds(graph, name) for graph in graphs.values())] for name in names]
    rows += [
        ["throughput", *(f"{number_text(float(graph['throughput_users_per_s']))} users/s" for graph in graphs.values())],
        ["requests", *(number_text(graph["requests"]) for graph in graphs.values())],
        ["errors", *(number_text(graph["errors"]) for graph in graphs.values())],
        ["time to load the graph", *(seconds_text(graph["load_seconds"]) if "load_seconds" in graph else "" for graph in graphs.values())],
    ]
    if any("graph_rss_bytes" in graph for graph in graphs.values()):
        rows.append(
            [
                "memory of the graph",
                *(bytes_text(graph["graph_rss_bytes"]) if "graph_rss_bytes" in graph else "" for graph in graphs.values()),
            ]
        )
    rows.append(["highest memory of the process", bytes_text(latency["peak_rss_bytes"]), *[""] * (len(graphs) - 1)])
    header = ["measure", *(form or "value" for form in graphs)]
    return Section(
        anchor="latency",
        title="Latency",
        lead=_load_text(latency),
        pictures=[figures.latency_histogram(latency_ms, marks, name="latency")] if len(latency_ms) else [],
        explanation=(
            f"{_loop_text(latency)}, with real histories in a seeded order, after a warm-up that is not counted. p99 is the time that one "
            "request in a hundred exceeds, p99.9 one in a thousand. User, scoring and walk are times of ops, taken on separate requests "
            "under a tracer: their shares tell, not their sum. The numbers belong to this machine and to whatever else ran on it."
        ),
        tables=[PageTable(header, rows)],
    )


def _milliseconds(graph: Figures, name: str) -> str:
    return f"{number_text(graph[f'{name}_ms'])} ms" if f"{name}_ms" in graph else ""


def _loop_text(latency: Figures) -> str:
    if latency.get("requests_per_s"):
        rate = number_text(float(latency["requests_per_s"]))
        return f"{rate} requests fall due per second, latency counts from then"
    return "Each client sends the next request as soon as the last one is answered (closed loop)"


def _load_text(latency: Figures) -> str:
    threads, batch = latency["threads"], latency["batch_size"]
    clients = "1 client" if threads == 1 else f"{threads} clients"
    users = "1 user" if batch == 1 else f"{batch} users"
    return f"{clients}, {users} per request, {seconds_text(latency['measured_seconds'])} measured, {latency['cpus']} CPUs."
