"""Ready-made records enter as they are, and what the pipeline then reads equals what it reads of a converted log."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data_prep import DataError
from data_prep.config import ConvertConfig
from nann.artifacts import open_artifact
from nann.dataset import load_histories, load_items, load_meta, load_samples
from nann.steps.convert import convert

READY = ConvertConfig(input_format="tfrecord")


@pytest.fixture(scope="module")
def source(small_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "dataset"
    convert(inputs=[small_log], dataset=path, config=ConvertConfig(layout="sample", shards=3, max_length=10))
    return path


def rewritten(source: Path, target: Path, *, drop: tuple[str, ...] = (), pad: int = 0) -> Path:
    """The records with features left out and histories padded, as other writers leave them."""
    target.mkdir()
    for path in source.glob("*.tfrecord"):
        with tf.io.TFRecordWriter(str(target / path.name)) as writer:
            for record in tf.data.TFRecordDataset(str(path)):
                example = tf.train.Example.FromString(record.numpy())
                for name in drop:
                    del example.features.feature[name]
                for name in ("item_ids", "cate_ids"):
                    values = example.features.feature[name].int64_list.value
                    values.extend([0] * (pad - len(values)))
                writer.write(example.SerializeToString())
    return target


@pytest.mark.parametrize("drop", [(), ("user_id", "gt_time")])
@pytest.mark.parametrize("pad", [0, 10])
def test_records_enter_as_they_are(drop: tuple[str, ...], pad: int, source: Path, tmp_path: Path) -> None:
    records = rewritten(source, tmp_path / "records", drop=drop, pad=pad)
    convert(inputs=[records], dataset=tmp_path / "dataset", config=READY)
    artifact = open_artifact(tmp_path / "dataset", step="convert")
    for path in records.iterdir():
        assert os.path.samefile(path, artifact.path / path.name)
    meta, expected = load_meta(artifact.path), load_meta(source)
    for name in ("num_samples", "max_length", "train_min_length", "num_items", "num_categories"):
        assert meta[name] == expected[name], name
    ours, theirs = load_histories(artifact.path), load_histories(source)
    np.testing.assert_array_equal(ours.item_rows, theirs.item_rows)
    np.testing.assert_array_equal(ours.row_splits, theirs.row_splits)
    for split in ("validate", "test"):
        ours_held, theirs_held = load_samples(artifact.path, split), load_samples(source, split)
        np.testing.assert_array_equal(ours_held.histories, theirs_held.histories)
        np.testing.assert_array_equal(ours_held.targets, theirs_held.targets)
    items, of_log = load_items(artifact.path), load_items(source)
    np.testing.assert_array_equal(items.item_ids, np.arange(len(items.item_ids)))
    seen = items.train_counts > 0
    np.testing.assert_array_equal(items.category_rows[seen], of_log.category_rows[seen])
    np.testing.assert_allclose(items.weights[seen][1:], of_log.weights[seen][1:], rtol=0.5)
    assert convert(inputs=[records], dataset=tmp_path / "dataset", config=READY).reused


def test_catalogue_ids_are_joined_by_row(source: Path, tmp_path: Path) -> None:
    num_items = load_meta(source)["num_items"]
    ids = [f"article-{row}" for row in range(num_items, 0, -1)]
    pq.write_table(pa.table({"item_row": np.arange(num_items, 0, -1), "item_id": ids}), tmp_path / "items.parquet")
    config = ConvertConfig(input_format="tfrecord", items=tmp_path / "items.parquet")
    convert(inputs=[source], dataset=tmp_path / "dataset", config=config)
    assert load_items(tmp_path / "dataset").item_ids[1:].tolist() == [f"article-{row}" for row in range(1, num_items + 1)]
    pq.write_table(pa.table({"item_row": [1, 2], "item_id": ["a", "b"]}), tmp_path / "items.parquet")
    with pytest.raises(DataError, match="has no item_id for"):
        convert(inputs=[source], dataset=tmp_path / "other", config=config)


def test_what_is_no_dataset_is_refused(source: Path, tmp_path: Path) -> None:
    def refused(message: str, *inputs: Path) -> None:
        with pytest.raises(DataError, match=message):
            convert(inputs=inputs, dataset=tmp_path / "dataset", config=READY)
        assert not (tmp_path / ".dataset.partial").exists()

    refused("no file with .tfrecord", tmp_path)
    refused("there is no test file", source / "train-00000-of-00003.tfrecord")
    files = sorted(source.glob("*.tfrecord"))
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "x.tfrecord").write_bytes(files[0].read_bytes())
    refused("names no split", tmp_path / "plain")
    records = rewritten(source, tmp_path / "no-weight", drop=("weight_tag",))
    refused("'weight_tag' must have exactly one value", records)
    damaged = rewritten(source, tmp_path / "damaged")
    content = bytearray((damaged / files[-3].name).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / files[-3].name).write_bytes(bytes(content))
    refused("is damaged or holds other records", damaged)
    shuffled = rewritten(source, tmp_path / "shuffled")
    path = next(shuffled.glob("train-00001*"))
    all_records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for place in np.random.default_rng(0).permutation(len(all_records)):
            writer.write(all_records[place])
    refused("are not whole users in order", shuffled)
