"""The page of `compare`: two evaluations on the same users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nann.reporting import svg
from nann.reporting.page import Card, Page, PageTable, Section

Compared = Mapping[str, Any]


def compare_page(found: Compared, lists: str) -> Page:
    """The page of one comparison.

    Args:
        found: the fields of a `nann.steps.compare.Comparison`, figures as mappings, too.
        lists: "retrieval" or "all", what is compared of each.
    """
    figures = found["figures"]
    rows = [
        [
            name,
            f"{paired['mean_a']:.4f}",
            f"{paired['mean_b']:.4f}",
            f"{paired['difference']:+.4f}\n{paired['interval'][0]:+.4f} to {paired['interval'][1]:+.4f}",
            _ratio(paired),
            f"{paired['p_value']:.2g}\n{paired['test']}",
        ]
        for name, paired in figures.items()
    ]
    per_seed = [[name, *(f"{value:.4f}" for side in ("per_seed_a", "per_seed_b") for value in found[side][name])] for name in figures]
    header = ["figure", *(f"{side} {number + 1}" for side, key in (("A", "seeds_a"), ("B", "seeds_b")) for number in range(found[key]))]
    several = max(found["seeds_a"], found["seeds_b"]) > 1
    return Page(
        title="Two evaluations compared",
        subtitle=f"{found['num_users']:,} users, lists of the {'exported graph' if lists == 'retrieval' else 'exact scan'}",
        facts=[(side, _side(found[f"name_{key}"], found[f"seeds_{key}"])) for side, key in (("A", "a"), ("B", "b"))],
        verdict=[(name, _verdict(name, paired)) for name, paired in figures.items() if name.startswith("recall@")],
        cards=[Card(f"{name}: A / B", _ratio(paired).partition("\n")[0]) for name, paired in figures.items()],
        sections=[
            Section(
                anchor="figures",
                title="Figures",
                pictures=[_intervals(figures)],
                explanation=(
                    "The picture: differences A - B with 95 % intervals. Users are drawn anew with replacement, both sides on the same "
                    "draw, and of several seeds the seeds, too. The smaller figures are these intervals, and the test behind the p-value."
                ),
                tables=[PageTable(["figure", "A", "B", "A - B", "A / B", "p"], rows)],
                folded=[PageTable(header, per_seed, caption="Seed by seed")] if several else [],
            )
        ],
    )


def _side(name: str, seeds: int) -> str:
    return name + (f" (mean of {seeds} seeds)" if seeds > 1 else "")


def _ratio(paired: Mapping[str, Any]) -> str:
    if paired["ratio"] is None:
        return "-"
    interval = paired["ratio_interval"]
    return f"{paired['ratio']:.3f}" + (f"\n{interval[0]:.3f} to {interval[1]:.3f}" if interval else "")


def _verdict(name: str, paired: Mapping[str, Any]) -> str:
    low, high = paired["interval"]
    told = "A is better" if low > 0 else "B is better" if high < 0 else "Not decided, the interval of the difference holds 0"
    return f"{told}: {name} {paired['mean_a']:.4f} beside {paired['mean_b']:.4f}."


def _intervals(figures: Mapping[str, Mapping[str, Any]]) -> str:
    with svg.style():
        figure, (axes,) = svg.new_figure(height=0.8 + 0.32 * len(figures))
        y = np.arange(len(figures))[::-1]
        for at, paired in zip(y, figures.values(), strict=True):
            middle, (low, high) = paired["difference"], paired["interval"]
            axes.errorbar(middle, at, xerr=[[middle - low], [high - middle]], fmt="o", color=svg.BLUE, capsize=3)
        axes.axvline(0, color=svg.GREY, linewidth=1)
        axes.set_yticks(y, list(figures))
        axes.set_ylim(-0.6, len(figures) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.set_xlabel("A - B")
        return svg.to_svg(figure, name="differences", label="Differences with 95 % intervals")
