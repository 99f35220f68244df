"""The stages of a conversion before its shards are written: the log is read, counted, and cut into partitions of users."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from data_prep.bad_rows import BadRows
from data_prep.budget import GIB, estimated_bytes, partition_events
from data_prep.config import RESOURCE_FIELDS, SPLIT_FIELDS, ConvertConfig
from data_prep.counting import Counts, count_events
from data_prep.durable import partial_path, remove_tree
from data_prep.errors import DataError
from data_prep.histories import duplicate_events
from data_prep.incremental import extend_catalogue, read_base, require_behaviors
from data_prep.items_table import Categories, categories_of_file, make_catalogue, no_categories
from data_prep.json_text import read_json
from data_prep.option_values import unix_seconds
from data_prep.parallel import ordered_map, worker_count
from data_prep.partitions import PartitionEvents, Partitions, cut_partitions, load_partition, scatter_events, store_partition
from data_prep.plan import PLAN_NAME, Plan, PlanFacts, load_plan, replace_json, roles_of, save_plan, shard_boundaries
from data_prep.reading import SPOOL_NAME, STATE_NAME, SpooledLog, open_log, read_log
from data_prep.sources import expand_directories, require_files
from data_prep.splits import Splits, draw_splits
from data_prep.time_split import count_before, draw_time_splits
from data_prep.times import SCALES

MAX_ALIGNED_SHARDS = 64
STAMP_NAME = "stamp.json"
logger = logging.getLogger(__name__)


def make_plan(inputs: Sequence[Path], work: Path, config: ConvertConfig, aside: ThreadPoolExecutor | None = None) -> Plan:
    """Reads, counts and partitions a log.

    Args:
        inputs: log files and directories.
        work: directory for what is in between; made if it is not there.
        config: the options.
        aside: removes what the plan replaces; without it that is done at once.

    Raises:
        DataError: as `data_prep.convert.convert_log`.
    """
    inputs = expand_directories(inputs)
    require_files([*inputs, *side_tables(config)])
    _claim(work, inputs, config)
    if (work / PLAN_NAME).is_file():
        logger.info("going on with the partitions of an earlier, killed conversion")
        return load_plan(work)
    plan = _new_plan(inputs, work, config)
    save_plan(plan, work)
    replaced = [work / SPOOL_NAME, work / STATE_NAME]
    remove(replaced) if aside is None else aside.submit(remove, replaced)
    return plan


def _new_plan(inputs: Sequence[Path], work: Path, config: ConvertConfig) -> Plan:
    workers = worker_count(config.threads)
    base = None if config.base is None else read_base(config.base)
    if base is not None:
        require_behaviors(base, config)
    log = open_log(work, config, base) or read_log(inputs, work, config, base, workers)
    bad = log.bad_rows(config)
    counts = count_events(log.spool, log.rules, config, bad, log.num_rows, ", ".join(path.name for path in inputs), workers)
    splits, partitions = _cut(counts, config, workers)
    categories = _categories(config, log, counts, scatter_events(log.spool, log.rules, counts, partitions, work, workers))
    dropped = _drop_duplicates(work, partitions, counts, workers) if config.duplicates == "drop" else 0
    split_time = None if config.split_time is None else unix_seconds(config.split_time)
    item_counts, before = counts.item_counts, None
    if split_time is not None:  # rows, counts and weights then know nothing of what comes later
        before, item_counts = count_before(work, partitions, counts, split_time * SCALES[log.rules.unit], workers)
    splits = splits or _draw(counts.user_counts, config, before)
    known = None if base is None else len(base.item_ids)
    return Plan(
        user_ids=counts.user_ids,
        lengths=counts.user_counts,
        role=roles_of(splits, len(counts.user_ids)),
        catalogue=make_catalogue(counts.item_ids, item_counts, categories)
        if base is None
        else extend_catalogue(base, counts.item_ids, item_counts, categories),
        partitions=partitions,
        shard_firsts=shard_boundaries(splits.train, config.shards, len(counts.user_ids)),
        facts=_facts(log, counts, bad, categories, dropped=dropped, items_of_base=known),
        split_time=split_time,
        before=before,
    )


def _cut(counts: Counts, config: ConvertConfig, workers: int) -> tuple[Splits | None, Partitions]:
    """The splits, if they follow from the counts alone, and the partitions of users."""
    splits = None if config.duplicates == "drop" or config.split_time is not None else _draw(counts.user_counts, config)
    boundaries = np.zeros(0, np.int64)
    if splits is not None and config.shards <= MAX_ALIGNED_SHARDS:  # no partition is then read for two shards
        boundaries = shard_boundaries(splits.train, config.shards, len(counts.user_ids))
    events = partition_events(config, counts, workers)
    partitions = cut_partitions(counts, events, boundaries, with_behaviors=config.reads_behaviors)
    largest = int(np.add.reduceat(counts.user_counts, partitions.firsts[:-1]).max(initial=0))
    needed = estimated_bytes(counts, workers, largest) / GIB
    logger.info("%d partitions of users; about %.2f GiB of memory of %g GiB", len(partitions), needed, config.memory_limit)
    return splits, partitions


def _categories(config: ConvertConfig, log: SpooledLog, counts: Counts, of_events: Categories) -> Categories:
    """The items' categories: of a file, of the events, or none."""
    categories = of_events
    if config.items is not None:
        categories = categories_of_file(config.items, counts.item_ids, config)
    elif "category" not in log.roles:
        categories = no_categories(len(counts.item_ids))
    if categories.changed:
        logger.warning("%s items occur with several categories; the latest counts", f"{categories.changed:,}")
    return categories


def _facts(log: SpooledLog, counts: Counts, bad: BadRows, categories: Categories, *, dropped: int, items_of_base: int | None) -> PlanFacts:
    scale = SCALES[log.rules.unit]
    filtered = {"other_behavior": log.other_behaviors} if log.other_behaviors else {}
    return PlanFacts(
        num_rows=log.num_rows,
        headers=log.headers,
        time_unit=log.rules.unit,
        time_range=(counts.times[0] // scale, counts.times[1] // scale),
        dropped_rows=bad.by_reason | ({"duplicate": dropped} if dropped else {}),
        filtered_rows=filtered | counts.filtered,
        duplicates_dropped=dropped,
        items_with_changed_category=categories.changed,
        notes=categories.notes | ({} if items_of_base is None else _notes_of_base(items_of_base, counts, categories)),
    )


def _notes_of_base(num_items: int, counts: Counts, categories: Categories) -> dict[str, int]:
    """What the catalogue does not tell any more: items keep the category that they had where the new events have none."""
    without = int(counts.item_counts[categories.code_of_item < 0].sum())
    return {"items_kept_from_base": num_items, "events_without_category": without}


def side_tables(config: ConvertConfig) -> list[Path]:
    """The files beside the log: about items and users."""
    return [Path(path) for path in (config.items, config.users) if path is not None]


def remove(paths: Sequence[Path]) -> None:
    """Removes files that may be there."""
    for path in paths:
        path.unlink(missing_ok=True)


def give_up(work: Path) -> None:
    """Removes the work directory; a conversion that finds what is left of it, after a kill, begins anew."""
    replace_json(work / STAMP_NAME, {})
    remove_tree(work, last=(STAMP_NAME,))


def _claim(work: Path, inputs: Sequence[Path], config: ConvertConfig) -> None:
    """Empties the work directory unless it is of the same log and options."""
    others = side_tables(config)
    others += [config.base / "items.parquet"] if config.base and (config.base / "items.parquet").is_file() else []
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in [*inputs, *others]]
    wanted = json.loads(
        json.dumps({"files": files, "boot": _boot(), "config": config.model_dump(mode="json", exclude=set(RESOURCE_FIELDS))})
    )
    stamp = work / STAMP_NAME
    try:
        if read_json(stamp) == wanted:
            return
    except (OSError, ValueError, RecursionError):
        pass  # none yet, or damaged: begin anew
    if work.is_symlink() or (work.exists() and not work.is_dir()):
        raise DataError(f"{work} is no directory of a conversion, and is not replaced; give another path")
    if work.is_dir():
        left = {entry.name for entry in work.iterdir()} - {partial_path(stamp).name}
        if left and not stamp.is_file():
            raise DataError(f"{work} holds something else than an unfinished conversion, and is not emptied; give another path")
        remove_tree(work, last=(STAMP_NAME,))
    work.mkdir(parents=True)
    replace_json(stamp, wanted)


def _boot() -> str:
    """What changes when the system starts: what was written before, and not synced, need not be on the disk."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


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
