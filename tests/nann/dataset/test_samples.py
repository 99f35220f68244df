import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep.config import ConvertConfig
from nann.dataset import load_histories, load_items, load_meta, load_samples
from nann.steps.convert import convert


@pytest.fixture(scope="module")
def sample_dataset(small_log, tmp_path_factory):
    path = tmp_path_factory.mktemp("samples") / "dataset"
    convert(inputs=[small_log], dataset=path, config=ConvertConfig(shards=2, max_length=20, layout="sample"))
    return path


def test_counts_agree_with_meta(small_dataset):
    meta, histories, items = load_meta(small_dataset), load_histories(small_dataset), load_items(small_dataset)
    assert len(histories.row_splits) - 1 == meta["num_users_per_split"]["train"]
    assert histories.row_splits[-1] == len(histories.item_rows) == items.train_counts.sum()
    np.testing.assert_array_equal(np.bincount(histories.item_rows, minlength=len(items.train_counts)), items.train_counts)
    lengths = np.diff(histories.row_splits)
    assert np.maximum(lengths - histories.first_target, 0).sum() == meta["num_samples"]["train"]


def test_held_out_samples_end_in_zeros_and_name_catalogue_rows(small_dataset):
    meta = load_meta(small_dataset)
    for split in ("validate", "test"):
        samples = load_samples(small_dataset, split)
        assert len(samples.targets) == meta["num_samples"][split] == len(np.unique(samples.user_ids))
        filled = samples.histories > 0
        assert np.all(filled[:, :-1] >= filled[:, 1:])
        assert filled[:, 0].all()
        assert samples.targets.min() >= 1
        assert max(samples.targets.max(), samples.histories.max()) <= meta["num_items"]


def test_items_are_indexed_by_row(small_dataset):
    items = load_items(small_dataset)
    table = pq.read_table(small_dataset / "items.parquet").to_pylist()
    assert items.category_rows[0] == items.train_counts[0] == 0
    for entry in table[:: len(table) // 20]:
        row = entry["item_row"]
        assert items.item_ids[row] == entry["item_id"]
        assert items.category_rows[row] == (entry["category_row"] or 0)
        assert items.weights[row] == entry["weight"]


def test_both_layouts_hold_the_same_histories(small_dataset, sample_dataset):
    of_user, of_sample = load_histories(small_dataset), load_histories(sample_dataset)
    long_enough = np.flatnonzero(np.diff(of_user.row_splits) > of_user.first_target)
    assert len(of_sample.row_splits) - 1 == len(long_enough)

    def as_set(histories, users):
        return sorted(tuple(histories.item_rows[histories.row_splits[u] : histories.row_splits[u + 1]].tolist()) for u in users)

    def with_times(histories):
        return sorted(zip(histories.item_rows.tolist(), histories.times.tolist(), strict=True))

    timed = load_histories(small_dataset, times=True)
    kept = np.repeat(np.diff(timed.row_splits) > timed.first_target, np.diff(timed.row_splits))
    assert sorted(zip(timed.item_rows[kept].tolist(), timed.times[kept].tolist(), strict=True)) == with_times(
        load_histories(sample_dataset, times=True)
    )
    assert of_user.times is None
    length = load_meta(small_dataset)["max_length"]
    assert load_meta(sample_dataset)["train_min_length"] <= length
    assert as_set(of_sample, range(len(of_sample.row_splits) - 1)) == as_set(of_user, long_enough)


def test_the_last_time_of_a_held_out_history_is_that_of_its_newest_event(small_log, small_dataset):
    """Read from the log itself: the newest event before the held-out position."""
    lines = [line.split(",") for line in small_log.read_text().splitlines()]
    events = {}
    for user, item, _, _, time in lines:
        events.setdefault(int(user), []).append((int(time), int(item)))
    items, samples = load_items(small_dataset), load_samples(small_dataset, "test")
    first = load_meta(small_dataset)["test_min_length"]
    for user, target, last in zip(samples.user_ids, samples.targets, samples.last_times, strict=True):
        history = sorted(events[int(user)], key=lambda event: event[0])
        place = first + (len(history) - first) // 2
        assert history[place][1] == items.item_ids[target]
        assert history[place - 1][0] == last
    taken = samples.take(np.array([3, 1]))
    assert taken.last_times.tolist() == samples.last_times[[3, 1]].tolist()
    drawn = samples.draw(7, seed=1)
    assert drawn.user_ids.tolist() == samples.draw(7, seed=1).user_ids.tolist() == sorted(set(drawn.user_ids.tolist()))
    assert samples.draw(10_000, seed=1) is samples


def test_records_without_times_give_none(small_log, tmp_path):
    convert(inputs=[small_log], dataset=tmp_path / "converted", config=ConvertConfig(layout="sample"))
    convert(inputs=[tmp_path / "converted"], dataset=tmp_path / "adopted", config=ConvertConfig(input_format="tfrecord"))
    assert load_samples(tmp_path / "adopted", "test").last_times is None
    assert load_histories(tmp_path / "adopted", times=True).times is None
