import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep.config import ConvertConfig
from nann.samples import load_histories, load_items, load_meta, load_samples
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

    length = load_meta(small_dataset)["max_length"]
    assert load_meta(sample_dataset)["train_min_length"] <= length
    assert as_set(of_sample, range(len(of_sample.row_splits) - 1)) == as_set(of_user, long_enough)
