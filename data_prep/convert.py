"""Log -> dataset, in stages whose results lie on disk: read, count, partition, write. `nann.steps.convert` wraps it into an artifact.

Memory holds the distinct ids and a few batches or partitions, never the events; all of these are cut so that the outcome does not depend
on where. A conversion that was killed goes on with the stage, in the last one with the partition, that it was in.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_prep.compression import concatenate
from data_prep.config import ConvertConfig
from data_prep.item_features import write_item_features
from data_prep.items_table import write_items
from data_prep.json_text import write_json
from data_prep.parallel import ordered_map, worker_count
from data_prep.partitions import partition_paths
from data_prep.plan import Plan
from data_prep.planning import give_up, make_plan, remove
from data_prep.progress import Progress
from data_prep.report import ConvertReport, log_report, make_report
from data_prep.shards import SPLITS, ShardWriter, part_path, shard_path
from data_prep.user_features import write_user_features
from data_prep.users_table import join_users, write_users

WORK_NAME = ".work"


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
        aside.submit(remove, [path for p in range(len(plan.partitions)) for path in partition_paths(work, plan.partitions, p)])
        report = merge_shards(plan, work, out_dir, config, digests=digests)
    give_up(work)
    return report


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
    report = make_report(plan, facts, config, inputs)
    write_json(out_dir / "meta.json", asdict(report))
    log_report(report)
    return report


def _history_inputs(config: ConvertConfig) -> dict[str, dict[str, Any]]:
    """The inputs that the records' histories hold."""
    kinds = list(config.behavior_names) if config.keep_behaviors else []
    behavior = {"behavior": {"side": "history", "num_values": len(kinds), "values": kinds}} if kinds else {}
    return {"time": {"side": "history"}, **behavior}


def _side_inputs(side: str, sizes: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    return {name: {"side": side, "num_values": size} for name, size in sizes.items()}
