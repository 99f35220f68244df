"""The feature schema, and the TFRecord shards of both layouts.

`user` layout, one Example per training user: `user_id` [1], `item_ids`, `cate_ids`, `time_steps` [len].
`sample` layout, one Example per target: `user_id` [1], `item_ids`, `cate_ids`, `seconds_to_next` [<= max_length] (the events right
before the target, oldest first), `gt_item_id`, `gt_cate_id`, `gt_time` [1] int64, `weight_tag` [1] float32 (the target item's share of
all events).
Validation and test are always of the `sample` layout. Item and category features hold rows (0: no category), times are unix seconds.
Where the kinds of events are kept (`keep_behaviors`) both have `behavior_ids`, beside `item_ids`: places in the list of kinds, from 0 on.
Times of histories are stored as differences, less than half of the bytes: `time_steps` are the seconds since the user's event before, of
the first event since 1970; `seconds_to_next` those from an event to the one after it, of the last one to the target.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa

from data_prep.config import ConvertConfig
from data_prep.histories import UserHistories, duplicate_events
from data_prep.items_table import ItemsTable
from data_prep.opening import Stored, read_json
from data_prep.partitions import load_partition, write_all
from data_prep.plan import Plan, replace_json
from data_prep.splits import held_out_targets, train_targets
from data_prep.time_split import cut_at, first_later_events
from data_prep.times import SCALES
from data_prep.vocabulary import Ids
from ops.records import RecordFeature, encode_block, scalar_feature

BLOCK_EVENTS, BLOCK_SAMPLES = 1 << 17, 1 << 14  # some megabytes of records, which fit into the caches
SPLITS = ("train", "validate", "test")
HASH_BYTES = 1 << 20
logger = logging.getLogger(__name__)


class State(Stored):
    """How far a shard is."""

    done: list[int]
    sizes: dict[str, int]
    samples: dict[str, int]
    duplicates: int
    train_sha256: str


def feature_schema(
    layout: Literal["user", "sample"], user_id_type: str, *, with_behaviors: bool = False, keep_behaviors: bool = False
) -> dict[str, dict[str, Any]]:
    """Feature name -> dtype and shape (null: varying) of one layout.

    Args:
        layout: of the records.
        user_id_type: "int64" or "string".
        with_behaviors: whether the records say the kind of what may be a target.
        keep_behaviors: whether they say it of all events.
    """
    user_id = {"user_id": {"dtype": "int64" if user_id_type == "int64" else "bytes", "shape": [1]}}
    varying, one = {"dtype": "int64", "shape": [None]}, {"dtype": "int64", "shape": [1]}
    if layout == "user":
        behaviors = {"behavior_ids": varying} if with_behaviors else {}
        return {**user_id, "item_ids": varying, "cate_ids": varying, "time_steps": varying, **behaviors}
    return {
        **user_id,
        "item_ids": varying,
        "cate_ids": varying,
        "seconds_to_next": varying,
        **({"behavior_ids": varying} if keep_behaviors else {}),
        "gt_item_id": one,
        "gt_cate_id": one,
        "gt_time": one,
        "weight_tag": {"dtype": "float32", "shape": [1]},
        **({"gt_behavior_id": one} if with_behaviors else {}),
    }


def shard_path(directory: Path, split: str, shard: int, shards: int) -> Path:
    """`SPLIT-00000-of-00004.tfrecord`."""
    return directory / f"{split}-{shard:05d}-of-{shards:05d}.tfrecord"


def part_path(work: Path, split: str, shard: int) -> Path:
    """The records of one shard's users, while it is written."""
    return work / f"{split}-{shard:05d}.records"


def _user_ids(ids: Ids) -> np.ndarray:
    return ids if isinstance(ids, np.ndarray) else ids.cast(pa.binary()).to_numpy(zero_copy_only=False)


def time_steps(histories: UserHistories) -> np.ndarray:
    """[E] int64 seconds since the user's event before; of a user's first event the time itself."""
    steps = np.diff(histories.times, prepend=0)
    begins = histories.row_splits[:-1][np.diff(histories.row_splits) > 0]
    steps[begins] = histories.times[begins]
    return steps


def user_blocks(histories: UserHistories, catalogue: ItemsTable, users: np.ndarray) -> Iterator[dict[str, RecordFeature]]:
    """Features of the `user` layout, some ten thousand events at a time.

    Args:
        histories: all users.
        catalogue: for the categories.
        users: [n] user codes, ascending.
    """
    steps, behaviors = time_steps(histories), None if histories.behaviors is None else histories.behaviors.astype(np.int32)
    user_ids = _user_ids(histories.user_ids)
    firsts = histories.row_splits[users] // BLOCK_EVENTS  # users of equal numbers go into one block
    for some in np.split(users, np.flatnonzero(np.diff(firsts)) + 1) if len(users) else []:
        begins, ends = histories.row_splits[some], histories.row_splits[some + 1]
        first, last = int(begins[0]), int(ends[-1])
        item_rows = histories.item_rows[first:last]
        events = (begins - first, ends - first)
        yield {
            "user_id": scalar_feature(user_ids[some]),
            "item_ids": RecordFeature(item_rows, *events),
            "cate_ids": RecordFeature(catalogue.category_rows[item_rows], *events),
            "time_steps": RecordFeature(steps[first:last], *events),
            **({} if behaviors is None else {"behavior_ids": RecordFeature(behaviors[first:last], *events)}),
        }


def sample_blocks(
    histories: UserHistories,
    catalogue: ItemsTable,
    targets: np.ndarray,
    starts: np.ndarray,
    max_length: int,
    weights: np.ndarray,
    *,
    keep_behaviors: bool = False,
) -> Iterator[dict[str, RecordFeature]]:
    """Features of the `sample` layout, some ten thousand samples at a time. The windows of a user overlap and are not copied.

    Args:
        histories: all users.
        catalogue: for the categories.
        targets: [S] event indices of the targets, ascending.
        starts: [S] event index at which each target's user starts.
        max_length: history items at most.
        weights: [N + 1] float32 per item row.
        keep_behaviors: say the kind of every event, not of the target alone.
    """
    steps, behaviors = time_steps(histories), None if histories.behaviors is None else histories.behaviors.astype(np.int32)
    user_ids = _user_ids(histories.user_ids)
    for some in range(0, len(targets), BLOCK_SAMPLES):
        target = targets[some : some + BLOCK_SAMPLES]
        begins = np.maximum(target - max_length, starts[some : some + BLOCK_SAMPLES])
        first, last = int(begins.min()), int(target[-1]) + 1
        users = np.searchsorted(histories.row_splits, target, side="right") - 1
        item_rows, times = histories.item_rows[first:last], histories.times[first:last]
        category_rows = catalogue.category_rows[item_rows]
        target, begins = target - first, begins - first
        target_rows = item_rows[target].astype(np.int64)
        first_user = int(users[0])
        yield {
            "user_id": RecordFeature(user_ids[first_user : int(users[-1]) + 1], users - first_user, users - first_user + 1),
            "item_ids": RecordFeature(item_rows, begins, target),
            "cate_ids": RecordFeature(category_rows, begins, target),
            "seconds_to_next": RecordFeature(steps[first:last], begins + 1, target + 1),
            **({"behavior_ids": RecordFeature(behaviors[first:last], begins, target)} if keep_behaviors and behaviors is not None else {}),
            "gt_item_id": RecordFeature(item_rows, target, target + 1),
            "gt_cate_id": RecordFeature(category_rows, target, target + 1),
            "gt_time": RecordFeature(times, target, target + 1),
            "weight_tag": RecordFeature(weights, target_rows, target_rows + 1),
            **({} if behaviors is None else {"gt_behavior_id": RecordFeature(behaviors[first:last], target, target + 1)}),
        }


@dataclass(frozen=True)
class ShardFacts:
    """What a written shard comes to, the held-out samples of its users included.

    Attributes:
        num_samples: split -> samples; of training in the `user` layout those that a reader will cut.
        duplicates: events of equal user, item and time beyond the first.
        held_out_rows, held_out_counts: [k] item rows of the held-out users' events, and how many events each has.
        train_sha256: hex sha256 of the shard's training records.
    """

    num_samples: dict[str, int]
    duplicates: int
    held_out_rows: np.ndarray
    held_out_counts: np.ndarray
    train_sha256: str


class ShardWriter:
    """Writes one training shard, and the held-out samples of the users in its range, partition by partition.

    After each partition a small file records how far the shard has come; a writer of the same shard goes on from there and cuts off what a
    killed one wrote beyond it. The training records are hashed as they are written, while they are in the caches.

    Args:
        plan: of the conversion.
        work: directory with the partition files, which are only read.
        shard: its number.
        config: the options.
        out: directory for the shard's parts; default: ``work``.
    """

    def __init__(self, plan: Plan, work: Path, shard: int, config: ConvertConfig, out: Path | None = None) -> None:
        self._plan, self._work, self._shard, self._config = plan, work, shard, config
        self._out = work if out is None else out
        self._paths = {split: part_path(self._out, split, shard) for split in SPLITS}
        self._state_path = self._out / f"shard-{shard:05d}.json"
        self.state = self._nothing_done()
        if self._state_path.is_file():
            self.state = read_json(self._state_path, State, "the state of a shard", remedy="remove its directory, and convert again")
        self._digest: Any = None  # of the training records written so far, while writing
        catalogue = plan.catalogue
        self._weights = np.concatenate([[0.0], catalogue.counts / catalogue.counts.sum()]).astype(np.float32)

    @staticmethod
    def _nothing_done() -> dict[str, Any]:
        zeros = dict.fromkeys(SPLITS, 0)
        return {"done": [], "sizes": zeros, "samples": dict(zeros), "duplicates": 0, "train_sha256": hashlib.sha256().hexdigest()}

    def _digest_so_far(self) -> Any:
        """The hash of the training records that are there; None if they are others than were written."""
        digest, left = hashlib.sha256(), self.state["sizes"]["train"]
        if left:
            with self._paths["train"].open("rb", buffering=0) as file:
                while block := file.read(min(left, HASH_BYTES)):
                    digest.update(block)
                    left -= len(block)
        return digest if digest.hexdigest() == self.state["train_sha256"] else None

    def partitions(self) -> list[int]:
        """Partitions that hold users of the shard."""
        first, last = self._plan.shard_firsts[self._shard : self._shard + 2]
        firsts = self._plan.partitions.firsts
        return [p for p in range(len(firsts) - 1) if firsts[p] < last and firsts[p + 1] > first]

    def write(self, progress: Callable[[int], None] = lambda events: None) -> None:
        """Writes what is still missing; ``progress`` is called with the events of every partition written."""
        missing = [partition for partition in self.partitions() if partition not in self.state["done"]]
        if not missing:  # its file may have been moved to its place already
            return
        self._digest = self._digest_so_far()
        if self._digest is None:
            logger.warning("%s is not what an interrupted conversion left; the shard is written anew", self._paths["train"])
            self.state = self._nothing_done()
            self._digest, missing = hashlib.sha256(), self.partitions()
        with ExitStack() as stack:
            files: dict[str, BinaryIO] = {}
            for split, path in self._paths.items():
                path.touch()
                files[split] = stack.enter_context(path.open("r+b", buffering=0))
                files[split].truncate(self.state["sizes"][split])
                files[split].seek(self.state["sizes"][split])
            for partition in missing:
                progress(self._write_partition(partition, files))

    def _write_partition(self, partition: int, files: Mapping[str, BinaryIO]) -> int:
        histories, duplicates = self._histories(partition)
        first = self._first_user(partition)
        role = self._plan.role[first : first + len(histories.user_ids)]
        config, samples, moment = self._config, self.state["samples"], self._plan.split_time
        training = histories if moment is None else cut_at(histories, moment)
        train = np.flatnonzero(role == 0) if moment is None else np.flatnonzero(training.lengths)
        targets, starts = train_targets(training.row_splits, train, config.train_min_length)
        samples["train"] += len(targets)
        by_user = config.layout == "user"
        blocks = user_blocks(training, self._plan.catalogue, train) if by_user else self._samples(training, targets, starts)
        self._append(files["train"], blocks, self._digest)
        held_out_rows = [np.zeros(0, np.int32)]
        for number, split in enumerate(SPLITS[1:], 1):
            held_out = histories.select(np.flatnonzero(role == number))
            users = np.arange(len(held_out.lengths))
            if moment is None:
                targets = held_out_targets(held_out.row_splits, users, config.test_min_length)
                held_out_rows.append(held_out.item_rows)
            else:  # nothing of the catalogue's counts is held out: they end at the moment
                targets = first_later_events(held_out, users, moment)
            samples[split] += len(targets)
            self._append(files[split], self._samples(held_out, targets, held_out.row_splits[:-1]))
        rows, numbers = np.unique(np.concatenate(held_out_rows), return_counts=True)
        np.save(self._held_out_path(partition), np.stack([rows.astype(np.int64), numbers]))
        self.state["duplicates"] += duplicates
        self.state["done"].append(partition)
        self.state["sizes"] = {split: file.tell() for split, file in files.items()}
        self.state["train_sha256"] = self._digest.hexdigest()
        replace_json(self._state_path, self.state)
        return len(histories.item_rows)

    def _samples(self, histories: UserHistories, targets: np.ndarray, starts: np.ndarray) -> Iterator[dict[str, RecordFeature]]:
        config = self._config
        return sample_blocks(
            histories,
            self._plan.catalogue,
            targets,
            starts,
            config.max_length,
            self._weights,
            keep_behaviors=config.keep_behaviors,
        )

    def _append(self, file: BinaryIO, blocks: Iterable[Mapping[str, RecordFeature]], digest: Any = None) -> None:
        for features in blocks:
            records = encode_block(features)
            if digest is not None:
                digest.update(records)
            write_all(file, records)

    def _first_user(self, partition: int) -> int:
        return int(max(self._plan.shard_firsts[self._shard], self._plan.partitions.firsts[partition]))

    def _held_out_path(self, partition: int) -> Path:
        return self._out / f"held-out-{self._shard:05d}-{partition:05d}.npy"

    def _histories(self, partition: int) -> tuple[UserHistories, int]:
        """The users that shard and partition share, and their repeated events."""
        plan = self._plan
        events = load_partition(self._work, plan.partitions, partition)
        first = self._first_user(partition)
        last = int(min(plan.shard_firsts[self._shard + 1], plan.partitions.firsts[partition + 1]))
        begin, end = np.searchsorted(events.user_codes, [first - events.first_user, last - events.first_user])
        users, items, times = events.user_codes[begin:end], events.item_codes[begin:end], events.times[begin:end]
        duplicates = int(duplicate_events(users, items, times).sum())
        row_splits = np.zeros(last - first + 1, np.int64)
        np.cumsum(plan.lengths[first:last], out=row_splits[1:])
        scale = SCALES[plan.facts.time_unit]
        seconds = times if scale == 1 else times // scale
        behaviors = None if events.behaviors is None else events.behaviors[begin:end]
        return UserHistories(plan.user_ids[first:last], row_splits, plan.catalogue.row_of_code[items], seconds, behaviors), duplicates

    def facts(self) -> ShardFacts:
        """What was written; all partitions must be done."""
        parts = [np.load(self._held_out_path(partition), allow_pickle=False) for partition in self.partitions()]
        rows, numbers = np.concatenate(parts, axis=1) if parts else np.zeros((2, 0), np.int64)
        return ShardFacts(dict(self.state["samples"]), self.state["duplicates"], rows, numbers, self.state["train_sha256"])
