"""What monitoring asks of a service: how old its model is, what was refused since, and whether windows of the log are missing.

Read from small files alone, so it is cheap enough to be asked every minute, in a directory or an object store.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from data_prep.opening import parse_json
from nann import forms
from nann.data_checks.series import SERIES_NAME, SeriesOfWindows
from nann.errors import ArtifactError
from nann.placing import MANIFEST_NAME
from nann.service.shelf import VERSION_NAME, Shelf, directory_of

HOUR = 3600
EARLY_HOURS = 1.0  # by which an event may be ahead of this clock


@dataclass(frozen=True)
class HealthFinding:
    """One thing that was looked at.

    Attributes:
        name: of it.
        state: "ok"; "bad", out of its limit; or "unknown", the service does not say.
        text: a sentence for people.
        value: the number behind it, if there is one.
        limit: the most allowed.
    """

    name: str
    state: str
    text: str
    value: float | None = None
    limit: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


@dataclass(frozen=True)
class HealthLimits:
    """When a service is not well.

    Attributes:
        max_age_hours: most since the last event that the model in service knows.
        max_refusals: most candidates refused since it was published.
        max_gap_hours: most without an event in or between its last windows.
        windows: how many of these are looked at.
    """

    max_age_hours: float
    max_refusals: int
    max_gap_hours: float
    windows: int


def service_health(shelf: Shelf, limits: HealthLimits, *, now: float) -> list[HealthFinding]:
    """Looks at a service.

    Args:
        shelf: the service.
        limits: when it is not well.
        now: unix seconds.

    Raises:
        ArtifactError: a file of it cannot be read.
    """
    pointer = shelf.pointer()
    if pointer is None:
        return [HealthFinding("version", "bad", f"nothing is in service in {shelf.store.root}"), _refusals(shelf, None, limits, now)]
    description = shelf.description(pointer.version)
    return [
        _version(shelf, pointer.version, description, now),
        _age(shelf, pointer.version, limits, now),
        _refusals(shelf, description.get("time"), limits, now),
        _gaps(shelf, pointer.version, limits),
    ]


def _version(shelf: Shelf, version: int, description: dict[str, Any], now: float) -> HealthFinding:
    """Whether its artifacts are those that were published, by their manifests."""
    published = description.get("time")
    since = "" if published is None else f", published {_ago(now - published)}"
    for part, said in description["artifacts"].items():
        manifest = shelf.store.read(f"{directory_of(version)}/{part}/{MANIFEST_NAME}")
        if manifest is None or hashlib.sha256(manifest.encode()).hexdigest() != said:
            what = "has no manifest" if manifest is None else "is another one than was published"
            return HealthFinding(
                "version", "bad", f"version {version} is in service, but its {part} {what}; `nann rollback` goes back", version
            )
    return HealthFinding("version", "ok", f"version {version} is in service{since}", version)


def _age(shelf: Shelf, version: int, limits: HealthLimits, now: float) -> HealthFinding:
    window = _read(shelf, f"{directory_of(version)}/dataset/meta.json", forms.TimeRange, "the description of a dataset")["time_range"]
    if not window:
        return HealthFinding("age", "unknown", "the log has no times, so nothing says how old the data are", limit=limits.max_age_hours)
    hours = (now - window[1]) / HOUR
    if hours < -EARLY_HOURS:
        told = f"the last event that the model knows is of {_moment(window[1])}, {-hours:.1f} hours ahead; is a clock or a zone wrong?"
        return HealthFinding("age", "bad", told, hours, limits.max_age_hours)
    told = f"the last event that the model knows is of {_moment(window[1])}, {_ago(now - window[1])}"
    return _limited("age", hours, limits.max_age_hours, told, "hours")


def _refusals(shelf: Shelf, since: int | None, limits: HealthLimits, now: float) -> HealthFinding:
    """Candidates that did not pass after the version in service was published; all, where nobody knows when that was."""
    refused = []
    for name in shelf.store.names("refused"):
        if shelf.store.read(f"refused/{name}/{VERSION_NAME}") is None:
            continue
        when = _read(shelf, f"refused/{name}/{VERSION_NAME}", forms.Version, "the description of a version").get("time")
        if since is None or (when is not None and when >= since):
            refused.append((when or 0, name))
    if not refused:
        return _limited("refusals", 0, limits.max_refusals, "no candidate was refused since", "")
    when, name = max(refused)
    verdict = _read(shelf, f"refused/{name}/gate/gate.json", forms.RefusedVerdict, "the verdict of a gate")
    broken = dict.fromkeys(check["name"] for check in verdict["checks"] if not check["passed"])
    last = f"the last one{' ' + _ago(now - when) if when else ''} for {', '.join(broken) or 'no rule'} (refused/{name}/gate/report.html)"
    return _limited("refusals", len(refused), limits.max_refusals, f"{len(refused)} candidates were refused since, {last}", "")


def _gaps(shelf: Shelf, version: int, limits: HealthLimits) -> HealthFinding:
    """The longest time without an event, in the last windows of the series that was published with the version, and between them."""
    place = f"{directory_of(version)}/data_check/{SERIES_NAME}"
    if shelf.store.read(place) is None:
        return HealthFinding("gaps", "unknown", "the version was published without a check of its data", limit=limits.max_gap_hours)
    windows = [window for window in _read(shelf, place, SeriesOfWindows, "a series of windows")["windows"] if window["range"]]
    windows = windows[-limits.windows :]
    if not windows:
        return HealthFinding("gaps", "unknown", "no window with times has passed the check yet", limit=limits.max_gap_hours)
    found = [(float(window["figures"].get("gap_hours") or 0), window["range"][0]) for window in windows]
    found += [((after["range"][0] - before["range"][1]) / HOUR, before["range"][1]) for before, after in pairwise(windows)]
    hours, begin = max(found)
    told = f"the longest silence in and between the last {len(windows)} windows is {hours:.1f} hours (from {_moment(begin)} on)"
    return _limited("gaps", hours, limits.max_gap_hours, told, "hours")


def _limited(name: str, value: float, limit: float, told: str, unit: str) -> HealthFinding:
    if value <= limit:
        return HealthFinding(name, "ok", told, value, limit)
    return HealthFinding(name, "bad", f"{told}; at most {limit:g}{' ' + unit if unit else ''} allowed", value, limit)


def _read(shelf: Shelf, name: str, form: Any, what: str) -> Any:
    text = shelf.store.read(name)
    remedy = "publish a whole version, or go back to one with `nann rollback`"
    if text is None:
        raise ArtifactError(f"{shelf.store.place(name)} is missing; {remedy}")
    return parse_json(text, form, shelf.store.place(name), what, remedy=remedy, error=ArtifactError)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _ago(seconds: float) -> str:
    return f"{seconds / HOUR:.1f} hours ago" if seconds < 72 * HOUR else f"{seconds / 86_400:.1f} days ago"
