"""Sections of the evaluation's report beyond recall: place in the list, share of the catalogue, parts of the users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nann.reporting import figures, svg
from nann.reporting.page import PageTable, Section
from nann.reporting.recall_sections import BASELINE_COLORS, MODELS, baselines_in_order, interval_of, with_interval
from nann.reporting.text import list_lengths

Metrics = Mapping[str, Any]
DIVISIONS = {  # what divides the users -> caption of its table, and heading of its groups
    "target_train_events": ("By training events of the held-out item (0: cold items)", "events"),
    "history_length": ("By history length", "items"),
    "target_in_history": ("By whether the held-out item is in the history", "in it"),
}


def ranking_section(metrics: Metrics) -> Section:
    """Where in the lists the held-out items stand, and how much of the catalogue is shown."""
    ks, baselines, ranges = list_lengths(metrics), baselines_in_order(metrics), metrics["intervals"]
    tables = []
    for metric, title in (("ndcg", "NDCG"), ("mrr", "MRR"), ("catalogue_coverage", "catalogue coverage")):
        if metric == "catalogue_coverage":  # of what is served only
            rows = [["model, exported graph", *_texts(metrics, ranges, metric, ks)]]
        else:
            rows = [[label, *_texts(metrics, ranges, f"{metric}_{kind}", ks)] for kind, label, _ in reversed(MODELS)]
        rows += [[name, *_texts(metrics["baselines"][name], ranges["baselines"][name], metric, ks)] for name in reversed(baselines)]
        tables.append(PageTable([title, *(f"@{k}" for k in ks)], rows))
    return Section(
        anchor="ranking",
        title="Place in the list, and share of the catalogue shown",
        explanation=(
            "NDCG counts a hit at place r as 1 / log2(1 + r), MRR as 1 / r; smaller, 95 % intervals (bootstrap over users). Catalogue "
            "coverage is the share of all items that stand in the list of at least one of these users."
        ),
        tables=tables,
    )


def groups_section(metrics: Metrics) -> Section:
    """Recall for parts of the users, at the largest K; the model's columns first."""
    k = list_lengths(metrics)[-1]
    simple = [(f"{name}@{k}", name, BASELINE_COLORS.get(name, svg.GREY)) for name in baselines_in_order(metrics)]
    models = [(f"recall_{kind}@{k}", label, color) for kind, label, color in MODELS]
    shown = [*reversed(models), *reversed(simple)]
    tables = []
    for division, groups in metrics["groups"].items():
        caption, heading = DIVISIONS.get(division, (division, "group"))
        rows = [
            [group["group"], f"{group['users']:,}", *(_text(group, group["intervals"], name) for name, _, _ in shown)] for group in groups
        ]
        tables.append(PageTable([heading, "users", *(label for _, label, _ in shown)], rows, caption=caption))
    buckets: Sequence[Metrics] = metrics["groups"].get("target_train_events", [])
    return Section(
        anchor="groups",
        title=f"Recall@{k} for parts of the users",
        pictures=[_bucket_bars(buckets, [*simple, *models], k)] if buckets else [],
        explanation=(
            f"{'The bars: users by training events of the held-out item. ' if buckets else ''}"
            "Items with few training events are the hard ones; with none, a model of ids has nothing to go by but the category. "
            "Whiskers, and the smaller figures below, are Wilson 95 % intervals: groups of few users say little."
        ),
        tables=tables,
    )


def _bucket_bars(buckets: Sequence[Metrics], shown: Sequence[tuple[str, str, str]], k: int) -> str:
    series = []
    for name, label, color in shown:
        ranges = [interval_of(bucket["intervals"], name) for bucket in buckets]
        series.append(figures.Bars(label, color, [bucket[name] for bucket in buckets], ranges))
    return figures.grouped_bars(
        [f"{bucket['group']}\n{bucket['users']:,} users" for bucket in buckets],
        series,
        name="groups",
        label=f"Recall@{k} by how often the held-out item was trained on",
        xlabel="training events of the held-out item",
    )


def _texts(values: Metrics, ranges: Metrics, name: str, ks: Sequence[int]) -> list[str]:
    return [_text(values, ranges, f"{name}@{k}") for k in ks]


def _text(values: Metrics, ranges: Metrics, name: str) -> str:
    return with_interval(values[name], interval_of(ranges, name))
