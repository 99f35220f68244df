"""Training reader: samples/s of shuffled batches from both layouts, against what a training step takes.

    python benchmarks/training_reader.py --rows 2000000

The reader of the project keeps histories in memory (4 bytes an event) and cuts windows from them, vectorised. Beside it: `tf.data` over
the records of the `sample` layout (shuffle, batch, parse), and the same cutting one sample at a time from the `user` layout. Contenders
take turns; medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tensorflow as tf

from data_prep.config import ConvertConfig
from data_prep.generate_large import write_large_log
from nann.config import TrainConfig
from nann.dataset import Dataset, load_histories, load_items
from nann.steps.convert import convert
from nann.steps.train import train
from nann.training.batches import BatchSource, NoiseSampler

MAX_LENGTH = 50
BATCH = 800


def from_memory(dataset: Path, seconds: float) -> float:
    """Samples/s of `BatchSource` over the `user` layout, negatives included."""
    histories = load_histories(dataset)
    sampler = NoiseSampler(load_items(dataset).train_counts)
    source = BatchSource(histories, max_length=MAX_LENGTH, sampler=sampler, config=TrainConfig(batch_size=BATCH))
    source.batch(0)
    begin, step = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        step += 1
        source.batch(step)
    return step * BATCH / (time.perf_counter() - begin)


def from_samples(dataset: Path, seconds: float) -> float:
    """Samples/s of `tf.data` over the `sample` layout: read, shuffle, batch, parse into [B, L]."""
    features = {name: tf.io.RaggedFeature(tf.int64) for name in ("item_ids", "cate_ids", "gt_item_id")}
    records = tf.data.TFRecordDataset([str(path) for path in Dataset(dataset).files("train")]).shuffle(20_000).repeat().batch(BATCH)

    def parse(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = tf.io.parse_example(batch, features)
        return parsed["item_ids"].to_tensor(shape=[None, MAX_LENGTH]), parsed["gt_item_id"].values

    return _rate(records.map(parse, num_parallel_calls=tf.data.AUTOTUNE).prefetch(4), seconds)


def one_by_one(dataset: Path, seconds: float) -> float:
    """Samples/s of `tf.data` that cuts one window at a time from the `user` layout."""
    histories = load_histories(dataset)
    flat = tf.constant(np.concatenate([np.zeros(MAX_LENGTH, np.int32), histories.item_rows]))
    positions = np.flatnonzero(np.arange(len(histories.item_rows)) != -1)

    def cut(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return flat[position : position + MAX_LENGTH], flat[position + MAX_LENGTH]

    dataset_ = tf.data.Dataset.from_tensor_slices(positions).shuffle(20_000).repeat().map(cut, num_parallel_calls=tf.data.AUTOTUNE)
    return _rate(dataset_.batch(BATCH).prefetch(4), seconds)


def _rate(batches: tf.data.Dataset, seconds: float) -> float:
    iterator = iter(batches)
    next(iterator)
    begin, samples = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        samples += int(next(iterator)[1].shape[0])
    return samples / (time.perf_counter() - begin)


def training_appetite(dataset: Path, directory: Path, steps: int) -> dict[str, float]:
    """Samples/s of training itself, per config: the project's defaults, and the cheapest model."""
    rates = {}
    for name, config in {
        "default": TrainConfig(max_steps=steps, validations=0, log_steps=max(1, steps // 4)),
        "two-sided": TrainConfig(scorer="two-sided", max_steps=steps, validations=0, log_steps=max(1, steps // 4)),
    }.items():
        train(dataset=dataset, model=directory / name, config=config)
        found = [entry["samples_per_s"] for entry in _entries(json.loads((directory / name / "training.json").read_text()))]
        rates[name] = max(found)
    return rates


def _entries(content: list | dict) -> list[dict]:
    entries = content if isinstance(content, list) else next(value for value in content.values() if isinstance(value, list))
    return [entry for entry in entries if entry.get("samples_per_s")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    parser.add_argument("--train-steps", type=int, default=80, help="0: do not train")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        rows = write_large_log(directory / "log.csv", arguments.rows)
        print(f"log: {rows:,} rows; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        for layout in ("user", "sample"):
            convert(inputs=[directory / "log.csv"], dataset=directory / layout, config=ConvertConfig(layout=layout))
            begin = time.perf_counter()
            histories = load_histories(directory / layout)
            seconds = time.perf_counter() - begin
            print(f"load_histories, {layout} layout: {seconds:.2f} s, {len(histories.item_rows) / seconds:,.0f} events/s")
        contenders: dict[str, Callable[[], float]] = {
            "user layout, BatchSource": lambda: from_memory(directory / "user", arguments.seconds),
            "sample layout, tf.data": lambda: from_samples(directory / "sample", arguments.seconds),
            "user layout, one by one": lambda: one_by_one(directory / "user", arguments.seconds),
        }
        found: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(arguments.rounds):
            for contender, measure in contenders.items():
                found[contender].append(measure())
        for contender, rates in found.items():
            print(f"{contender:<28}{statistics.median(rates):>12,.0f} samples/s")
        if arguments.train_steps:
            for config, rate in training_appetite(directory / "user", directory, arguments.train_steps).items():
                print(f"{'training, ' + config:<28}{rate:>12,.0f} samples/s")


if __name__ == "__main__":
    main()
