"""Statistics of one window, by itself: numbers, shares, and samples of its ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nann.data_checks.sketch import Sketch, hash_ids

HOUR = 3600
KEPT_CATEGORIES = 256


@dataclass(frozen=True)
class WindowContents:
    """What a dataset holds of a window (E events of U training users, N items).

    Attributes:
        meta: description of the dataset, see `data_prep.report.ConvertReport`.
        item_rows: [E] int32, user after user, each in order of time.
        row_splits: [U + 1] int64.
        times: [E] int64 unix seconds; None where the log has none.
        kinds: [E] int32 rows 1..K of `kind_names`; None where they were not kept.
        kind_names: [K].
        user_ids: [U] int64 or str; None where the records have none.
        item_ids: [N + 1], row 0 neutral.
        item_counts: [N + 1] int64 events of all users.
        category_rows: [N + 1] int32; 0 for none.
        category_ids: [N + 1] int64 or str category id by item row.
    """

    meta: Mapping[str, Any]
    item_rows: npt.NDArray[np.int32]
    row_splits: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64] | None
    kinds: npt.NDArray[np.int32] | None
    kind_names: tuple[str, ...]
    user_ids: npt.NDArray[Any] | None
    item_ids: npt.NDArray[Any]
    item_counts: npt.NDArray[np.int64]
    category_rows: npt.NDArray[np.int32]
    category_ids: npt.NDArray[Any]


def window_statistics(window: WindowContents) -> dict[str, Any]:
    """Statistics of a window.

    Returns:
        ``range``: first and last event in unix seconds, None without times; ``types``: of ids and times; ``figures``: numbers by name, None
        where one cannot be told; ``counts``: of events by ``hours`` (of the day, UTC), ``kinds``, ``categories`` (by hash, the largest
        ones), ``popularity`` (by the item's rank, in powers of two), and of users by ``activity`` (events, in powers of two);
        ``sketches``: of items, categories and users.
    """
    meta = window.meta
    figures = {**_row_figures(meta), **_user_figures(window), **_item_figures(window), **_time_figures(window)}
    counts: dict[str, Any] = {
        "hours": None if window.times is None else np.bincount(window.times // HOUR % 24, minlength=24).tolist(),
        "kinds": _kinds(window),
        "categories": _categories(window),
        "popularity": _by_powers(np.sort(window.item_counts[1:])[::-1]),
        "activity": np.bincount(np.log2(np.maximum(np.diff(window.row_splits), 1)).astype(np.int64)).tolist(),
    }
    return {
        "range": None if window.times is None else [int(time) for time in meta["time_range"]],
        "types": {name: meta[name] for name in ("user_id_type", "item_id_type", "category_id_type", "time_unit") if name in meta},
        "figures": figures,
        "counts": counts,
        "sketches": {name: sketch.as_dict() for name, sketch in _sketches(window).items()},
    }


def _row_figures(meta: Mapping[str, Any]) -> dict[str, float | None]:
    """Of what the conversion reported. A reason that begins with `duplicate` says nothing about a row's quality."""
    # Of the whole file, the window may be a small part; what was left out for its time is not of the window.
    rows = max(1, int(meta["num_rows"]) - int(meta["filtered_rows"].get("outside_time_window", 0)))
    bad = sum(count for reason, count in meta["dropped_rows"].items() if not reason.startswith("duplicate"))
    return {
        "rows": float(rows),
        "events": float(meta["num_events"]),
        "users": float(meta["num_users"]),
        "bad_share": bad / max(1, int(meta["num_rows"])),
        "equal_rows_share": int(meta["duplicate_events"]) / rows,
    }


def _user_figures(window: WindowContents) -> dict[str, float | None]:
    lengths = np.diff(window.row_splits)
    events = max(1, int(window.meta["num_events"]))
    users = np.repeat(np.arange(len(lengths)), lengths)
    pairs = len(np.unique(users * np.int64(len(window.item_ids)) + window.item_rows))
    return {
        "events_per_user": window.meta["num_events"] / max(1, int(window.meta["num_users"])),
        "busiest_share": max(int(lengths.max(initial=0)), _held_out_excess(window, lengths)) / events,
        "repeats_share": 1 - pairs / max(1, len(window.item_rows)),
    }


def _held_out_excess(window: WindowContents, lengths: npt.NDArray[np.int64]) -> int:
    """Events that the held-out users have beyond what as many training users have: those of a busy one among them, whose records are
    cut to a history."""
    per_split = window.meta.get("num_users_per_split", {})
    held_out = int(per_split.get("validate", 0)) + int(per_split.get("test", 0))
    alike = lengths[lengths > int(window.meta.get("test_min_length", 0))]
    if not held_out or window.meta.get("split_time") is not None or not len(alike):
        return 0
    expected, noise = held_out * alike.mean(), 3 * np.sqrt(held_out) * alike.std()
    return max(0, round(int(window.meta["num_events"]) - len(window.item_rows) - float(expected + noise)))


def _item_figures(window: WindowContents) -> dict[str, float | None]:
    counts = window.item_counts[1:]
    used = counts > 0
    total = max(1, int(counts.sum()))
    in_use = np.unique(window.category_rows[1:][used])
    ordered = np.sort(counts[used])[::-1]
    return {
        "items": float(used.sum()),
        "categories": float((in_use > 0).sum()),
        "no_category_share": _events_without_category(window) / total,
        "head_share": float(ordered[: max(1, len(ordered) // 100)].sum()) / total,
    }


def _events_without_category(window: WindowContents) -> int:
    """Of the log, where the dataset took missing categories from an earlier one."""
    kept: int | None = window.meta["notes"].get("events_without_category")
    return int(window.item_counts[1:][window.category_rows[1:] == 0].sum()) if kept is None else kept


def _time_figures(window: WindowContents) -> dict[str, float | None]:
    if window.times is None:
        return {"span_hours": None, "gap_hours": None}
    first, last = window.meta["time_range"]
    gaps = np.diff(np.concatenate([[first], np.sort(window.times), [last]]))
    return {"span_hours": (last - first) / HOUR, "gap_hours": float(gaps.max(initial=0)) / HOUR}


def _kinds(window: WindowContents) -> dict[str, int] | None:
    if window.kinds is None:
        return None
    counts = np.bincount(window.kinds, minlength=len(window.kind_names) + 1)[1:]
    return {name: int(count) for name, count in zip(window.kind_names, counts, strict=True)}


def _by_powers(ordered: npt.NDArray[np.int64]) -> list[int]:
    """Sums over the ranks 1, 2-3, 4-7, ..."""
    ordered = ordered[ordered > 0]
    begins = 2 ** np.arange(max(1, len(ordered).bit_length())) - 1
    return [int(part) for part in np.add.reduceat(ordered, begins[begins < len(ordered)])] if len(ordered) else []


def _categories(window: WindowContents) -> dict[str, int]:
    """Events by hash of the category; what has none under "0", and all beyond the largest `KEPT_CATEGORIES` under "others"."""
    counts = np.bincount(window.category_rows[1:], window.item_counts[1:]).astype(np.int64)
    hash_of = np.zeros(len(counts), np.int64)
    hash_of[window.category_rows[1:]] = _category_hashes(window)
    order = np.argsort(-counts, kind="stable")
    kept = {str(hash_of[row]): int(counts[row]) for row in order[:KEPT_CATEGORIES] if counts[row]}
    return {**kept, "others": int(counts[order[KEPT_CATEGORIES:]].sum())}


def _category_hashes(window: WindowContents) -> npt.NDArray[np.int64]:
    """[N] by item, 0 for none."""
    return np.where(window.category_rows[1:] > 0, hash_ids(window.category_ids[1:]), 0)


def _sketches(window: WindowContents) -> dict[str, Sketch]:
    used = window.item_counts[1:] > 0
    categories = _category_hashes(window)[used]
    found = {
        "items": Sketch.of(hash_ids(window.item_ids[1:][used]), window.item_counts[1:][used], categories),
        "categories": Sketch.of(np.unique(categories[categories > 0])),
    }
    return found if window.user_ids is None else {**found, "users": Sketch.of(hash_ids(window.user_ids))}
