"""The report of `sweep`: what each trial reached, and how each setting bears on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nann.contents import opening, read_json
from nann.forms import SweepResult
from nann.reporting import svg
from nann.reporting.page import Card, Page, PageTable, Section
from nann.reporting.text import share_range_text

Trial = Mapping[str, Any]


def sweep_page(sweep: Mapping[str, Any]) -> Page:
    """The page of one sweep.

    Args:
        sweep: the contents of ``sweep.json``.
    """
    trials, metric = sweep["trials"], sweep["metric"]
    chosen = trials[sweep["chosen"]]
    best = chosen["recall"][-1]
    header, rows = trial_table(sweep)
    names = list(chosen["settings"])
    return Page(
        title="Sweep over training settings",
        subtitle=f"{len(trials)} trials, {metric} on {sweep['num_users']:,} validation users",
        cards=[
            Card(metric, f"{best:.4f}", f"95 %: {share_range_text(best, sweep['num_users'], 4)}"),
            *(Card(name.partition(".")[2], str(value), "chosen") for name, value in chosen["settings"].items()),
        ],
        sections=[
            Section(
                anchor="trials",
                title="Trials",
                pictures=[_rung_lines(sweep)],
                explanation=(
                    "Each line is a trial, each point a finished training over that share of the steps. Only the best trials of a rung go "
                    "on to the next; the chosen one is blue. Trials within the interval above may differ by chance alone."
                ),
                tables=[PageTable(header, rows)],
            ),
            Section(
                anchor="settings",
                title="Settings",
                pictures=[_setting_points(trials, name, metric, number) for number, name in enumerate(names)],
                explanation="Every trial at the last rung it reached; lighter points are trials that were stopped earlier.",
            ),
        ],
    )


def trial_table(sweep: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the trials, best first: those that came further, then by recall."""
    trials: Sequence[Trial] = sweep["trials"]
    names = list(trials[0]["settings"])
    order = sorted(trials, key=lambda t: (-len(t["recall"]), -(t["recall"][-1] if t["recall"][-1] is not None else -1), t["trial"]))
    shares = [f"{share:.0%} of the steps" for share in sweep["rungs"]]
    header = ["trial", *(name.partition(".")[2] for name in names), *shares, "seconds", "status"]
    rows = [
        [
            ("→ " if trial["trial"] == sweep["chosen"] else "") + str(trial["trial"]),
            *(str(trial["settings"][name]) for name in names),
            *(_recall_text(trial, rung) for rung in range(len(sweep["rungs"]))),
            f"{sum(trial['seconds']):,.0f}",
            trial["status"],
        ]
        for trial in order
    ]
    return header, rows


def read_trials(sweep: Path) -> tuple[list[str], list[list[str]], str]:
    """Header, rows and title of the table of trials of an artifact of `sweep`."""
    path = sweep / "sweep.json"
    result = read_json(path, SweepResult, "the result of a sweep", step="sweep")
    with opening(path, "the result of a sweep", step="sweep"):
        return *trial_table(result), "Trials"


def _recall_text(trial: Trial, rung: int) -> str:
    if rung >= len(trial["recall"]):
        return "-"
    return "failed" if trial["recall"][rung] is None else f"{trial['recall'][rung]:.4f}"


def _rung_lines(sweep: Mapping[str, Any]) -> str:
    with svg.style():
        figure, (axes,) = svg.new_figure(height=3.2)
        for trial in sweep["trials"]:
            points = [(share, recall) for share, recall in zip(sweep["rungs"], trial["recall"], strict=False) if recall is not None]
            if points:
                color = svg.BLUE if trial["trial"] == sweep["chosen"] else svg.GREY
                axes.plot(*zip(*points, strict=True), marker="o", color=color, linewidth=1.2)
        axes.set(xlabel="share of the training steps", ylabel=sweep["metric"], title="recall of the exact scan, validation users")
        axes.set_xlim(left=0)
        return svg.to_svg(figure, name="rungs", label="Validation recall of each trial at each rung")


def _setting_points(trials: Sequence[Trial], name: str, metric: str, number: int) -> str:
    with svg.style():
        figure, (axes,) = svg.new_figure(height=2.6)
        measured = [trial for trial in trials if trial["recall"] and trial["recall"][-1] is not None]
        values = [trial["settings"][name] for trial in measured]
        numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        texts = sorted({str(value) for value in values})
        places = values if numeric else [texts.index(str(value)) for value in values]
        furthest = max((len(trial["recall"]) for trial in measured), default=0)
        colors = [svg.BLUE if len(trial["recall"]) == furthest else svg.LIGHT_BLUE for trial in measured]
        axes.scatter(places, [trial["recall"][-1] for trial in measured], s=22, c=colors)
        if not numeric:
            axes.set_xticks(range(len(texts)), texts)
        elif values and min(values) > 0 and max(values) > 20 * min(values):
            axes.set_xscale("log")
        axes.set(xlabel=name.partition(".")[2], ylabel=metric)
        return svg.to_svg(figure, name=f"setting{number}", label=f"Validation recall against {name}")
