"""What a conversion found: ``meta.json``, and the lines at its end."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.config import ConvertConfig
from data_prep.plan import Plan
from data_prep.shards import SPLITS, ShardFacts, feature_schema
from data_prep.vocabulary import type_name

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
        time_unit: "s", "ms" or "us", that the events were ordered in; the dataset holds seconds.
        time_range: first and last event, unix seconds.
        headers: per input whether it started with a header.
        dropped_rows: rows that could not be used, and dropped duplicates, by reason.
        filtered_rows: rows left out because the options ask for others, by reason.
        duplicate_events: events of equal user, item and time beyond the first (kept unless configured otherwise).
        items_with_changed_category: items seen with several categories; the latest counts.
        items_without_category: items without one.
        notes: further counters.
        inputs: what models may read beside ids, by name: ``side`` ("item", "user" or "history"), ``num_values`` (none for ``time``, whose
            values are unix seconds), and for ``behavior`` the ``values`` in the order of their rows.
        features: feature schema per split.
        compression: of the record files, "none" or "gzip".
        behavior_weights: kind and weight of training targets, in the order of their numbers in the records; empty without weights.
        split_time: unix seconds of a split by time, None for one by users.
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
    filtered_rows: dict[str, int]
    duplicate_events: int
    items_with_changed_category: int
    items_without_category: int
    notes: dict[str, int]
    inputs: dict[str, dict[str, Any]]
    features: dict[str, Any]
    compression: str
    behavior_weights: list[list[Any]]
    split_time: int | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """The numbers, for a manifest or a metrics view."""
        names = ("num_rows", "num_events", "num_users", "num_items", "num_categories", "duplicate_events", "items_with_changed_category")
        return {name: getattr(self, name) for name in names} | {
            "num_dropped_rows": sum(self.dropped_rows.values()),
            "num_filtered_rows": sum(self.filtered_rows.values()),
            **{f"num_samples_{split}": count for split, count in self.num_samples.items()},
        }


def make_report(plan: Plan, facts: Sequence[ShardFacts], config: ConvertConfig, inputs: dict[str, dict[str, Any]]) -> ConvertReport:
    """The report of a plan, the facts of its shards [S], and the inputs of models by name."""
    catalogue, log = plan.catalogue, plan.facts
    user_id_type = type_name(plan.user_ids)
    num_samples = {split: sum(fact.num_samples[split] for fact in facts) for split in SPLITS}
    num_events, filtered = int(plan.lengths.sum()), log.filtered_rows
    if plan.before is not None:
        kept = int(plan.before.sum()) + num_samples["validate"] + num_samples["test"]
        num_events, filtered = kept, {**filtered, "from_split_time_on_and_no_target": num_events - kept}
    return ConvertReport(
        layout=config.layout,
        max_length=config.max_length,
        train_min_length=config.train_min_length,
        test_min_length=config.test_min_length,
        num_rows=log.num_rows,
        num_events=num_events,
        num_users=len(plan.user_ids),
        num_items=len(catalogue.counts),
        num_categories=len(catalogue.category_ids),
        num_samples=num_samples,
        num_users_per_split={split: len(plan.users(split)) for split in SPLITS},
        user_id_type=user_id_type,
        item_id_type=type_name(catalogue.item_ids),
        category_id_type=type_name(catalogue.category_ids),
        time_unit=log.time_unit,
        time_range=log.time_range,
        headers=log.headers,
        dropped_rows=log.dropped_rows,
        filtered_rows=filtered,
        duplicate_events=log.duplicates_dropped + sum(fact.duplicates for fact in facts),
        items_with_changed_category=log.items_with_changed_category,
        items_without_category=int((catalogue.category_rows[1:] == 0).sum()),
        notes=log.notes,
        inputs=inputs,
        features={
            split: feature_schema(
                config.layout if split == "train" else "sample",
                user_id_type,
                with_behaviors=plan.partitions.with_behaviors,
                keep_behaviors=config.keep_behaviors,
            )
            for split in SPLITS
        },
        behavior_weights=[[*pair] for pair in zip(config.behavior_names, config.behavior_weights, strict=False)],
        compression=config.compression,
        split_time=plan.split_time,
    )


def log_report(report: ConvertReport) -> None:
    """Logs rows read, left out and why, and what the dataset holds."""

    def listed(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{reason} {number:,}" for reason, number in sorted(counts.items())) or "none"

    logger.info(
        "%s rows read; dropped: %s; left out as asked: %s; repeated events: %s",
        f"{report.num_rows:,}",
        listed(report.dropped_rows),
        listed(report.filtered_rows),
        f"{report.duplicate_events:,}",
    )
    logger.info(
        "%s events of %s users and %s items in %s categories; samples: %s",
        f"{report.num_events:,}",
        f"{report.num_users:,}",
        f"{report.num_items:,}",
        f"{report.num_categories:,}",
        listed(report.num_samples),
    )
