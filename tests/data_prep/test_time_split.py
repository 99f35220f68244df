"""The split by time against Python loops over the log."""

import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from pydantic import ValidationError

from data_prep import DataError
from data_prep.config import ConvertConfig
from data_prep.convert import convert_log
from data_prep.time_split import draw_time_splits

START, MOMENT = 1_511_544_070, 1_511_544_070 + 250


def make_rows(seed: int) -> list[tuple[int, int, int, str, int]]:
    """Users of 1..12 events, items that appear only late, ties in time."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(80):
        for _ in range(rng.integers(1, 13)):
            time = int(rng.integers(400))
            item = 100 + int(rng.integers(20)) + (40 if time > 300 and rng.random() < 0.5 else 0)
            rows.append((user, item, item % 5, "pv", START + time))
    rng.shuffle(rows)
    return rows


def write(path: Path, rows: list, scale: int = 1) -> Path:
    path.write_text("".join(f"{u},{i},{c},{b},{t * scale}\n" for u, i, c, b, t in rows))
    return path


def records(directory: Path, split: str) -> list[dict]:
    found = []
    for path in sorted(directory.glob(f"{split}-*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            found.append({name: list(getattr(value, value.WhichOneof("kind")).value) for name, value in features.items()})
    return found


@pytest.mark.parametrize("scale", [1, 1000])
@pytest.mark.parametrize("layout", ["user", "sample"])
def test_training_ends_at_the_moment_and_targets_are_the_first_events_from_then_on(layout: str, scale: int, tmp_path: Path) -> None:
    rows = make_rows(scale)
    (tmp_path / "dataset").mkdir()
    options = {"split_time": str(MOMENT), "test_users": 15, "validate_users": 10, "max_length": 5, "shards": 3, "layout": layout}
    report = convert_log([write(tmp_path / "log.csv", rows, scale)], tmp_path / "dataset", ConvertConfig(**options))
    items = pq.read_table(tmp_path / "dataset" / "items.parquet").to_pylist()
    id_of_row = {entry["item_row"]: entry["item_id"] for entry in items}
    histories: dict[int, list] = {}
    for user, item, _, _, time in sorted(rows, key=lambda row: row[4]):
        histories.setdefault(user, []).append((item, time))
    before = {user: [event for event in events if event[1] < MOMENT] for user, events in histories.items()}
    after = {user: [event for event in events if event[1] >= MOMENT] for user, events in histories.items()}

    train = records(tmp_path / "dataset", "train")
    if layout == "user":
        assert {
            record["user_id"][0]: [
                (id_of_row[row], time) for row, time in zip(record["item_ids"], itertools.accumulate(record["time_steps"]), strict=True)
            ]
            for record in train
        } == {user: events for user, events in before.items() if events}
    else:
        targets = [(record["user_id"][0], id_of_row[record["gt_item_id"][0]], record["gt_time"][0]) for record in train]
        assert sorted(targets) == sorted((user, *event) for user, events in before.items() for event in events[1:])
    counts = {item: sum(event[0] == item for events in before.values() for event in events) for item in id_of_row.values()}
    assert [(entry["count"], entry["train_count"]) for entry in items] == [(counts[entry["item_id"]],) * 2 for entry in items]
    assert [entry["item_id"] for entry in items] == sorted(counts, key=lambda item: (-counts[item], item))

    held_out = {split: records(tmp_path / "dataset", split) for split in ("validate", "test")}
    assert {split: len(found) for split, found in held_out.items()} == {"validate": 10, "test": 15}
    for record in (record for found in held_out.values() for record in found):
        user = record["user_id"][0]
        assert (id_of_row[record["gt_item_id"][0]], record["gt_time"][0]) == after[user][0]
        assert [id_of_row[row] for row in record["item_ids"]] == [item for item, _ in before[user][-5:]]
        times = [time for _, time in before[user][-5:]]
        assert record["seconds_to_next"] == [later - time for time, later in itertools.pairwise([*times, after[user][0][1]])]
        assert len(before[user]) >= 3
    assert not {r["user_id"][0] for r in held_out["test"]} & {r["user_id"][0] for r in held_out["validate"]}
    meta = json.loads((tmp_path / "dataset" / "meta.json").read_text())
    assert meta["split_time"] == MOMENT
    assert meta["num_users_per_split"]["train"] == sum(bool(events) for events in before.values())
    assert meta["num_events"] == sum(map(len, before.values())) + 25 == len(rows) - report.filtered_rows["from_split_time_on_and_no_target"]


def test_the_draw_is_seeded_and_takes_eligible_users_only() -> None:
    before, lengths = np.array([0, 3, 5, 3, 2, 9]), np.array([4, 3, 7, 4, 9, 10])
    options = {"train_min_length": 1, "test_min_length": 3, "test_users": 2, "validate_users": 1, "seed": 1}
    splits = draw_time_splits(before, lengths, **options)
    assert sorted([*splits.test, *splits.validate]) == [2, 3, 5]
    assert splits.train.tolist() == [1, 2, 3, 4, 5]
    assert draw_time_splits(before, lengths, **options).test.tolist() == splits.test.tolist()


@pytest.mark.parametrize(
    ("before", "options", "message"),
    [
        ([2, 2], {}, "no user has 3 events before split_time and one from then on"),
        ([4, 4], {"test_users": 3}, "only 2 of 2 users have 3 events before split_time"),
        ([0, 0], {"test_users": 0, "validate_users": 0}, "no training sample lies before split_time"),
    ],
)
def test_moments_that_leave_too_little_are_refused(before: list[int], options: dict[str, int], message: str) -> None:
    defaults = {"train_min_length": 1, "test_min_length": 3, "test_users": -1, "validate_users": -1, "seed": 1}
    with pytest.raises(DataError, match=message):
        draw_time_splits(np.array(before), np.array([9, 9]), **{**defaults, **options})


def test_ready_made_records_are_split_already() -> None:
    with pytest.raises(ValidationError, match="ready-made records are split already"):
        ConvertConfig(input_format="tfrecord", split_time="2017-12-01")
    assert ConvertConfig(split_time="2017-12-01").split_time == "2017-12-01"
