"""The pictures of the reports: plain numbers in, one ``<svg>`` element out.

Each function takes a ``name`` that is unique within the page (see `svg.to_svg`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from nann.reporting import svg
from nann.reporting.text import bytes_text, number_text, seconds_text

Interval = tuple[float, float]


def training_curves(
    steps: Sequence[float], losses: Sequence[float], recall: Mapping[str, Sequence[tuple[float, float]]] | None = None, *, name: str
) -> str:
    """Training loss by step, and beside it recall on validation users if it was measured.

    Args:
        steps: [R] step of each logged loss.
        losses: [R] losses; drawn faint, with their centred running mean over a twentieth of the curve in front.
        recall: label -> (step, recall) pairs.
        name: unique within the page.
    """
    values = np.asarray(losses, dtype=np.float64)
    with svg.style():
        figure, panels = svg.new_figure(height=3.0, columns=2 if recall else 1)
        window = running_mean_width(len(values))
        smooth = window > 1
        panels[0].plot(steps, values, color=svg.LIGHT_BLUE if smooth else svg.BLUE, linewidth=1.2, marker=None if smooth else "o")
        if smooth:
            middle = window // 2
            means = np.convolve(values, np.ones(window) / window, mode="valid")
            panels[0].plot(steps[middle : middle + len(means)], means, color=svg.BLUE)
        panels[0].set(title="loss", xlabel="training step")
        for place, (label, points) in enumerate((recall or {}).items()):
            x, y = zip(*points, strict=True)
            panels[1].plot(x, y, marker="o", color=svg.SERIES[place % len(svg.SERIES)], label=label)
        if recall:
            panels[1].set(title="recall of the exact scan, validation users", xlabel="training step")
            panels[1].set_ylim(bottom=0)
            panels[1].legend(loc="lower right", ncols=len(recall))
        for axes in panels:
            axes.set_xlim(0, 1.03 * max(steps))
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            _thousands(axes, "x")
        label = "Training loss by step" + (", and recall on validation users" if recall else "")
        return svg.to_svg(figure, name=name, label=label)


def running_mean_width(records: int) -> int:
    """Losses behind each point of their running mean; 1 where there are too few for one."""
    return max(1, records // 20)


@dataclass(frozen=True)
class Bars:
    """One series of bars: a label, a colour, and per group of bars a share with its 95 % interval, None where there is none."""

    label: str
    color: str
    values: Sequence[float]
    intervals: Sequence[Interval | None]


def recall_bars(ks: Sequence[int], series: Sequence[Bars], *, name: str) -> str:
    """Recall at each K, one bar per series, with 95 % intervals."""
    label = "Recall of the model and of the baselines at each list length"
    return grouped_bars([f"recall@{k}" for k in ks], series, name=name, label=label)


def grouped_bars(groups: Sequence[str], series: Sequence[Bars], *, name: str, label: str, xlabel: str = "") -> str:
    """Shares of users: one group of bars per text, one bar per series, with 95 % intervals. The values are for a table beside it."""
    with svg.style():
        figure, (axes,) = svg.new_figure(height=3.6)
        width, top = 0.82 / max(1, len(series)), 1e-9
        for place, bars in enumerate(series):
            x = np.arange(len(groups)) + (place - (len(series) - 1) / 2) * width
            axes.bar(x, bars.values, width * 0.92, color=bars.color, label=bars.label)
            for at, value, interval in zip(x, bars.values, bars.intervals, strict=True):
                if interval is None:
                    continue
                low, high = interval
                axes.errorbar(
                    at, value, [[max(0.0, value - low)], [max(0.0, high - value)]], fmt="none", ecolor=svg.INK, elinewidth=0.9, capsize=2.5
                )
            top = max([top, *bars.values, *(interval[1] for interval in bars.intervals if interval)])
        axes.set_xticks(np.arange(len(groups)), list(groups))
        axes.tick_params(axis="x", length=0)
        axes.set_ylim(0, top * 1.04)
        axes.set(ylabel="share of users", xlabel=xlabel)
        figure.legend(loc="outside upper left", ncols=min(5, len(series)), fontsize=7.5)
        return svg.to_svg(figure, name=name, label=label)


@dataclass(frozen=True)
class WidthCurve:
    """Quality against cost: per search width the items scored per user and, per K, coverage and recall.

    Attributes:
        items_scored: [P] mean number of items scored per user, ascending.
        coverage: K -> [P] mean coverage.
        recall: K -> [P] mean recall.
        recall_exact: K -> recall of the exact scan on the same users.
        chosen: index of the exported setting among the P, or None.
    """

    items_scored: Sequence[float]
    coverage: Mapping[int, Sequence[float]]
    recall: Mapping[int, Sequence[float]]
    recall_exact: Mapping[int, float]
    chosen: int | None


def width_curves(curve: WidthCurve, *, name: str) -> str:
    """Coverage (left) and recall (right) against items scored; the exported setting ringed, exact recall dashed."""
    with svg.style():
        figure, panels = svg.new_figure(height=3.5, columns=2)
        for axes, values, title in zip(panels, (curve.coverage, curve.recall), ("coverage of the exact list", "recall"), strict=True):
            for place, (k, series) in enumerate(values.items()):
                color = svg.SERIES[place % len(svg.SERIES)]
                axes.plot(curve.items_scored, series, marker="o", color=color, label=f"@{k}")
                if values is curve.recall and k in curve.recall_exact:
                    axes.axhline(curve.recall_exact[k], color=color, linestyle=(0, (4, 3)), linewidth=1)
                if curve.chosen is not None:
                    place_x, place_y = [curve.items_scored[curve.chosen]], [series[curve.chosen]]
                    axes.plot(place_x, place_y, "o", markersize=10, markerfacecolor="none", markeredgecolor=svg.INK)
            axes.set(title=title, xlabel="items scored per user")
            top = max(value for series in values.values() for value in series)
            axes.set_ylim(0, 1.08 * max(top, *(curve.recall_exact.values() if values is curve.recall else ()), 1e-9))
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(6))
            _thousands(axes, "x")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))
        return svg.to_svg(figure, name=name, label="Coverage and recall against the number of items scored per user")


def latency_histogram(latency_ms: NDArray[np.float64], percentiles: Mapping[str, float], *, name: str) -> str:
    """Requests by latency, with lines at the given percentiles (label -> ms); the last 0.5 % beyond the picture are counted in a note."""
    with svg.style():
        figure, (axes,) = svg.new_figure(height=3.2)
        low = float(latency_ms.min())
        high = max(float(np.quantile(latency_ms, 0.995)), max(percentiles.values())) * 1.02
        high = high if high > low else low + 1e-3
        axes.hist(latency_ms, bins=[float(edge) for edge in np.linspace(low, high, 61)], color=svg.LIGHT_BLUE)
        for place, (label, value) in enumerate(percentiles.items()):
            axes.axvline(value, color=svg.BLUE, linewidth=1.2)
            inside = value < low + 0.75 * (high - low)
            axes.annotate(
                label,
                (value, 1 - 0.08 * place),
                xycoords=("data", "axes fraction"),
                xytext=(3 if inside else -3, -2),
                textcoords="offset points",
                va="top",
                ha="left" if inside else "right",
            )
        beyond = int(np.count_nonzero(latency_ms > high))
        note = f" ({beyond:,} slower requests not shown, up to {number_text(float(latency_ms.max()))} ms)" if beyond else ""
        _thousands(axes, "y")
        axes.set(xlabel=f"latency in ms{note}", ylabel="requests")
        return svg.to_svg(figure, name=name, label="Histogram of request latency")


def step_durations(steps: Sequence[str], seconds: Sequence[float], reused: Sequence[bool], *, name: str) -> str:
    """Seconds per step as horizontal bars, first step on top; steps that kept an equal artifact are grey."""
    colors = [svg.LIGHT_GREY if kept else svg.BLUE for kept in reused]
    texts = [seconds_text(value) + (" (kept)" if kept else "") for value, kept in zip(seconds, reused, strict=True)]
    return _horizontal_bars(steps, seconds, colors, texts, name=name, label="Duration of each step", xlabel="seconds")


def artifact_sizes(artifacts: Sequence[str], sizes_bytes: Sequence[int], *, name: str) -> str:
    """Size of each artifact as horizontal bars, in MB (10^6 bytes)."""
    megabytes = [size / 1e6 for size in sizes_bytes]
    texts = [bytes_text(size) for size in sizes_bytes]
    return _horizontal_bars(artifacts, megabytes, [svg.BLUE] * len(artifacts), texts, name=name, label="Size of each artifact", xlabel="MB")


def _horizontal_bars(
    labels: Sequence[str], values: Sequence[float], colors: Sequence[str], texts: Sequence[str], *, name: str, label: str, xlabel: str
) -> str:
    with svg.style():
        figure, (axes,) = svg.new_figure(height=0.7 + 0.27 * len(labels))
        y = np.arange(len(labels))[::-1]
        axes.barh(y, values, 0.66, color=colors)
        for at, value, text in zip(y, values, texts, strict=True):
            axes.annotate(text, (value, at), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(y, labels)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.set_xlim(0, max([*values, 1e-9]) * 1.14)
        axes.set_xlabel(xlabel)
        _thousands(axes, "x")
        return svg.to_svg(figure, name=name, label=label)


def _thousands(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value == round(value) else f"{value:g}")
