"""Sections of the evaluation's report: what the exported graph finds, what the exact scan finds, and what simple methods find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    "popularity_recent": svg.SAGE,
    "category_popularity": svg.LILAC,
    "repeat_last": svg.SAND,
    "item_cf": svg.GREY,
    "vsknn": svg.MOSS,
    "sequential_rules": svg.BRONZE,
}
MODELS = (("all", "model, exact scan", svg.LIGHT_BLUE), ("retrieval", "model, exported graph", svg.BLUE))


def recall_cards(metrics: Metrics) -> list[Card]:
    """Headline numbers: recall against the best simple method at every K, the rest at the largest K."""
    k = list_lengths(metrics)[-1]
    name = f"recall_retrieval@{k}"
    cards = [Card(f"recall@{k}", f"{metrics[name]:.3f}", range_text(interval_of(metrics["intervals"], name), _three, "95 %: "))]
    if best := metrics.get(BEST_BASELINE):
        for length in list_lengths(metrics):
            reached = f"{best[f'name@{length}']} reaches {best[f'recall@{length}']:.3f}"
            note = "; ".join(part for part in (ratio_interval_text(metrics, length), reached) if part)
            cards.append(Card(f"against the best baseline @{length}", ratio_text(metrics, length), note))
    delta = metrics[f"recall_delta@{k}"]
    covered = range_text(interval_of(metrics["intervals"], f"coverage@{k}"), share_text, "; 95 %: ")
    return [
        *cards,
        Card(f"coverage@{k}", share_text(metrics[f"coverage@{k}"]), f"of the exact top {k} is found{covered}"),
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
    ks, names = list_lengths(metrics), baselines_in_order(metrics)
    rows = [[bars.label, *map(with_interval, bars.values, bars.intervals)] for bars in reversed(recall_series(metrics))]
    if best := metrics.get(BEST_BASELINE):
        rows.append(["best baseline", *(best[f"name@{k}"] for k in ks)])
        rows.append(["exported graph / best baseline", *(_ratio_with_interval(metrics, k) for k in ks)])
    simple = f"Muted colours: the simple methods ({_described(names)}); what counts is the best of them at each K. " if names else ""
    return Section(
        anchor="recall",
        title="Recall against simple methods",
        pictures=[figures.recall_bars(ks, recall_series(metrics), name="recall")],
        explanation=(
            "Each user's history is cut before one held-out event; recall@K is the share of users whose held-out item is among the K items "
            f"recommended. {simple}"
            "Light blue: the model when it scores every item. Dark blue: the exported "
            "graph, which scores only a part. Whiskers, and the smaller figures below, are Wilson 95 % intervals; all methods answer for "
            f"the same users, so the paired interval of the ratio, and `nann compare`, say more about a difference. {options_text(metrics)}"
        ),
        tables=[PageTable(["recall", *(f"@{k}" for k in ks)], rows)],
    )


def recall_series(metrics: Metrics) -> list[figures.Bars]:
    """The baselines and then the model, over the K."""
    ks, ranges = list_lengths(metrics), metrics["intervals"]
    series = []
    for name in baselines_in_order(metrics):
        own, within = metrics["baselines"][name], ranges.get("baselines", {}).get(name, {})
        values, color = [own[f"recall@{k}"] for k in ks], BASELINE_COLORS.get(name, svg.GREY)
        series.append(figures.Bars(name, color, values, [interval_of(within, f"recall@{k}") for k in ks]))
    for kind, label, color in MODELS:
        names = [f"recall_{kind}@{k}" for k in ks]
        series.append(figures.Bars(label, color, [metrics[name] for name in names], [interval_of(ranges, name) for name in names]))
    return series


def interval_of(ranges: Metrics, name: str) -> figures.Interval | None:
    """The interval of a figure; None where there is none."""
    found = ranges.get(name)
    return None if found is None else (float(found[0]), float(found[1]))


def range_text(interval: figures.Interval | None, text: Callable[[float], str], before: str = "") -> str:
    """``0.110 to 0.137``; empty where there is no interval."""
    return f"{before}{text(interval[0])} to {text(interval[1])}" if interval else ""


def with_interval(value: float, interval: figures.Interval | None, text: Callable[[float], str] | None = None) -> str:
    """A figure, and in a line below it its interval."""
    if text is None:
        return f"{value:.3f}" + (f"\n{interval[0]:.3f}-{interval[1]:.3f}" if interval else "")
    return "\n".join(part for part in (text(value), range_text(interval, text)) if part)


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
    """What the search finds of the exact lists."""
    ks, ranges = list_lengths(metrics), metrics["intervals"]
    kinds = (
        ("coverage of the exact list", "coverage", share_text),
        ("recall lost by the search (delta)", "recall_delta", share_text),
        ("precision", "precision", _four),
        ("F1", "f1", _four),
    )
    rows = [
        [label, *(with_interval(metrics[f"{name}@{k}"], interval_of(ranges, f"{name}@{k}"), text) for k in ks)]
        for label, name, text in kinds
    ]
    return Section(
        anchor="search",
        title="What the search finds of the exact lists",
        tables=[PageTable(["exported graph", *(f"@{k}" for k in ks)], rows)],
        explanation=(
            "Coverage is the share of the exact top K that the search also returns. Recall lost is (exact - search) / exact; below zero "
            "the search was lucky. Precision is small by construction: one held-out item among K is at most 1/K. The smaller figures are "
            "95 % intervals (bootstrap over users)."
        ),
    )


def without_history_section(metrics: Metrics) -> Section:
    """What is found when items of the history are left out inside the search."""
    found, ks = metrics["without_history"], list_lengths(metrics)
    kinds = (
        ("coverage of the exact list without the history", "coverage", share_text),
        ("places that the history takes otherwise", "history_share", share_text),
        ("recall of new items, exact scan", "recall_all", _four),
        ("recall of new items, exported graph", "recall_retrieval", _four),
        ("recall of new items, exported graph with the history", "recall_unfiltered", _four),
    )
    rows = [[label, *(text(found[f"{name}@{k}"]) for k in ks)] for label, name, text in kinds]
    return Section(
        anchor="without-history",
        title="Without the items of the history",
        lead=(
            f"{found['num_users']:,} of {metrics['num_test_users']:,} users continue with an item that they had not; recall is theirs. "
            f"Per user the search scores {found['items_scored_mean']:,.0f} items."
        ),
        tables=[PageTable(["exclude_history", *(f"@{k}" for k in ks)], rows)],
        explanation="Items of the history are left out inside the search, so that as many items come back as with them.",
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
    error = max(point[f"recall_se@{ks[-1]}"] for point in points)
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
            f"choose nothing). {'The ring marks the exported setting, dashed lines' if data.chosen is not None else 'Dashed lines mark'} "
            "the recall of scoring every item. A good setting lies where the coverage has just become flat: further right costs time and "
            f"finds nothing more. Of so few users recall is less sure than coverage (standard error of recall@{ks[-1]}: {error:.3f})."
        ),
        folded=[PageTable(header, rows, caption="The settings, levels from 0 up", text_columns=3)],
    )


def _ratio_with_interval(metrics: Metrics, k: int) -> str:
    return "\n".join(part for part in (ratio_text(metrics, k), ratio_interval_text(metrics, k)) if part)


def _three(value: float) -> str:
    return f"{value:.3f}"


def _four(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _join(values: Sequence[int]) -> str:
    return ", ".join(f"{value:,}" for value in values)
