"""The rules of the gate on the data: between which bounds a figure may lie, and what it may mean when it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from nann.config import CheckDataConfig
from nann.data_checks.compare import DISTANCES, Statistics, comparable, typical_span

LEAST_EDGE_HOURS = 1.0  # of silence, and between two windows, which mean nothing in any log
BUSIEST_SLACK = 0.02
LEAST_CORRELATION = 0.15  # below this in the past, none at all means nothing
HALF_A_DAY = "a part of the window is missing"

# Figure -> what it is, and likely causes of a value out of range, the likeliest first.
FIGURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "rows": ("rows", (HALF_A_DAY, "a source or a kind of events is gone", "rows are written twice", "a robot")),
    "users": ("users", (HALF_A_DAY, "user ids are made anew per request or session", "a source is gone")),
    "items": ("items", (HALF_A_DAY, "item ids were renumbered or carry something else", "a source is gone")),
    "events_per_user": ("events per user", ("user ids are made anew per request or session", "a robot", "rows are written twice")),
    "span_hours": ("hours from the first event to the last", (HALF_A_DAY, "times are in another unit or zone")),
    "gap_hours": ("longest time without an event, hours", (HALF_A_DAY, "a source was down")),
    "lead_hours": (
        "hours since the window before",
        ("times are in another zone or shifted by a day", "a window is missing", "the window before was handed over again"),
    ),
    "bad_share": ("share of rows that could not be used", ("times are in another unit", "columns moved", "the file is damaged")),
    "equal_rows_share": ("share of rows equal in user, item and time", ("rows are written twice", "files overlap")),
    "no_category_share": ("share of events without category", ("the catalogue lost its categories", "items are missing in the catalogue")),
    "busiest_share": ("share of the busiest user's events", ("a robot", "a default user id stands for all who are not signed in")),
    "types_changed": ("types of ids, or unit of times, changed", ("times are in another unit", "ids are written in another form")),
    "kinds_gone": ("kinds of events that are gone", ("a kind of events is no longer logged, or under another name",)),
    "new_items": ("share of new items", ("item ids were renumbered", "another catalogue")),
    "new_categories": ("share of new categories", ("category ids were renumbered", "another catalogue")),
    "new_users": ("share of new users", ("user ids were renumbered", "user ids are made anew per request or session")),
    "popularity_correlation": (
        "rank correlation of the items' events with the window before",
        ("item ids were renumbered or shuffled", "events are not people's choices: a robot, or a test"),
    ),
    "changed_categories": (
        "share of known items in another category",
        ("item ids were renumbered", "the category column is of other items", "category ids were renumbered"),
    ),
    "hour_distance": ("distance of the hours of the day", ("times are in another zone", HALF_A_DAY)),
    "kind_distance": ("distance of the kinds of events", ("a kind of events is logged otherwise", "a source is gone")),
    "category_distance": ("distance of the categories", ("the category column is of other items", "categories were renumbered or lost")),
    "popularity_distance": (
        "distance of events by the rank of their item",
        ("item ids were shuffled or carry something else", "a robot", "a source is gone"),
    ),
    "activity_distance": ("distance of users by their events", ("user ids are made anew per request or session", "a robot")),
}


@dataclass(frozen=True)
class WindowCheck:
    """A figure and its bounds.

    Attributes:
        name: of the figure.
        value: of the window.
        low, high: least and most allowed; None: no bound.
        past: least and most of the earlier windows; None where there are none that have the figure.
        accepted: it may be out of range this time.
        causes: what a value out of range may come from.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    past: tuple[float, float] | None = None
    accepted: bool = False
    causes: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether the value lies within the bounds; one that is no number does not."""
        return (self.low is None or self.value >= self.low) and (self.high is None or self.value <= self.high)

    def as_dict(self) -> dict[str, Any]:
        """For ``verdict.json``."""
        return {**asdict(self), "passed": self.passed}

    def told(self) -> str:
        """One line: the figure, its bounds, its range in the past, and likely causes."""
        bound = f"at least {self.low:.4g}" if self.low is not None and self.value < self.low else f"at most {self.high or 0:.4g}"
        past = "" if self.past is None else f", in the past {self.past[0]:.4g} to {self.past[1]:.4g}"
        return f"{FIGURES[self.name][0]} ({self.name}) {self.value:.4g}, allowed {bound}{past}; perhaps {', or '.join(self.causes)}"


Bounds = tuple[float | None, float | None]


def check_window(window: Statistics, earlier: Sequence[Statistics], config: CheckDataConfig) -> list[WindowCheck]:
    """The checks of a window whose figures can be told.

    Args:
        window: statistics, with the figures of `compared_figures`.
        earlier: of the windows before it, oldest first; with fewer than ``config.min_windows`` only absolute bounds hold.
        config: the limits.
    """
    absolute = _absolute_bounds(window, earlier, config)
    checks = [_check(window, name, bounds, _past(name, earlier), config) for name, bounds in absolute.items()]
    if len(earlier) >= config.min_windows:
        for name, (bounds, past) in _past_bounds(window, earlier, config).items():
            checks.append(_check(window, name, bounds, past, config))
    return [check for check in checks if check is not None]


def _check(window: Statistics, name: str, bounds: Bounds, past: Sequence[float] | None, config: CheckDataConfig) -> WindowCheck | None:
    value = window["figures"].get(name)
    if value is None:
        return None
    span = (min(past), max(past)) if past else None
    return WindowCheck(name, float(value), *bounds, past=span, accepted=name in config.accept, causes=FIGURES[name][1])


def _absolute_bounds(window: Statistics, earlier: Sequence[Statistics], config: CheckDataConfig) -> dict[str, Bounds]:
    return {
        "rows": (config.min_rows, None),
        "users": (config.min_users, None),
        "items": (config.min_items, None),
        "bad_share": (None, config.max_bad_share),
        "equal_rows_share": (None, config.max_equal_rows_share),
        "busiest_share": (None, config.max_busiest_share),
        "gap_hours": (None, _longest_gap(window, earlier, config)),
        **({"types_changed": (None, 0.0), "kinds_gone": (None, 0.0)} if earlier else {}),
    }


def _longest_gap(window: Statistics, earlier: Sequence[Statistics], config: CheckDataConfig) -> float:
    """Hours without an event that are allowed; logs in which silence is usual have more."""
    span = typical_span(earlier) or window["figures"]["span_hours"] or 0.0
    allowed = max(LEAST_EDGE_HOURS, min(config.max_gap_hours, config.max_gap_share * span))
    usual = _past("gap_hours", earlier)
    return max(allowed, 2 * float(np.median(usual))) if len(usual) >= config.min_windows else allowed


def _longer(window: Statistics, earlier: Sequence[Statistics], config: CheckDataConfig) -> float:
    """How many usual windows a window is long, at least 1: what came in while nothing was published is in the next one."""
    span, usual = window["figures"]["span_hours"], typical_span(earlier)
    return min(config.max_windows, max(1.0, span / usual)) if span and usual else 1.0


def _past(name: str, windows: Sequence[Statistics]) -> list[float]:
    values = [window["figures"].get(name) for window in windows]
    return [float(value) for value in values if value is not None]


def _past_bounds(window: Statistics, earlier: Sequence[Statistics], config: CheckDataConfig) -> Mapping[str, tuple[Bounds, list[float]]]:
    """Bounds by figure, and the values of the past that they were taken from."""
    found: dict[str, tuple[Bounds, list[float]]] = {}
    alike = comparable(window, earlier)

    def add(names: Sequence[str], windows: Sequence[Statistics], bounds: Any, least: int = config.min_windows) -> None:
        for name in names:
            if len(past := _past(name, windows)) >= least:
                found[name] = (bounds(past), past)

    def within(ratio: float, most: float) -> Any:
        return lambda past: (min(past) / ratio, max(past) * ratio * most)

    def rise(most: float, limit: float = 1.0) -> Any:
        return lambda past: (None, min(limit, float(np.median(past)) + most))

    longer = _longer(window, earlier, config)
    add(("rows", "users", "items", "events_per_user"), alike, within(config.max_ratio, longer))
    add(("span_hours",), earlier, within(config.max_span_ratio, config.max_windows))
    add(("bad_share", "equal_rows_share", "no_category_share"), earlier, rise(config.max_share_rise))
    add(("busiest_share",), alike, lambda past: (None, max(past) * config.max_busiest_ratio + BUSIEST_SLACK))
    add(("changed_categories",), earlier, rise(config.max_share_rise), least=1)
    add(("new_items", "new_categories", "new_users"), earlier, rise(config.max_new_rise, config.max_new_share), least=1)
    if min(_past("popularity_correlation", earlier), default=0.0) >= LEAST_CORRELATION:
        add(("popularity_correlation",), earlier, lambda past: (min(past) * config.min_correlation_ratio, None), least=1)
    add(("lead_hours",), earlier, lambda past: (min(past) - config.max_shift_hours, max(past) + config.max_shift_hours), least=1)
    for name in DISTANCES:
        most = getattr(config, f"max_{name}_distance")
        add((f"{name}_distance",), earlier, lambda past, most=most: (None, max(most, max(past) * config.max_distance_ratio)), least=1)
    return found
