"""The report of `check-data`: the verdict, every rule, and the window beside those before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from nann.data_checks.rules import FIGURES
from nann.reporting import svg
from nann.reporting.page import Page, PageTable, Section
from nann.reporting.text import number_text

Statistics = Mapping[str, Any]
DRAWN = ("rows", "users", "items")
NEW = ("new_items", "new_categories", "new_users")


def data_check_page(verdict: Mapping[str, Any], window: Statistics, earlier: Sequence[Statistics]) -> Page:
    """The page of one check.

    Args:
        verdict: the contents of ``verdict.json``.
        window: statistics of the window.
        earlier: of the windows before it, oldest first.
    """
    broken = [check for check in verdict["checks"] if not check["passed"]]
    against = (
        f"compared with {len(earlier)} windows before it" if verdict["compared"] else "too few windows before it: absolute bounds only"
    )
    return Page(
        title="Data of a window",
        subtitle=against,
        verdict=[_verdict(verdict, broken)],
        sections=[*_broken(broken), *_series(window, earlier), _distributions(window, earlier), _rules(verdict)],
    )


def _verdict(verdict: Mapping[str, Any], broken: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    named = ", ".join(dict.fromkeys(FIGURES[check["name"]][0] for check in broken))
    count = len(verdict["checks"])
    if not verdict["passed"]:
        return "Refused", f"{len(broken)} of {count} rules are broken: {named}. Do not train on it before the cause is known."
    return "Passed", f"{named} is out of range, but accepted." if broken else f"All {count} rules are kept."


def _interval(low: float | None, high: float | None) -> str:
    if low is None:
        return "any" if high is None else f"at most {number_text(high)}"
    return f"at least {number_text(low)}" if high is None else f"{number_text(low)} to {number_text(high)}"


def _row(check: Mapping[str, Any]) -> list[str]:
    return [
        FIGURES[check["name"]][0],
        number_text(check["value"]),
        "-" if check["past"] is None else f"{number_text(check['past'][0])} to {number_text(check['past'][1])}",
        _interval(check["low"], check["high"]),
        "kept" if check["passed"] else "accepted" if check["accepted"] else "broken",
    ]


HEADER = ("figure", "this window", "in the past", "allowed", "outcome")


def _broken(broken: Sequence[Mapping[str, Any]]) -> list[Section]:
    if not broken:
        return []
    rows = [[*_row(check), "; ".join(check["causes"])] for check in broken]
    table = PageTable([*HEADER, "likely causes"], rows)
    explanation = "What is known and meant to be so is let through once by --accept and the figure's name in verdict.json."
    return [Section(anchor="refused", title="Out of range", explanation=explanation, tables=[table])]


def _rules(verdict: Mapping[str, Any]) -> Section:
    table = PageTable(HEADER, [_row(check) for check in verdict["checks"]])
    return Section(anchor="rules", title="All rules", tables=[table])


def _series(window: Statistics, earlier: Sequence[Statistics]) -> list[Section]:
    if not earlier:
        return []
    windows = [*earlier, window]
    with svg.style():
        figure, panels = svg.new_figure(height=3.0, columns=2)
        for axes, names, title in ((panels[0], DRAWN, "numbers, the first window being 1"), (panels[1], NEW, "shares of what is new")):
            for name, color in zip(names, svg.SERIES, strict=False):
                values = [other["figures"].get(name) for other in windows]
                scale = (values[0] or 1) if names is DRAWN else 1
                drawn = [math.nan if value is None else value / scale for value in values]
                axes.plot(range(len(drawn)), drawn, marker="o", color=color, label=name.replace("_", " "))
            axes.set(title=title, xlabel="window, this one last")
            axes.set_ylim(bottom=0)
            axes.legend(ncols=3, loc="upper left", bbox_to_anchor=(0, -0.25))
        picture = svg.to_svg(figure, name="check-series", label="Numbers and shares of new ids, window by window")
    return [Section(anchor="series", title="Window by window", pictures=[picture])]


def _distributions(window: Statistics, earlier: Sequence[Statistics]) -> Section:
    parts = (
        ("hours", "hour of the day, UTC", "share of events"),
        ("popularity", "rank of the item, power of 2", "share of events"),
        ("activity", "events of the user, power of 2", "share of users"),
    )
    with svg.style():
        figure, panels = svg.new_figure(height=2.9, columns=len(parts))
        for axes, (name, label, title) in zip(panels, parts, strict=True):
            for past in earlier:
                _steps(axes, past["counts"][name], svg.LIGHT_GREY, "")
            _steps(axes, window["counts"][name], svg.ORANGE, "this window")
            axes.set(title=title, xlabel=label)
        picture = svg.to_svg(figure, name="check-distributions", label="Distributions of this window and, in grey, of those before it")
    explanation = "This window in colour, each of those before it in grey." if earlier else ""
    return Section(anchor="distributions", title="Distributions", pictures=[picture], explanation=explanation)


def _steps(axes: Axes, counts: Sequence[int] | None, color: str, label: str) -> None:
    if counts:
        total = max(1, sum(counts))
        axes.plot(range(len(counts)), [count / total for count in counts], color=color, label=label or "_", drawstyle="steps-mid")
