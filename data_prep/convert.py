"""Log -> dataset, in stages whose results lie on disk: read, count, partition, write. `nann.steps.convert` wraps it into an artifact.

Memory holds the distinct ids and a few batches or partitions, never the events; all of these are cut so that the outcome does not depend
on where. A conversion that was killed goes on with the stage, in the last one with the partition, that it was in.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_prep.budget import partition_events
from data_prep.compression import concatenate
from data_prep.config import RESOURCE_FIELDS, SPLIT_FIELDS, ConvertConfig
from data_prep.counting import Counts, count_events
from data_prep.histories import duplicate_events
from data_prep.incremental import extend_catalogue, read_base, require_behaviors
from data_prep.item_features import write_item_features
from data_prep.items_table import categories_of_file, make_catalogue, no_categories, write_items
from data_prep.json_text import write_json
from data_prep.option_values import unix_seconds
from data_prep.parallel import ordered_map, worker_count
from data_prep.partitions import (
    PartitionEvents,
    Partitions,
    cut_partitions,
    load_partition,
    partition_paths,
    scatter_events,
    store_partition,
)
from data_prep.plan import PLAN_NAME, LogFacts, Plan, load_plan, replace_json, roles_of, save_plan, shard_boundaries
from data_prep.progress import Progress
from data_prep.reading import SPOOL_NAME, STATE_NAME, open_log, read_log
from data_prep.shards import SPLITS, ShardFacts, ShardWriter, feature_schema, part_path, shard_path
from data_prep.sources import expand_directories, require_files
from data_prep.splits import Splits, draw_splits
from data_prep.time_split import count_before, draw_time_splits
from data_prep.times import SCALES
from data_prep.user_features import write_user_features
from data_prep.users_table import join_users, write_users
from data_prep.vocabulary import type_name

WORK_NAME = ".work"
MAX_ALIGNED_SHARDS = 64
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


def convert_log(inputs: Sequence[Path], out_dir: Path, config: ConvertConfig, digests: dict[str, str] | None = None) -> ConvertReport:
    """Converts a log into `train-*`, `validate-*`, `test-*.tfrecord`, `items.parquet`, `meta.json`, and where asked for
    `users.parquet` and side features.

    Equal inputs and configuration give byte-identical files, whatever `RESOURCE_FIELDS` say. `docs/data.md` describes formats and rules.

    Args:
        inputs: log files (CSV, JSON lines, Parquet; packed or not) and directories of such, read in this order as one log.
        out_dir: existing directory to write into; what a killed conversion of the same log left there is used.
        config: the options.
        digests: receives file name -> hex sha256 of the files whose bytes were hashed while they were written.

    Raises:
        DataError: an input is missing, damaged, or breaks a rule beyond the limits.
    """
    work = out_dir / WORK_NAME
    with ThreadPoolExecutor(1) as aside:  # removing large files takes a while, and nothing waits for it
        plan = make_plan(inputs, work, config, aside)
        write_shards(plan, work, range(plan.num_shards), config)
        aside.submit(_remove, [path for p in range(len(plan.partitions)) for path in partition_paths(work, plan.partitions, p)])
        report = merge_shards(plan, work, out_dir, config, digests=digests)
    shutil.rmtree(work)
    return report


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def make_plan(inputs: Sequence[Path], work: Path, config: ConvertConfig, aside: ThreadPoolExecutor | None = None) -> Plan:
    """Reads, counts and partitions a log.

    Args:
        inputs: log files and directories.
        work: directory for what is in between; made if it is not there.
        config: the options.
        aside: removes what the plan replaces; without it that is done at once.

    Raises:
        DataError: as `convert_log`.
    """
    inputs = expand_directories(inputs)
    require_files([*inputs, *side_tables(config)])
    _claim(work, inputs, config)
    if (work / PLAN_NAME).is_file():
        logger.info("going on with the partitions of an earlier, killed conversion")
        return load_plan(work)
    workers = worker_count(config.threads)
    base = None if config.base is None else read_base(config.base)
    if base is not None:
        require_behaviors(base, config)
    log = open_log(work, config, base) or read_log(inputs, work, config, base, workers)
    source = ", ".join(path.name for path in inputs)
    bad = log.bad_rows(config)
    counts = count_events(log.spool, log.rules, config, bad, log.num_rows, source, workers)
    by_time = config.split_time is not None
    splits = None if config.duplicates == "drop" or by_time else _draw(counts.user_counts, config)
    boundaries = np.zeros(0, np.int64)
    if splits is not None and config.shards <= MAX_ALIGNED_SHARDS:  # no partition is then read for two shards
        boundaries = shard_boundaries(splits.train, config.shards, len(counts.user_ids))
    events = partition_events(config, counts, workers)
    partitions = cut_partitions(counts, events, boundaries, with_behaviors=config.reads_behaviors)
    logger.info("%d partitions of users", len(partitions))
    categories = scatter_events(log.spool, log.rules, counts, partitions, work, workers)
    if config.items is not None:
        categories = categories_of_file(config.items, counts.item_ids, config)
    elif "category" not in log.roles:
        categories = no_categories(len(counts.item_ids))
    if categories.changed:
        logger.warning("%s items occur with several categories; the latest counts", f"{categories.changed:,}")
    dropped = _drop_duplicates(work, partitions, counts, workers) if config.duplicates == "drop" else 0
    scale = SCALES[log.rules.unit]
    split_time = None if config.split_time is None else unix_seconds(config.split_time)
    item_counts, before = counts.item_counts, None
    if split_time is not None:  # rows, counts and weights then know nothing of what comes later
        before, item_counts = count_before(work, partitions, counts, split_time * scale, workers)
    splits = splits or _draw(counts.user_counts, config, before)
    if base is None:
        catalogue = make_catalogue(counts.item_ids, item_counts, categories)
    else:
        catalogue = extend_catalogue(base, counts.item_ids, item_counts, categories)
    num_users = len(counts.user_ids)
    filtered = {"other_behavior": log.other_behaviors} if log.other_behaviors else {}
    plan = Plan(
        user_ids=counts.user_ids,
        lengths=counts.user_counts,
        role=roles_of(splits, num_users),
        catalogue=catalogue,
        partitions=partitions,
        shard_firsts=shard_boundaries(splits.train, config.shards, num_users),
        facts=LogFacts(
            num_rows=log.num_rows,
            headers=log.headers,
            time_unit=log.rules.unit,
            time_range=(counts.times[0] // scale, counts.times[1] // scale),
            dropped_rows=bad.by_reason | ({"duplicate": dropped} if dropped else {}),
            filtered_rows=filtered | counts.filtered,
            duplicates_dropped=dropped,
            items_with_changed_category=categories.changed,
            notes=categories.notes | ({} if base is None else {"items_kept_from_base": len(base.item_ids)}),
        ),
        split_time=split_time,
        before=before,
    )
    save_plan(plan, work)
    replaced = [work / SPOOL_NAME, work / STATE_NAME]
    _remove(replaced) if aside is None else aside.submit(_remove, replaced)
    return plan


def side_tables(config: ConvertConfig) -> list[Path]:
    """The files beside the log: about items and users."""
    return [Path(path) for path in (config.items, config.users) if path is not None]


def _claim(work: Path, inputs: Sequence[Path], config: ConvertConfig) -> None:
    """Empties the work directory unless it is of the same log and options."""
    others = side_tables(config)
    others += [config.base / "items.parquet"] if config.base and (config.base / "items.parquet").is_file() else []
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in [*inputs, *others]]
    wanted = json.loads(json.dumps({"files": files, "config": config.model_dump(mode="json", exclude=set(RESOURCE_FIELDS))}))
    stamp = work / "stamp.json"
    if stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8")) == wanted:
        return
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    replace_json(stamp, wanted)


def _draw(lengths: np.ndarray, config: ConvertConfig, before: np.ndarray | None = None) -> Splits:
    options: dict[str, int] = config.model_dump(include=set(SPLIT_FIELDS))
    return draw_splits(lengths, **options) if before is None else draw_time_splits(before, lengths, **options)


def _drop_duplicates(work: Path, partitions: Partitions, counts: Counts, workers: int) -> int:
    """Takes repeated events out of the partitions and the counts; a partition that went through this before has none left."""
    num_users, num_items = len(counts.user_ids), len(counts.item_ids)
    counts.user_counts, counts.item_counts = np.zeros(num_users, np.int64), np.zeros(num_items, np.int64)

    def clean(partition: int) -> tuple[int, PartitionEvents]:
        events = load_partition(work, partitions, partition)
        keep = ~duplicate_events(events.user_codes, events.item_codes, events.times)
        behaviors = None if events.behaviors is None else events.behaviors[keep]
        kept = PartitionEvents(events.first_user, events.user_codes[keep], events.item_codes[keep], events.times[keep], behaviors)
        store_partition(work, partitions, partition, kept)
        return int((~keep).sum()), kept

    dropped = 0
    for number, events in ordered_map(clean, range(len(partitions)), workers):
        dropped += number
        lengths = np.bincount(events.user_codes)
        counts.user_counts[events.first_user : events.first_user + len(lengths)] = lengths
        np.add.at(counts.item_counts, events.item_codes, 1)
    if dropped:
        logger.warning("%s events repeated another one of equal user, item and time; they are dropped", f"{dropped:,}")
    return dropped


def write_shards(plan: Plan, work: Path, shards: Sequence[int], config: ConvertConfig) -> None:
    """Writes training shards and the held-out samples of their users into ``work``, or what is missing of them."""
    total = int(plan.lengths.sum())
    progress, lock, written = Progress("writing", total), threading.Lock(), 0

    def count(events: int) -> None:
        nonlocal written
        with lock:
            written += events
            progress.update(written, written)

    def write(shard: int) -> None:
        ShardWriter(plan, work, shard, config).write(count)

    for _ in ordered_map(write, shards, worker_count(config.threads)):
        pass
    progress.finish(written)


def merge_shards(
    plan: Plan,
    work: Path,
    out_dir: Path,
    config: ConvertConfig,
    part_dirs: Sequence[Path] | None = None,
    digests: dict[str, str] | None = None,
) -> ConvertReport:
    """Puts written shards together to a dataset.

    Args:
        plan: of the conversion.
        work: directory of the plan; without ``part_dirs`` it has all shards, which are moved out of it.
        out_dir: existing directory to write into.
        config: the options.
        part_dirs: per shard the directory with its parts, which are copied.
        digests: as `convert_log`.
    """
    places = [work] * plan.num_shards if part_dirs is None else list(part_dirs)
    facts = [ShardWriter(plan, work, shard, config, places[shard]).facts() for shard in range(plan.num_shards)]
    suffix = ".gz" if config.compression == "gzip" else ""
    jobs = [([part_path(places[s], "train", s)], shard_path(out_dir, "train", s, plan.num_shards)) for s in range(plan.num_shards)]
    jobs += [([part_path(places[s], split, s) for s in range(plan.num_shards)], shard_path(out_dir, split, 0, 1)) for split in SPLITS[1:]]

    def move(job: tuple[list[Path], Path]) -> None:
        parts, path = job
        concatenate(parts, path.with_name(path.name + suffix), packed=bool(suffix), move=part_dirs is None)

    for _ in ordered_map(move, jobs, worker_count(config.threads)):
        pass
    if digests is not None and not suffix:  # training shards are one part each
        digests.update((path.name, fact.train_sha256) for (_, path), fact in zip(jobs, facts, strict=False))
    train_counts = plan.catalogue.counts.copy()
    for fact in facts:
        np.subtract.at(train_counts, fact.held_out_rows - 1, fact.held_out_counts)
    write_items(out_dir / "items.parquet", plan.catalogue, train_counts)
    if config.users is not None:
        splits = pa.DictionaryArray.from_arrays(pa.array(plan.role), pa.array(SPLITS)).dictionary_decode()
        columns = join_users(config.users, plan.user_ids, config)
        write_users(out_dir / "users.parquet", plan.user_ids, splits, plan.lengths, columns)
    inputs = _history_inputs(config)
    if config.items and config.item_features:
        inputs |= _side_inputs("item", write_item_features(out_dir, config.items, plan.catalogue.item_ids, config))
    if config.users and config.user_features:
        inputs |= _side_inputs("user", write_user_features(out_dir, config.users, plan.user_ids, config))
    report = _report(plan, facts, config, inputs)
    write_json(out_dir / "meta.json", asdict(report))
    _log_end(report)
    return report


def _history_inputs(config: ConvertConfig) -> dict[str, dict[str, Any]]:
    """The inputs that the records' histories hold."""
    kinds = list(config.behavior_names) if config.keep_behaviors else []
    behavior = {"behavior": {"side": "history", "num_values": len(kinds), "values": kinds}} if kinds else {}
    return {"time": {"side": "history"}, **behavior}


def _side_inputs(side: str, sizes: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    return {name: {"side": side, "num_values": size} for name, size in sizes.items()}


def _report(plan: Plan, facts: Sequence[ShardFacts], config: ConvertConfig, inputs: dict[str, dict[str, Any]]) -> ConvertReport:
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


def _log_end(report: ConvertReport) -> None:
    """The end report: rows read, left out and why, and what the dataset holds."""

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
