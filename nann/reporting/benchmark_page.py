"""The report of `benchmark`: latency and throughput of the exported graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nann.reporting import figures
from nann.reporting.page import Card, Page, Section, Table
from nann.reporting.text import bytes_text, number_text, seconds_text

Figures = Mapping[str, Any]


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
        sections=[latency_section(latency, latency_ms)],
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
    rows = [[name, f"{number_text(latency[f'{name}_ms'])} ms"] for name in ("min", "p50", "p90", "p99", "max", "mean")]
    rows += [
        ["throughput", f"{number_text(float(latency['throughput_users_per_s']))} users/s"],
        ["requests", number_text(latency["requests"])],
        ["errors", number_text(latency["errors"])],
        ["time to load the graph", seconds_text(latency["load_seconds"])],
        ["highest memory of the process", bytes_text(latency["peak_rss_bytes"])],
    ]
    return Section(
        anchor="latency",
        title="Latency",
        lead=_load_text(latency),
        pictures=[figures.latency_histogram(latency_ms, marks, name="latency")] if len(latency_ms) else [],
        explanation=(
            "Each client sends the next request as soon as the last one is answered (closed loop), with real histories in a seeded order, "
            "after a warm-up that is not counted. p99 is the time that one request in a hundred exceeds. The numbers belong to this "
            "machine and to whatever else ran on it."
        ),
        tables=[Table(["measure", "value"], rows)],
    )


def _load_text(latency: Figures) -> str:
    threads, batch = latency["threads"], latency["batch_size"]
    clients = "1 client" if threads == 1 else f"{threads} clients"
    users = "1 user" if batch == 1 else f"{batch} users"
    return f"{clients}, {users} per request, {seconds_text(latency['measured_seconds'])} measured, {latency['cpus']} CPUs."
