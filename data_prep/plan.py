"""The plan of a conversion: all that is known after the log was read, counted and partitioned, and that writing the shards needs.

It lies on disk, so that a killed conversion goes on where it was, and so that shards can be written by other processes or machines.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from data_prep.items_table import ItemsTable
from data_prep.json_text import read_json
from data_prep.opening import opening
from data_prep.partitions import Partitions
from data_prep.splits import Splits
from data_prep.vocabulary import Ids

PLAN_NAME = "plan.json"
_TRAIN, _VALIDATE, _TEST = 0, 1, 2


@dataclass(frozen=True)
class PlanFacts:
    """Numbers for the report (`data_prep.report.ConvertReport`) that do not come from the shards."""

    num_rows: int
    headers: list[bool]
    time_unit: str
    time_range: tuple[int, int]
    dropped_rows: dict[str, int]
    filtered_rows: dict[str, int]
    duplicates_dropped: int
    items_with_changed_category: int
    notes: dict[str, int]


@dataclass(frozen=True)
class Plan:
    """A conversion that only lacks its shards.

    Attributes:
        user_ids: [U] distinct ids, ascending.
        lengths: [U] int64, events per user.
        role: [U] uint8, 0 for training, 1 for validation, 2 for test users.
        catalogue: items and categories in row order.
        partitions: layout of the partition files.
        shard_firsts: [S + 1] int64; training shard s holds the training users among the user codes [shard_firsts[s], shard_firsts[s + 1]).
        facts: numbers for the report.
        split_time: unix seconds of a split by time, None for one by users.
        before: [U] int64, events per user before that time; None without it.
    """

    user_ids: Ids
    lengths: np.ndarray
    role: np.ndarray
    catalogue: ItemsTable
    partitions: Partitions
    shard_firsts: np.ndarray
    facts: PlanFacts
    split_time: int | None = None
    before: np.ndarray | None = None

    @property
    def num_shards(self) -> int:
        """Training shards."""
        return len(self.shard_firsts) - 1

    def users(self, split: str) -> np.ndarray:
        """[n] ascending user codes of "train", "validate" or "test"; after a split by time held-out users train too."""
        if split == "train" and self.before is not None:
            return np.flatnonzero(self.before)
        return np.flatnonzero(self.role == {"train": _TRAIN, "validate": _VALIDATE, "test": _TEST}[split])


def roles_of(splits: Splits, num_users: int) -> np.ndarray:
    """[U] uint8 role per user."""
    role = np.full(num_users, _TRAIN, np.uint8)
    role[splits.validate] = _VALIDATE
    role[splits.test] = _TEST
    return role


def shard_boundaries(train_users: np.ndarray, shards: int, num_users: int) -> np.ndarray:
    """[S + 1] user codes at which training shards of equal numbers of users begin (fewer shards if there are fewer users)."""
    parts = np.array_split(train_users, min(shards, len(train_users)))
    return np.array([0, *(part[0] for part in parts[1:]), num_users], np.int64)


def _write_ids(path: Path, ids: Ids) -> None:
    pa.parquet.write_table(pa.table({"id": pa.array(ids)}), path, compression="none", use_dictionary=False)


def _read_ids(path: Path) -> Ids:
    column = pa.parquet.read_table(path)["id"].combine_chunks()
    return column if pa.types.is_string(column.type) else column.to_numpy(zero_copy_only=False)


def replace_json(path: Path, content: Any) -> None:
    """Writes a JSON file that is there complete or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, sort_keys=True), encoding="utf-8")
    os.replace(partial, path)


def save_plan(plan: Plan, directory: Path) -> None:
    """Writes the plan beside the partition files; `plan.json` comes last, and so says that all is there."""
    catalogue = plan.catalogue
    _write_ids(directory / "user_ids.parquet", plan.user_ids)
    _write_ids(directory / "item_ids.parquet", catalogue.item_ids)
    _write_ids(directory / "category_ids.parquet", catalogue.category_ids)
    for name, array in (
        ("lengths", plan.lengths),
        ("role", plan.role),
        ("row_of_code", catalogue.row_of_code),
        ("counts", catalogue.counts),
        ("category_rows", catalogue.category_rows),
        ("partition_firsts", plan.partitions.firsts),
        ("shard_firsts", plan.shard_firsts),
    ):
        np.save(directory / f"{name}.npy", array)
    if plan.before is not None:
        np.save(directory / "before.npy", plan.before)
    head = {
        "time_bits": plan.partitions.time_bits,
        "first_time": plan.partitions.first_time,
        "with_behaviors": plan.partitions.with_behaviors,
        "facts": asdict(plan.facts),
        "split_time": plan.split_time,
    }
    replace_json(directory / PLAN_NAME, head)


def load_plan(directory: Path) -> Plan:
    """Reads what `save_plan` wrote.

    Raises:
        DataError: it is damaged.
    """
    with opening(directory, "a plan of a conversion", remedy="remove it, and convert again"):
        return _load_plan(directory)


def _load_plan(directory: Path) -> Plan:
    head = read_json(directory / PLAN_NAME)
    facts = head["facts"]
    arrays = {
        name: np.load(directory / f"{name}.npy", allow_pickle=False)
        for name in ("lengths", "role", "row_of_code", "counts", "category_rows", "partition_firsts", "shard_firsts")
    }
    return Plan(
        user_ids=_read_ids(directory / "user_ids.parquet"),
        lengths=arrays["lengths"],
        role=arrays["role"],
        catalogue=ItemsTable(
            item_ids=_read_ids(directory / "item_ids.parquet"),
            row_of_code=arrays["row_of_code"],
            counts=arrays["counts"],
            category_rows=arrays["category_rows"],
            category_ids=_read_ids(directory / "category_ids.parquet"),
        ),
        partitions=Partitions(arrays["partition_firsts"], head["time_bits"], head["first_time"], head["with_behaviors"]),
        shard_firsts=arrays["shard_firsts"],
        facts=PlanFacts(**{**facts, "time_range": tuple(facts["time_range"])}),
        split_time=head["split_time"],
        before=None if head["split_time"] is None else np.load(directory / "before.npy", allow_pickle=False),
    )
