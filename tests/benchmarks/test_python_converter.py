"""The loop that conversion is measured against gives what the converter gives: the ratio compares equal work."""

import sys
from pathlib import Path

import pyarrow.parquet as pq
import tensorflow as tf

from data_prep.config import ConvertConfig
from data_prep.convert import convert_log
from data_prep.generate_large import write_large_log

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from python_converter.converter import convert_in_python

BAD_LINES = [
    "x,1,1,pv,1511600000",
    ",1,1,pv,1511600000",
    "1,1.5,1,pv,1511600000",
    "1,1,1,pv,yesterday",
    "1,1,1,pv,-5",
    "1,1,1",
    "1,1,1,pv,1511600000,6",
]


def records(directory: Path, split: str) -> list[tf.train.Example]:
    files = [str(path) for path in sorted(directory.glob(f"{split}*.tfrecord"))]
    return [tf.train.Example.FromString(record.numpy()) for record in tf.data.TFRecordDataset(files)]


def test_the_loop_gives_the_dataset_of_the_converter(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    write_large_log(log, 4_000)
    lines = log.read_text().splitlines()
    for place, line in enumerate([*BAD_LINES, lines[3], lines[4]]):
        lines.insert(7 * place + 5, line)
    log.write_text("\n".join(lines) + "\n")
    ours, loops = tmp_path / "ours", tmp_path / "loops"
    ours.mkdir()
    loops.mkdir()
    found = convert_in_python(log, loops)
    expected = convert_log([log], ours, ConvertConfig(layout="sample"))
    assert found == {name: value for name, value in expected.metrics.items() if name in found}
    assert (found["num_dropped_rows"], found["duplicate_events"]) == (len(BAD_LINES), 2)
    for split in ("train", "validate", "test"):
        assert records(loops, split) == records(ours, split)
    assert pq.read_table(loops / "items.parquet").to_pylist() == pq.read_table(ours / "items.parquet").to_pylist()
