"""Sections of the evaluation's report: what the exported graph finds, what the exact scan finds, and what simple methods find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nann.evaluation.best_baseline import BEST_BASELINE
from nann.reporting import figures, svg
from nann.reporting.page import Card, PageTable, Section
from nann.reporting.text import list_lengths, number_text, share_text

Metrics = Mapping[str, Any]
BASELINES = {  # in the order in which they are shown; a baseline has one name everywhere, which `nann compare` takes
    "popularity": "the items of most events",
    "popularity_recent": "those of most events in the last hours",
    "category_popularity": "those of most events in the history's categories",
    "repeat_last": "the user's own last items",
    "item_cf": "items that the same users had",
    "vsknn": "items of the nearest training users",
    "sequential_rules": "items that followed the history's items",
    "hnswlib": "the model's own vectors, searched the classic way",
}
BASELINE_COLORS = {
    "popularity": svg.LIGHT_GREY,
    "popularity_recent": "#b9c9b0",
    "category_popularity": "#c9b8cf",
    "repeat_last": "#d8c3a5",
    "item_cf": svg.GREY,
    "vsknn": "#8fa58a",
    "sequential_rules": "#a98f6a",
}
MODELS = (("all", "model, exact scan", svg.LIGHT_BLUE), ("retrieval", "model, exported graph", svg.BLUE))


def recall_cards(metrics: Metrics) -> list[Card]:
    """Headline numbers: recall against the best simple method at every K, the rest at the largest K."""
    k = list_lengths(metrics)[-1]
    found, errors = metrics[f"recall_retrieval@{k}"], metrics["standard_errors"]
    cards = [Card(f"recall@{k}", f"{found:.3f}", f"± {errors[f'recall_retrieval@{k}']:.3f} (standard error)")]
    if best := metrics.get(BEST_BASELINE):
        for length in list_lengths(metrics):
            name, reached = best[f"name@{length}"], best[f"recall@{length}"]
            note = f"{ratio_interval_text(metrics, length)}; {name} reaches {reached:.3f}".removeprefix("; ")
            cards.append(Card(f"against the best baseline @{length}", ratio_text(metrics, length), note))
    delta = metrics[f"recall_delta@{k}"]
    return [
        *cards,
        Card(f"coverage@{k}", share_text(metrics[f"coverage@{k}"]), f"of the exact top {k} is found"),
        Card("items scored", share_text(metrics["items_scored_share"]), f"{metrics['items_scored_mean']:,.0f} of {metrics['num_items']:,}"),
        Card(f"recall lost @{k}", share_text(delta), "by searching instead of scanning"),
    ]


def ratio_text(metrics: Metrics, k: int) -> str:
    """Recall@K of the exported graph over that of the best baseline: ``1.05 ×``; a dash where that is 0."""
    ratio = metrics[f"ratio_to_best_baseline@{k}"]
    return "-" if ratio is None else f"{ratio:.2f} ×"


def ratio_interval_text(metrics: Metrics, k: int) -> str:
    """``0.97 to 1.12`` of that ratio; empty where there is no interval."""
    interval = metrics["intervals"].get(f"ratio_to_best_baseline@{k}")
    return f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else ""


def recall_section(metrics: Metrics) -> Section:
    """Recall of scan, search and baselines, as bars and as a table."""
    ks, errors = list_lengths(metrics), metrics["standard_errors"]
    series = [
        figures.Bars(
            name,
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
    if best := metrics.get(BEST_BASELINE):
        names = [best[f"name@{k}"] for k in ks]
        rows.append(["best baseline", *(name for name in names)])
        rows.append(["exported graph / best baseline (95 % interval)", *(_with_interval(metrics, k) for k in ks)])
    return Section(
        anchor="recall",
        title="Recall against simple methods",
        pictures=[figures.recall_bars(ks, series, name="recall")],
        explanation=(
            "Each user's history is cut before one held-out event; recall@K is the share of users whose held-out item is among the K items "
            f"recommended. Muted colours: the simple methods ({_described(baselines_in_order(metrics))}); "
            "what counts is the best of them at each K. Light blue: the model when it scores every item. Dark blue: the exported "
            "graph, which scores only a part. Whiskers are 95 % intervals; all methods answer for the same users, so the paired interval "
            f"of the ratio, and nann compare, say more about a difference. {options_text(metrics)}"
        ),
        tables=[PageTable(["recall ± standard error", *(f"@{k}" for k in ks)], rows)],
    )


def baselines_in_order(metrics: Metrics) -> list[str]:
    """The baselines of a ``metrics.json``, the known ones in the order they are always shown in."""
    found = list(metrics["baselines"])
    return [name for name in BASELINES if name in found] + sorted(set(found) - set(BASELINES))


def _described(names: Sequence[str]) -> str:
    return "; ".join(f"{name}: {BASELINES[name]}" if name in BASELINES else name for name in names) or "none was measured"


def options_text(metrics: Metrics) -> str:
    """How the parameters of the baselines were chosen, as a sentence."""
    parts = []
    for name, values in sorted(metrics["baseline_options"].items()):
        parameters = [parameter for parameter in values if parameter not in ("tried", "ks", "num_users")]
        chosen = ", ".join(f"{parameter} {values[parameter]:g}" for parameter in sorted(parameters))
        how = f"best of {len(values['tried'])} on {values['num_users']:,} validation users" if values["tried"] else "given"
        parts.append(f"{name}: {chosen} ({how})")
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
        tables=[PageTable(["exported graph", *(f"@{k}" for k in ks)], rows)],
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
        folded=[PageTable(header, rows, caption="The settings, levels from 0 up", text_columns=3)],
    )


def _with_interval(metrics: Metrics, k: int) -> str:
    interval = ratio_interval_text(metrics, k)
    return ratio_text(metrics, k) + (f" ({interval})" if interval else "")


def _four(value: float) -> str:
    return f"{value:.4f}"


def _join(values: Sequence[int]) -> str:
    return ", ".join(f"{value:,}" for value in values)
