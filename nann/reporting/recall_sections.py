"""Sections of the evaluation's report: what the exported graph finds, what the exact scan finds, and what simple methods find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nann.reporting import figures, svg
from nann.reporting.page import Card, Section, Table
from nann.reporting.text import number_text, share_text

Metrics = Mapping[str, Any]
BASELINE_NAMES = {
    "popularity": "popularity",
    "popularity_recent": "popular lately",
    "repeat_last": "repeat last",
    "item_cf": "item-to-item CF",
    "hnswlib": "hnswlib's own search",
}
BASELINE_COLORS = {"popularity": svg.LIGHT_GREY, "popularity_recent": "#b9c9b0", "repeat_last": "#d8c3a5", "item_cf": svg.GREY}
MODELS = (("all", "model, exact scan", svg.LIGHT_BLUE), ("retrieval", "model, exported graph", svg.BLUE))


def list_lengths(metrics: Metrics) -> list[int]:
    """The K of a ``metrics.json``, ascending."""
    return sorted(int(name.partition("@")[2]) for name in metrics if name.startswith("recall_all@"))


def recall_cards(metrics: Metrics) -> list[Card]:
    """Headline numbers at the largest K."""
    k = list_lengths(metrics)[-1]
    found, errors = metrics[f"recall_retrieval@{k}"], metrics["standard_errors"]
    cards = [Card(f"recall@{k}", f"{found:.3f}", f"± {errors[f'recall_retrieval@{k}']:.3f} (standard error)")]
    popularity = metrics["baselines"].get("popularity", {}).get(f"recall@{k}")
    if popularity:
        cards.append(Card("against popularity", f"{found / popularity:.1f} ×", f"popularity reaches {popularity:.3f}"))
    delta = metrics[f"recall_delta@{k}"]
    return [
        *cards,
        Card(f"coverage@{k}", share_text(metrics[f"coverage@{k}"]), f"of the exact top {k} is found"),
        Card("items scored", share_text(metrics["items_scored_share"]), f"{metrics['items_scored_mean']:,.0f} of {metrics['num_items']:,}"),
        Card(f"recall lost @{k}", share_text(delta), "by searching instead of scanning"),
    ]


def recall_section(metrics: Metrics) -> Section:
    """Recall of scan, search and baselines, as bars and as a table."""
    ks, errors = list_lengths(metrics), metrics["standard_errors"]
    series = [
        figures.Bars(
            BASELINE_NAMES.get(name, name),
            BASELINE_COLORS.get(name, svg.GREY),
            [metrics["baselines"][name][f"recall@{k}"] for k in ks],
            [errors["baselines"][name][f"recall@{k}"] for k in ks],
        )
        for name in baselines_in_order(metrics)
    ]
    for kind, label, color in MODELS:
        name = f"recall_{kind}"
        series.append(figures.Bars(label, color, [metrics[f"{name}@{k}"] for k in ks], [errors[f"{name}@{k}"] for k in ks]))
    rows = [[bars.label, *(f"{value:.4f} ± {error:.4f}" for value, error in zip(bars.values, bars.errors, strict=True))] for bars in series]
    return Section(
        anchor="recall",
        title="Recall against simple methods",
        pictures=[figures.recall_bars(ks, series, name="recall")],
        explanation=(
            "Each user's history is cut before one held-out event; recall@K is the share of users whose held-out item is among the K items "
            "recommended. Muted colours: the simple methods, which are items by popularity, by popularity of the last hours, the user's "
            "own last items, and items that the same users had. Light blue: the model when it scores every item. Dark blue: the exported "
            "graph, which scores only a part. Whiskers are 95 % intervals; all methods answer for the same users, so for a verdict on a "
            f"difference use nann compare. {options_text(metrics)}"
        ),
        tables=[Table(["recall ± standard error", *(f"@{k}" for k in ks)], rows)],
    )


def baselines_in_order(metrics: Metrics) -> list[str]:
    """The baselines of a ``metrics.json``, the known ones in the order they are always shown in."""
    found = list(metrics["baselines"])
    return [name for name in BASELINE_NAMES if name in found] + sorted(set(found) - set(BASELINE_NAMES))


def options_text(metrics: Metrics) -> str:
    """How the parameters of the baselines were chosen, as a sentence."""
    parts = []
    for name, values in sorted(metrics["baseline_options"].items()):
        (parameter,) = set(values) - {"tried", "k", "num_users"}
        how = f"best of {len(values['tried'])} on {values['num_users']:,} validation users" if values["tried"] else "given"
        parts.append(f"{BASELINE_NAMES.get(name, name)}: {parameter} {values[parameter]:g} ({how})")
    return f"Parameters: {'; '.join(parts)}." if parts else ""


def search_section(metrics: Metrics) -> Section:
    """What the search finds of the exact lists, and at what cost."""
    ks = list_lengths(metrics)
    kinds = (
        ("coverage of the exact list", "coverage", share_text),
        ("recall lost by the search (delta)", "recall_delta", share_text),
        ("precision", "precision", _four),
        ("F1", "f1", _four),
    )
    rows = [[label, *(text(metrics[f"{name}@{k}"]) for k in ks)] for label, name, text in kinds]
    return Section(
        anchor="search",
        title="What the search finds of the exact lists",
        lead=(
            f"Per user the search scores {metrics['items_scored_mean']:,.0f} of {metrics['num_items']:,} items "
            f"({share_text(metrics['items_scored_share'])})."
        ),
        tables=[Table(["exported graph", *(f"@{k}" for k in ks)], rows)],
        explanation=(
            "Coverage is the share of the exact top K that the search also returns. Recall lost is (exact - search) / exact; below zero "
            "the search was lucky. Precision is small by construction: one held-out item among K is at most 1/K."
        ),
    )


def curve_section(curve: Metrics) -> Section:
    """Quality against cost on validation users."""
    points: Sequence[Metrics] = curve["points"]
    ks = list_lengths(curve["exact"])
    data = figures.WidthCurve(
        items_scored=[point["items_scored_mean"] for point in points],
        coverage={k: [point[f"coverage@{k}"] for point in points] for k in ks},
        recall={k: [point[f"recall@{k}"] for point in points] for k in ks},
        recall_exact={k: curve["exact"][f"recall_all@{k}"] for k in ks},
        chosen=next((place for place, point in enumerate(points) if point["exported"]), None),
    )
    header = [
        "search width",
        "ef by level",
        "rounds by level",
        "items scored",
        "share",
        *(f"cov@{k}" for k in ks),
        *(f"rec@{k}" for k in ks),
    ]
    rows = [
        [
            f"× {point['scale']:g}" + (" (exported)" if point["exported"] else ""),
            _join(point["ef"]),
            _join(point["rounds"]),
            number_text(round(point["items_scored_mean"])),
            share_text(point["items_scored_share"]),
            *(f"{point[f'coverage@{k}']:.3f}" for k in ks),
            *(f"{point[f'recall@{k}']:.3f}" for k in ks),
        ]
        for point in points
    ]
    return Section(
        anchor="width",
        title="Quality against the number of items scored",
        pictures=[figures.width_curves(data, name="width")],
        explanation=(
            f"The same model and graph searched with narrower and wider lists, on {curve['num_users']:,} validation users (test users "
            "choose nothing). The ring marks the exported setting, dashed lines the recall of scoring every item. A good setting lies "
            "where the coverage has just become flat: further right costs time and finds nothing more. With so few users recall is rough "
            f"(standard error at @{ks[-1]}: {max(point[f'recall_se@{ks[-1]}'] for point in points):.3f}); coverage is not."
        ),
        folded=[Table(header, rows, caption="The settings, levels from 0 up", text_columns=3)],
    )


def _four(value: float) -> str:
    return f"{value:.4f}"


def _join(values: Sequence[int]) -> str:
    return ", ".join(f"{value:,}" for value in values)
