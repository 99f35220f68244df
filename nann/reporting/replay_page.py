"""The report of `replay`: recall window by window, what each method costs, and what it forgets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from matplotlib.ticker import PercentFormatter

from nann.reporting import svg
from nann.reporting.page import Card, Page, PageTable, Section
from nann.reporting.text import bytes_text, seconds_text

Replay = Mapping[str, Any]
COLORS = {
    "scratch": svg.INK,
    "warm-static": svg.BLUE,
    "warm-ev": svg.GREEN,
    "warm-adaptive": svg.ORANGE,
    "popularity_6h": svg.GREY,
    "item_cf_48h": svg.LIGHT_BLUE,
}


def replay_page(result: Replay) -> Page:
    """The page of one replay.

    Args:
        result: the contents of ``replay.json``.
    """
    windows, config = result["windows"], result["config"]
    ks, methods = config["ks"], config["methods"]
    last = windows[-1]
    k = ks[-1]
    return Page(
        title="Retraining, replayed",
        subtitle=f"{len(windows)} windows of {config['window_hours']:g} h from {_when(windows[0])} to {_when(last)} UTC",
        cards=[
            Card(
                f"{method}: recall@{k}", _mean_text(windows, method, f"recall@{k}"), "mean over the users of all windows it was measured in"
            )
            for method in methods
        ],
        sections=[
            Section(
                anchor="recall",
                title="Recall in the next window",
                pictures=[_recall_lines(windows, methods, ks)],
                explanation=(
                    "At each moment a model is made from what was known, and asked for the first event of users in the window after it. "
                    "Targets that nobody had read before cannot be found by any method and count as misses."
                ),
                tables=[_recall_table(windows, methods, which) for which in ks],
            ),
            Section(
                anchor="parts",
                title="New and older items",
                pictures=[_parts_lines(windows, methods, k)],
                explanation=f"recall@{k} over targets first seen in the last window, and over those known before it.",
                tables=[_parts_table(windows, methods, k)],
            ),
            Section(
                anchor="cost",
                title="What a window costs",
                pictures=[_cost_lines(windows, methods)],
                tables=[_cost_table(windows, methods)],
            ),
            Section(
                anchor="forgetting",
                title="Forgetting",
                explanation=(
                    f"recall@{k} on questions of earlier windows to users that never train, asked as they were then (items and prior "
                    "of that time), over targets known then. Age 1 is the first model that has seen the window's other users."
                ),
                tables=[_forgetting_table(windows, methods, k)],
            ),
        ],
    )


def _when(window: Mapping[str, Any]) -> str:
    return f"{datetime.fromtimestamp(window['moment'], UTC):%Y-%m-%d %H:%M}"


def _mean(pairs: Sequence[tuple[float | None, float]]) -> float | None:
    """Mean of values with weights: every user counts once, in whatever window."""
    known = [(value, weight) for value, weight in pairs if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def _part(window: Mapping[str, Any], method: str) -> Mapping[str, Any] | None:
    entry = window["methods"].get(method)
    found: Mapping[str, Any] | None = entry["recall"] if entry else window["simple"].get(method)
    return found


def _of(window: Mapping[str, Any], method: str, name: str) -> float | None:
    found = _part(window, method)
    return None if found is None else found[name]


def _weighed(found: Mapping[str, Any] | None, name: str) -> tuple[float | None, float]:
    """A recall of a window, and the users it is of."""
    if found is None:
        return None, 0
    users = {"recall_known": found["known"], "recall_new": found["new"], "recall_older": found["known"] - found["new"]}
    return found[name], users.get(name.partition("@")[0], found["users"])


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _mean_text(windows: Sequence[Mapping[str, Any]], method: str, name: str) -> str:
    return _text(_mean([_weighed(_part(window, method), name) for window in windows]))


def _columns(windows: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> list[str]:
    return [*methods, *windows[0]["simple"]]


def _prior(window: Mapping[str, Any], name: str) -> tuple[float | None, float]:
    return _weighed(next((entry["prior_alone"] for entry in window["methods"].values()), None), name)


def _recall_table(windows: Sequence[Mapping[str, Any]], methods: Sequence[str], k: int) -> PageTable:
    name, columns = f"recall@{k}", _columns(windows, methods)
    rows = []
    for window in windows:
        part = next(iter(window["simple"].values()))
        shares = [f"{window['users']:,}", _text(part["known"] / max(1, part["users"]))]
        rows.append([_when(window), *shares, *(_text(_of(window, column, name)) for column in columns), _text(_prior(window, name)[0])])
    means = [*(_mean_text(windows, column, name) for column in columns), _text(_mean([_prior(window, name) for window in windows]))]
    rows.append(["all users", f"{sum(window['users'] for window in windows):,}", "", *means])
    header = ["asked from", "users", "target known", *columns, "prior alone"]
    return PageTable(header, rows, caption=f"recall@{k}, all targets")


def _parts_table(windows: Sequence[Mapping[str, Any]], methods: Sequence[str], k: int) -> PageTable:
    columns = _columns(windows, methods)
    parts = (("recall_known", "known"), ("recall_new", "new in the last window"), ("recall_older", "older"))
    rows = [[label, *(_mean_text(windows, column, f"{part}@{k}") for column in columns)] for part, label in parts]
    return PageTable(["targets", *columns], rows, caption=f"recall@{k}, mean over the users of all windows")


def _cost_table(windows: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> PageTable:
    rows = []
    for window in windows:
        for method in methods:
            entry = window["methods"].get(method)
            if entry is not None:
                seconds = [seconds_text(entry[name]) for name in ("wall_seconds", "processor_seconds")]
                shown = [f"{entry['steps']:,}", f"{entry['epochs']:g}", f"{entry['weight']:g}"]
                rows.append(
                    [
                        _when(window),
                        method,
                        *seconds,
                        *shown,
                        bytes_text(entry["table_bytes"]),
                        f"{entry.get('item_rows', 0):,}" if "item_rows" in entry else "-",
                    ]
                )
    header = ["trained at", "method", "wall", "processor", "steps", "passes", "weight of the score", "tables", "own rows"]
    return PageTable(header, rows, text_columns=2)


def _forgetting_table(windows: Sequence[Mapping[str, Any]], methods: Sequence[str], k: int) -> PageTable:
    name = f"recall@{k}"
    ages = sorted({int(age) for window in windows for entry in window["methods"].values() for age in entry["held_out"]})
    rows = []
    for method in methods:
        shown = []
        for age in ages:
            asked = [window["methods"][method]["held_out"].get(str(age), {}) for window in windows if method in window["methods"]]
            shown.append(_text(_mean([(part.get(name), part.get("users", 1)) for part in asked])))
        rows.append([method, *shown])
    return PageTable(
        ["method", *(f"age {age}" for age in ages)], rows, caption=f"{name} by age of the question in windows, over all questions"
    )


def _recall_lines(windows: Sequence[Mapping[str, Any]], methods: Sequence[str], ks: Sequence[int]) -> str:
    with svg.style():
        figure, panels = svg.new_figure(height=3.4, columns=len(ks))
        for axes, k in zip(panels, ks, strict=True):
            for method in (*methods, "popularity_6h", "item_cf_48h"):
                _line(axes, windows, method, f"recall@{k}")
            axes.set(title=f"recall@{k}")
            axes.set_ylim(bottom=0)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=6)
        return svg.to_svg(figure, name="replay-recall", label="Recall in the next window by method")


def _parts_lines(windows: Sequence[Mapping[str, Any]], methods: Sequence[str], k: int) -> str:
    with svg.style():
        figure, panels = svg.new_figure(height=3.2, columns=2)
        for axes, part, title in zip(panels, ("recall_new", "recall_older"), ("first seen in the last window", "older"), strict=True):
            for method in (*methods, "popularity_6h"):
                _line(axes, windows, method, f"{part}@{k}")
            axes.set(title=f"recall@{k}, targets {title}")
            axes.set_ylim(bottom=0)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=5)
        return svg.to_svg(figure, name="replay-parts", label="Recall of new and of older items by method")


def _line(axes: Any, windows: Sequence[Mapping[str, Any]], method: str, name: str) -> None:
    _plot(axes, [_of(window, method, name) for window in windows], method)
    _moments(axes, windows)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _moments(axes: Any, windows: Sequence[Mapping[str, Any]]) -> None:
    """Names at most five windows by their moment."""
    step = -(-len(windows) // 5)
    moments = [datetime.fromtimestamp(window["moment"], UTC) for window in windows]
    days = len({moment.date() for moment in moments}) == len(moments)
    axes.set_xticks(range(0, len(windows), step), [moment.strftime("%m-%d" if days else "%m-%d\n%H:%M") for moment in moments][::step])
    axes.set_xlim(-0.3, len(windows) - 0.7)  # the first and the last point whole


def _plot(axes: Any, values: Sequence[float | None], method: str) -> None:
    """A point per window, joined where no window between was left out."""
    drawn = [math.nan if value is None else value for value in values]
    axes.plot(range(len(drawn)), drawn, marker="o", color=COLORS[method], label=method, clip_on=False, zorder=3)


def _cost_lines(windows: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> str:
    with svg.style():
        figure, panels = svg.new_figure(height=3.0, columns=2)
        for axes, name, scale, title in (
            (panels[0], "processor_seconds", 1.0, "processor seconds of a training"),
            (panels[1], "table_bytes", 2.0**20, "embedding tables, MiB"),
        ):
            for method in methods:
                entries = [window["methods"].get(method) for window in windows]
                _plot(axes, [None if entry is None else entry[name] / scale for entry in entries], method)
            axes.set(title=title)
            _moments(axes, windows)
            axes.set_ylim(bottom=0)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
        return svg.to_svg(figure, name="replay-cost", label="Processor seconds and table bytes by window and method")
