"""What of a window's statistics can only be told from the windows before it: distances, shares of new ids, what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nann.data_checks.sketch import Sketch

HOUR = 3600
DAY_SPAN = 20.0  # hours; shorter windows see a part of the day only, and each its own
SAME_HOUR = 3.0  # hours between the times of day at which two such windows begin that are compared
LONG_RATIO = 3.0  # times the usual span, from which on a window's numbers say nothing about others
LEAST_KIND_EVENTS = 20.0  # expected events of a kind from which on its absence means something
LEAST_KIND_SHARE = 0.1  # of its usual share, below which a kind counts as gone
LEAST_SHARED = 100  # items that two windows need in common for figures over them
DISTANCES = {"hour": "hours", "kind": "kinds", "category": "categories", "popularity": "popularity", "activity": "activity"}

Statistics = Mapping[str, Any]


def js_distance(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Jensen-Shannon distance in [0, 1] of two distributions [n], which need not sum to 1: the root of the divergence in bits."""
    p, q = (np.asarray(values, np.float64) / max(float(np.sum(values)), 1e-300) for values in (one, other))
    mean = (p + q) / 2
    parts = [np.sum(r[r > 0] * np.log2(r[r > 0] / mean[r > 0])) for r in (p, q)]
    return float(np.sqrt(max(0.0, sum(parts) / 2)))


def typical_span(earlier: Sequence[Statistics]) -> float | None:
    """Median hours of the earlier windows."""
    spans = [window["figures"]["span_hours"] for window in earlier if window["figures"]["span_hours"] is not None]
    return float(np.median(spans)) if spans else None


def comparable(window: Statistics, earlier: Sequence[Statistics]) -> list[Statistics]:
    """The earlier windows whose numbers say what this one's should be: those that are not much longer than usual, as the whole log is that
    a service began with; if windows are shorter than a day, those of the same time of day."""
    span = typical_span(earlier)
    if span is not None:
        earlier = [other for other in earlier if (other["figures"]["span_hours"] or 0.0) <= LONG_RATIO * span]
    if span is None or span >= DAY_SPAN or window["range"] is None:
        return list(earlier)

    def apart(other: Statistics) -> float:
        hours = abs(float(window["range"][0] - other["range"][0])) / HOUR % 24
        return min(hours, 24 - hours)

    return [other for other in earlier if other["range"] is not None and apart(other) <= SAME_HOUR]


def compared_figures(window: Statistics, earlier: Sequence[Statistics]) -> dict[str, float | None]:
    """Figures of a window that need earlier ones, None where they cannot be told.

    Args:
        window: of `window_statistics`.
        earlier: the windows before it, oldest first; without any, all figures are None.
    """
    return {
        "lead_hours": _lead(window, earlier),
        "types_changed": float(window["types"] != earlier[-1]["types"]) if earlier else None,
        "kinds_gone": _kinds_gone(window, earlier),
        **{f"new_{name}": _new_share(name, window, earlier) for name in ("items", "categories", "users")},
        **_of_shared_items(window, earlier),
        **{f"{name}_distance": _distance(name, window, earlier) for name in DISTANCES},
    }


def _lead(window: Statistics, earlier: Sequence[Statistics]) -> float | None:
    """Hours from the last event of the window before to the first one of this."""
    if not earlier or window["range"] is None or earlier[-1]["range"] is None:
        return None
    return float(window["range"][0] - earlier[-1]["range"][1]) / HOUR


def _kinds_gone(window: Statistics, earlier: Sequence[Statistics]) -> float | None:
    kinds, before = window["counts"]["kinds"], [other["counts"]["kinds"] for other in earlier if other["counts"]["kinds"]]
    if kinds is None or not before:
        return None
    total, gone = sum(kinds.values()), 0
    for name in {name for counts in before for name in counts}:
        usual = float(np.median([counts.get(name, 0) / max(1, sum(counts.values())) for counts in before]))
        gone += usual * total >= LEAST_KIND_EVENTS and kinds.get(name, 0) < LEAST_KIND_SHARE * usual * total
    return float(gone)


def _sketches(name: str, windows: Sequence[Statistics]) -> list[Sketch]:
    return [Sketch.read(window["sketches"][name]) for window in windows if name in window["sketches"]]


def _new_share(name: str, window: Statistics, earlier: Sequence[Statistics]) -> float | None:
    own = _sketches(name, [window])
    return own[0].new_share(_sketches(name, earlier)) if own else None


def _of_shared_items(window: Statistics, earlier: Sequence[Statistics]) -> dict[str, float | None]:
    """Of the items that the window before has too: rank correlation of their events, and the share of another category."""
    found: dict[str, float | None] = {"popularity_correlation": None, "changed_categories": None}
    if not earlier:
        return found
    [now], [before] = _sketches("items", [window]), _sketches("items", earlier[-1:])
    own, others = now.shared(before)
    if len(own) >= LEAST_SHARED:
        found["popularity_correlation"] = _rank_correlation(now.counts[own], before.counts[others])
    labelled = (now.labels[own] > 0) & (before.labels[others] > 0)
    if labelled.sum() >= LEAST_SHARED:
        found["changed_categories"] = float((now.labels[own] != before.labels[others])[labelled].mean())
    return found


def _rank_correlation(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> float | None:
    """Spearman's; None where all values of one are equal."""
    ranks = []
    for values in (one, other):
        distinct, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        if len(distinct) < 2:
            return None
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[place])
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _distance(name: str, window: Statistics, earlier: Sequence[Statistics]) -> float | None:
    """From the mean distribution of the earlier windows."""
    kept, span = DISTANCES[name], typical_span(earlier)
    if name == "hour" and (span is None or span < DAY_SPAN):
        return None
    own, before = window["counts"][kept], [other["counts"][kept] for other in earlier if other["counts"][kept]]
    if not own or not before:
        return None
    aligned = _aligned([own, *before])
    shares = aligned / np.maximum(aligned.sum(axis=1, keepdims=True), 1)
    return js_distance(shares[0], shares[1:].mean(axis=0))


def _aligned(counts: Sequence[Any]) -> npt.NDArray[np.float64]:
    """[n, values] of mappings by name, or of lists, the shorter ones filled up with zeros."""
    tables = [dict(enumerate(part)) if isinstance(part, list) else part for part in counts]
    names = list(dict.fromkeys(name for table in tables for name in table))
    return np.array([[table.get(name, 0) for name in names] for table in tables], np.float64)
