"""The report of `tune`: what each search finds, what it costs, and which one is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import PercentFormatter

from nann.evaluation.intervals import Z
from nann.reporting import svg
from nann.reporting.page import Card, Page, PageTable, Section
from nann.reporting.text import number_text, share_range_text, share_text

Tuning = Mapping[str, Any]


def tuning_page(tuning: Tuning) -> Page:
    """The page of one tuning.

    Args:
        tuning: the contents of ``tuning.json``.
    """
    k, points = tuning["k"], tuning["points"]
    chosen = points[tuning["chosen"]]
    order = sorted(range(len(points)), key=lambda n: points[n]["items_scored_mean"])
    rows = [
        [
            ("→ " if n == tuning["chosen"] else "") + str(points[n]["graph"]),
            ",".join(map(str, points[n]["ef"])),
            ",".join(map(str, points[n]["rounds"])),
            "index" if points[n]["start_level"] < 0 else str(points[n]["start_level"]),
            f"{points[n][f'coverage@{k}']:.4f}\n{_mean_range(points[n][f'coverage@{k}'], points[n][f'coverage_se@{k}'])}",
            f"{points[n][f'recall@{k}']:.4f}\n{share_range_text(points[n][f'recall@{k}'], tuning['num_users'], 4)}",
            f"{points[n]['items_scored_mean']:,.0f}",
            share_text(points[n]["items_scored_share"]),
            f"{points[n]['p50_ms']:.1f}",
        ]
        for n in order
    ]
    header = ["graph", "ef", "rounds", "start level", f"coverage@{k}", f"recall@{k}", "items scored", "share", "median ms"]
    return Page(
        title="Search parameters",
        subtitle=f"{tuning['num_users']:,} validation users, {tuning['num_items']:,} items, exact recall@{k} {tuning['exact_recall']:.4f}",
        cards=[
            Card("ef", ",".join(map(str, chosen["ef"])), f"rounds {','.join(map(str, chosen['rounds']))}, graph {chosen['graph']}"),
            Card(f"coverage@{k}", share_text(chosen[f"coverage@{k}"]), "target reached" if tuning["reached"] else "target not reached"),
            Card("items scored", share_text(chosen["items_scored_share"]), f"{chosen['items_scored_mean']:,.0f} per user"),
            Card("latency", f"{number_text(chosen['p50_ms'])} ms", "median, one user per call"),
        ],
        sections=[
            Section(
                anchor="curve",
                title="Quality against cost",
                pictures=[_curve(points, tuning["chosen"], k)],
                explanation=(
                    f"Each point is one search on one graph. coverage@{k} is the share of the exact top {k} that is found; the chosen "
                    "point, ringed, is the one with the fewest items scored among those that reach the targets within the latency budget. "
                    "The smaller figures are 95 % intervals."
                ),
                tables=[PageTable(header, rows)],
            )
        ],
    )


def _mean_range(mean: float, error: float) -> str:
    """The 95 % interval of a mean of shares, which lies between 0 and 1."""
    return f"{max(0.0, mean - Z * error):.4f} to {min(1.0, mean + Z * error):.4f}"


def _curve(points: Sequence[Mapping[str, Any]], chosen: int, k: int) -> str:
    with svg.style():
        figure, panels = svg.new_figure(height=3.4, columns=2)
        for axes, name, label in (
            (panels[0], "items_scored_share", "share of items scored"),
            (panels[1], "p50_ms", "median latency of one user, ms"),
        ):
            for place, graph in enumerate(dict.fromkeys(point["graph"] for point in points)):
                color = svg.SERIES[place % len(svg.SERIES)]
                own = [point for point in points if point["graph"] == graph]
                axes.scatter([p[name] for p in own], [p[f"coverage@{k}"] for p in own], s=16, color=color, label=f"coverage, {graph}")
                recalls = [p[f"recall@{k}"] for p in own]
                axes.scatter([p[name] for p in own], recalls, s=16, color=color, marker="x", label=f"recall, {graph}")
            axes.scatter([points[chosen][name]], [points[chosen][f"coverage@{k}"]], s=90, facecolors="none", edgecolors=svg.INK)
            axes.set(xlabel=label, title=f"coverage@{k} and recall@{k}")
            axes.set_xlim(0, 1.05 * max(point[name] for point in points))
        panels[0].xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
        return svg.to_svg(figure, name="tuning", label="Coverage and recall of each search against items scored and against latency")
