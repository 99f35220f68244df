"""The report of `seeds`: the mean over seeds beside every simple method, and what the seeds differ by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nann.evaluation.best_baseline import BEST_BASELINE
from nann.reporting import figures, svg
from nann.reporting.page import Card, Page, PageTable, Section
from nann.reporting.recall_sections import BASELINE_COLORS, BASELINES, MODELS

Result = Mapping[str, Any]


def seeds_page(result: Result, seeds: Sequence[int], ks: Sequence[int]) -> Page:
    """The page of several seeds.

    Args:
        result: the contents of ``seeds.json``.
        seeds: of training.
        ks: list lengths K that were compared at.
    """
    ks = sorted(ks)
    cards = [
        Card(f"against the best baseline @{k}", _ratio(result, k), f"{_range(result, k)}{result[BEST_BASELINE][f'name@{k}']}") for k in ks
    ]
    return Page(
        title=f"{len(seeds)} seeds of one config",
        subtitle=f"{result['num_users']:,} test users, seeds {', '.join(map(str, seeds))}",
        verdict=[(f"At {k}", _verdict(result, k)) for k in ks],
        cards=cards,
        sections=[_recall(result, ks), _spread(result, seeds)],
    )


def _names(result: Result) -> list[str]:
    found = list(result["baselines"])
    return [name for name in BASELINES if name in found] + sorted(set(found) - set(BASELINES))


def _recall(result: Result, ks: Sequence[int]) -> Section:
    names = _names(result)
    series = [
        figures.Bars(name, BASELINE_COLORS.get(name, svg.GREY), [_paired(result, name, k)["mean_b"] for k in ks], [None] * len(ks))
        for name in names
    ]
    for kind, label, color in MODELS:
        series.append(figures.Bars(label, color, [_figure(result, f"recall_{kind}@{k}")["mean"] for k in ks], [None] * len(ks)))
    rows = [
        [name, *(text for k in ks for text in (f"{_paired(result, name, k)['mean_b']:.4f}", _difference(_paired(result, name, k))))]
        for name in reversed(names)
    ]
    header = ["simple method", *(text for k in ks for text in (f"recall@{k}", f"exported graph minus it @{k}"))]
    return Section(
        anchor="recall",
        title="The mean over seeds against simple methods",
        pictures=[figures.recall_bars(ks, series, name="seeds-recall")],
        explanation=(
            "Simple methods do not depend on the seed. Smaller, below a difference, its 95 % interval over users and seeds: both are drawn "
            "anew with replacement, all methods on the same users. With few seeds it says little about the spread between them."
        ),
        tables=[PageTable(header, rows)],
    )


def _spread(result: Result, seeds: Sequence[int]) -> Section:
    shown = [name for name in result["figures"] if name.startswith(("recall_", "coverage@", "ndcg_retrieval@", "items_scored_share"))]
    shown = [name for name in shown if not name.startswith("recall_delta")]
    rows = [
        [
            name.replace("_", " "),
            f"{_figure(result, name)['mean']:.4f}",
            f"{_figure(result, name)['deviation']:.4f}",
            *(f"{value:.4f}" for value in _figure(result, name)["values"]),
        ]
        for name in shown
    ]
    return Section(
        anchor="spread",
        title="Seed by seed",
        explanation="The deviation is that between seeds (of a sample). Every other figure stands in seeds.json.",
        tables=[PageTable(["figure", "mean", "deviation", *(f"seed {seed}" for seed in seeds)], rows)],
    )


def _figure(result: Result, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = result["figures"][name]
    return found


def _paired(result: Result, name: str, k: int) -> Mapping[str, Any]:
    found: Mapping[str, Any] = result["baselines"][name]["retrieval"][f"recall@{k}"]
    return found


def _difference(paired: Mapping[str, Any]) -> str:
    low, high = paired["interval"]
    return f"{paired['difference']:+.4f}\n{low:+.4f} to {high:+.4f}"


def _against(result: Result, k: int) -> Mapping[str, Any]:
    found: Mapping[str, Any] = result[f"ratio_to_best_baseline@{k}"]["retrieval"]
    return found


def _ratio(result: Result, k: int) -> str:
    ratio = _against(result, k)["ratio"]
    return "-" if ratio is None else f"{ratio:.3f} ×"


def _range(result: Result, k: int) -> str:
    interval = _against(result, k)["interval"]
    return f"{interval[0]:.3f} to {interval[1]:.3f}; " if interval else ""


def _verdict(result: Result, k: int) -> str:
    best, interval = result[BEST_BASELINE], _against(result, k)["interval"] or (0.0, float("inf"))
    told = "Better" if interval[0] > 1 else "Worse" if interval[1] < 1 else "Not decided, the interval holds 1"
    own = _figure(result, f"recall_retrieval@{k}")["mean"]
    return f"{told}: mean recall@{k} {own:.3f} of the exported graph beside {best[f'recall@{k}']:.3f} of {best[f'name@{k}']}."
