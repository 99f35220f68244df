"""Sections of the evaluation's report beyond recall: place in the list, share of the catalogue, parts of the users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nann.reporting import figures, svg
from nann.reporting.page import PageTable, Section
from nann.reporting.recall_sections import BASELINE_COLORS, MODELS, baselines_in_order
from nann.reporting.text import list_lengths

Metrics = Mapping[str, Any]
DIVISIONS = {
    "target_train_events": "by training events of the held-out item (0: cold items)",
    "history_length": "by history length",
    "target_in_history": "by whether the held-out item is in the history",
}


def ranking_section(metrics: Metrics) -> Section:
    """Where in the lists the held-out items stand, and how much of the catalogue is shown."""
    ks, baselines, ranges = list_lengths(metrics), baselines_in_order(metrics), metrics["intervals"]
    tables = []
    for metric, title in (("ndcg", "NDCG"), ("mrr", "MRR"), ("catalogue_coverage", "catalogue coverage")):
        rows = [[name, *_texts(metrics["baselines"][name], ranges["baselines"][name], metric, ks)] for name in baselines]
        if metric == "catalogue_coverage":  # of what is served only
            rows.append(["model, exported graph", *_texts(metrics, ranges, metric, ks)])
        else:
            rows += [[label, *_texts(metrics, ranges, f"{metric}_{kind}", ks)] for kind, label, _ in MODELS]
        tables.append(PageTable([title, *(f"@{k}" for k in ks)], rows))
    return Section(
        anchor="ranking",
        title="Place in the list, and share of the catalogue shown",
        explanation=(
            "NDCG counts a hit at place r as 1 / log2(1 + r), MRR as 1 / r; in brackets 95 % intervals (bootstrap over users). Catalogue "
            "coverage is the share of all items that stand in the list of at least one of these users."
        ),
        tables=tables,
    )


def groups_section(metrics: Metrics) -> Section:
    """Recall for parts of the users, at the largest K."""
    k = list_lengths(metrics)[-1]
    shown = [(f"{name}@{k}", name, BASELINE_COLORS.get(name, svg.GREY)) for name in baselines_in_order(metrics)]
    shown += [(f"recall_{kind}@{k}", label, color) for kind, label, color in MODELS]
    tables = [
        PageTable(
            [DIVISIONS.get(division, division), "users", *(label for _, label, _ in shown)],
            [
                [group["group"], f"{group['users']:,}", *(_text(group, group["intervals"], name) for name, _, _ in shown)]
                for group in groups
            ],
        )
        for division, groups in metrics["groups"].items()
    ]
    buckets: Sequence[Metrics] = metrics["groups"].get("target_train_events", [])
    return Section(
        anchor="groups",
        title=f"Recall@{k} for parts of the users",
        pictures=[_bucket_bars(buckets, shown, k)] if buckets else [],
        explanation=(
            "Items with few training events are the hard ones; with none, a model of ids has nothing to go by but the category. In "
            "brackets Wilson 95 % intervals: groups of few users say little."
        ),
        tables=tables,
    )


def _bucket_bars(buckets: Sequence[Metrics], shown: Sequence[tuple[str, str, str]], k: int) -> str:
    series = []
    for name, label, color in shown:
        ranges = [bucket["intervals"][name] for bucket in buckets]
        errors = [(high - low) / (2 * figures.INTERVAL) for low, high in ranges]
        series.append(figures.Bars(label, color, [bucket[name] for bucket in buckets], errors))
    return figures.grouped_bars(
        [f"{bucket['group']}\n{bucket['users']:,} users" for bucket in buckets],
        series,
        name="groups",
        label=f"Recall@{k} by how often the held-out item was trained on",
        digits=2,
        xlabel="training events of the held-out item",
    )


def _texts(values: Metrics, ranges: Metrics, name: str, ks: Sequence[int]) -> list[str]:
    return [_text(values, ranges, f"{name}@{k}") for k in ks]


def _text(values: Metrics, ranges: Metrics, name: str) -> str:
    """``0.123 (0.110 - 0.137)``; without the brackets where there is no interval."""
    text = f"{values[name]:.3f}"
    return f"{text} ({ranges[name][0]:.3f} - {ranges[name][1]:.3f})" if name in ranges else text
