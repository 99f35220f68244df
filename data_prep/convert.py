"""Log -> dataset: reads, checks, groups, splits and writes. `nann.steps.convert` wraps it into an artifact."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.bad_rows import BadRows
from data_prep.columns import USER_BEHAVIOR
from data_prep.config import ConvertConfig
from data_prep.errors import DataError
from data_prep.histories import Histories, chronological_order, duplicate_events, group_events
from data_prep.items_table import Catalogue, Categories, categories_of_file, categories_of_log, make_catalogue, no_categories, write_items
from data_prep.log_reader import read_tables, require_files
from data_prep.parsing import Parsed, drop_bad, parse_ids, parse_times
from data_prep.shards import feature_schema, gather_ranges, write_splits
from data_prep.splits import Splits, draw_splits
from data_prep.vocabulary import encode_ids, take_ids, type_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConvertReport:
    """What a conversion found; `meta.json` holds the same.

    Attributes:
        layout, max_length, train_min_length, test_min_length: as configured.
        num_rows: rows read from the log, bad ones included.
        num_events, num_users, num_items, num_categories: what the dataset holds (all splits).
        num_samples, num_users_per_split: per split; training samples of the `user` layout are those a reader cuts.
        user_id_type, item_id_type, category_id_type: "int64" or "string".
        time_unit: "s" or "ms", of the log; the dataset holds seconds.
        time_range: first and last event, unix seconds.
        headers: per input whether it started with a header.
        dropped_rows: rows left out, by reason.
        duplicate_events: events of equal user, item and time beyond the first (kept unless configured otherwise).
        items_with_changed_category: items seen with several categories; the latest counts.
        items_without_category: items without one.
        notes: further counters.
        features: feature schema per split.
    """

    layout: str
    max_length: int
    train_min_length: int
    test_min_length: int
    num_rows: int
    num_events: int
    num_users: int
    num_items: int
    num_categories: int
    num_samples: dict[str, int]
    num_users_per_split: dict[str, int]
    user_id_type: str
    item_id_type: str
    category_id_type: str
    time_unit: str
    time_range: tuple[int, int]
    headers: list[bool]
    dropped_rows: dict[str, int]
    duplicate_events: int
    items_with_changed_category: int
    items_without_category: int
    notes: dict[str, int]
    features: dict[str, Any]

    @property
    def metrics(self) -> dict[str, Any]:
        """The numbers, for a manifest or a metrics view."""
        names = ("num_rows", "num_events", "num_users", "num_items", "num_categories", "duplicate_events", "items_with_changed_category")
        return {name: getattr(self, name) for name in names} | {
            "num_dropped_rows": sum(self.dropped_rows.values()),
            **{f"num_samples_{split}": count for split, count in self.num_samples.items()},
        }


@dataclass(frozen=True)
class _Log:
    """Good rows of the log in file order."""

    user: Parsed
    item: Parsed
    category: Parsed | None
    time: np.ndarray
    unit: str
    num_rows: int
    headers: list[bool]
    dropped: dict[str, int]


def _read_log(inputs: Sequence[Path], config: ConvertConfig) -> _Log:
    bad = BadRows(config.max_bad_rows, config.max_bad_share)
    source = ", ".join(path.name for path in inputs)
    skip = frozenset({"category"} if config.items else ())
    table = read_tables(inputs, config.columns, USER_BEHAVIOR, bad, header=config.header, delimiter=config.delimiter, skip=skip)
    if not sum(len(chunk) for chunk in table.columns["user"]):
        bad.check(table.num_rows, source)
        raise DataError(f"{source}: no usable row; the log needs at least one")
    times, unit = parse_times(table.columns["time"], "ms" if table.has_timestamps else config.time_unit)
    parsed: dict[str, Parsed] = {
        role: parse_ids(table.columns[role], config.id_type) for role in ("user", "item", "category") if role in table.columns
    }
    parsed["time"] = times
    scale = 1000 if unit == "ms" else 1
    outside = (times.values < config.min_time * scale) | (times.values >= config.max_time * scale)
    keep = drop_bad(parsed, table.columns, bad, {"time_out_of_range": ("time", outside)})
    bad.check(table.num_rows, source)
    if bad.total:
        logger.warning("%s: %s of %s rows dropped: %s", source, f"{bad.total:,}", f"{table.num_rows:,}", bad.describe())
    if not keep.all():
        rows = np.flatnonzero(keep)
        parsed = {role: Parsed(take_ids(column.values, rows), column.bad[rows], column.missing[rows]) for role, column in parsed.items()}
    if len(parsed["time"].values) == 0:
        raise DataError(f"{source}: no usable row; the log needs at least one")
    types = ", ".join(f"{role} ids are {'strings' if parsed[role].is_string else 'integers'}" for role in parsed if role != "time")
    logger.info("%s; time is in %s%s", types, unit, "" if config.time_unit == unit else " (decided by the values)")
    return _Log(
        parsed["user"], parsed["item"], parsed.get("category"), parsed["time"].values, unit, table.num_rows, table.headers, bad.by_reason
    )


def _build(log: _Log, config: ConvertConfig) -> tuple[Histories, Catalogue, Categories, int]:
    """Codes, orders and groups the events; also counts (and drops, if configured) repeated ones."""
    begin = time.monotonic()
    users, items = encode_ids(log.user.values), encode_ids(log.item.values)
    if len(items.ids) < 2:
        raise DataError(f"the log has only one item ({items.ids[0]}), so there is nothing to choose from; bring a log with more items")
    logger.info("%s users, %s items (%.1f s)", f"{len(users.ids):,}", f"{len(items.ids):,}", time.monotonic() - begin)
    if config.items is not None:
        categories = categories_of_file(config.items, items.ids, config)
    elif log.category is not None:
        categories = categories_of_log(items.codes, log.category, log.time, len(items.ids), config.missing_category)
    else:
        categories = no_categories(len(items.ids))
    if categories.changed:
        logger.warning("%s items occur with several categories; the latest counts", f"{categories.changed:,}")
    begin = time.monotonic()
    order = chronological_order(users.codes, log.time)
    user_codes, item_codes, times = users.codes[order], items.codes[order], log.time[order]
    repeated = duplicate_events(user_codes, item_codes, times)
    num_repeated = int(repeated.sum())
    if num_repeated:
        logger.warning("%s events repeat another one of equal user, item and time; they are %s", f"{num_repeated:,}", _fate(config))
        if config.duplicates == "drop":
            user_codes, item_codes, times = user_codes[~repeated], item_codes[~repeated], times[~repeated]
    counts = np.bincount(item_codes, minlength=len(items.ids))
    catalogue = make_catalogue(items.ids, counts, categories)
    seconds = times // 1000 if log.unit == "ms" else times
    histories = group_events(user_codes, catalogue.row_of_code[item_codes], seconds, users.ids)
    logger.info("events ordered and grouped (%.1f s)", time.monotonic() - begin)
    return histories, catalogue, categories, num_repeated


def _fate(config: ConvertConfig) -> str:
    return "kept" if config.duplicates == "keep" else "dropped"


def _train_counts(histories: Histories, splits: Splits, num_items: int) -> np.ndarray:
    starts = histories.row_splits[splits.train]
    index, _ = gather_ranges(starts, histories.row_splits[splits.train + 1] - starts)
    return np.bincount(histories.item_rows[index], minlength=num_items + 1)[1:].astype(np.int64)


def convert_log(inputs: Sequence[Path], out_dir: Path, config: ConvertConfig) -> ConvertReport:
    """Converts a log into `train-*`, `validate-*`, `test-*.tfrecord`, `items.parquet` and `meta.json`.

    Equal inputs and configuration give byte-identical files. `docs/data.md` describes formats and rules.

    Args:
        inputs: log files (CSV, gzip CSV, Parquet), read in this order as one log.
        out_dir: existing directory to write into.
        config: the options.

    Raises:
        DataError: an input is missing, damaged, or breaks a rule beyond the limits.
    """
    require_files([*inputs, *([config.items] if config.items else [])])
    log = _read_log(inputs, config)
    histories, catalogue, categories, num_repeated = _build(log, config)
    splits = draw_splits(
        histories.lengths,
        train_min_length=config.train_min_length,
        test_min_length=config.test_min_length,
        test_users=config.test_users,
        validate_users=config.validate_users,
        seed=config.seed,
    )
    num_samples = write_splits(
        out_dir,
        histories,
        catalogue,
        splits,
        layout=config.layout,
        max_length=config.max_length,
        train_min_length=config.train_min_length,
        test_min_length=config.test_min_length,
        shards=config.shards,
    )
    write_items(out_dir / "items.parquet", catalogue, _train_counts(histories, splits, len(catalogue.counts)))
    user_id_type = type_name(histories.user_ids)
    dropped = dict(log.dropped)
    if config.duplicates == "drop" and num_repeated:
        dropped["duplicate"] = num_repeated
    report = ConvertReport(
        layout=config.layout,
        max_length=config.max_length,
        train_min_length=config.train_min_length,
        test_min_length=config.test_min_length,
        num_rows=log.num_rows,
        num_events=len(histories.times),
        num_users=len(histories.user_ids),
        num_items=len(catalogue.counts),
        num_categories=len(catalogue.category_ids),
        num_samples=num_samples,
        num_users_per_split={"train": len(splits.train), "validate": len(splits.validate), "test": len(splits.test)},
        user_id_type=user_id_type,
        item_id_type=type_name(catalogue.item_ids),
        category_id_type=type_name(catalogue.category_ids),
        time_unit=log.unit,
        time_range=(int(histories.times.min()), int(histories.times.max())),
        headers=log.headers,
        dropped_rows=dropped,
        duplicate_events=num_repeated,
        items_with_changed_category=categories.changed,
        items_without_category=int((catalogue.category_rows[1:] == 0).sum()),
        notes=categories.notes,
        features={
            "train": feature_schema(config.layout, user_id_type),
            "validate": feature_schema("sample", user_id_type),
            "test": feature_schema("sample", user_id_type),
        },
    )
    (out_dir / "meta.json").write_text(json.dumps(asdict(report), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return report
