"""EmbeddingVariable: training steps at growing capacity, the index against a stock TensorFlow table, and rows held per admitted key.

    python benchmarks/embedding_variable.py [--repetitions 60] [--output build/embedding_variable.json] [--quick]

A step looks up 2,000 ids that have rows, pools them and applies Adagrad in one pass. The variables of all sizes, and the two indexes, take
turns in one process; medians with the 10th and 90th percentile.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from ops import EmbeddingVariable
from ops.embedding import Feature, grouped_lookup
from ops.embedding.update import FusedAdagrad

DIM, IDS_PER_STEP, ROWS_PER_STEP = 32, 2_000, 200


def filled(keys: int) -> EmbeddingVariable:
    """A variable with the keys 0..keys-1 times a constant, inserted in blocks."""
    variable = EmbeddingVariable(DIM, initializer=lambda shape, dtype: tf.zeros(shape, dtype))
    for block in np.array_split(np.arange(keys), max(1, keys // 100_000)):
        variable.rows_of(tf.constant(block * 2654435761))
    return variable


def training_step(variable: EmbeddingVariable, keys: int) -> Callable[[], None]:
    optimizer = FusedAdagrad([variable.table], 0.1)
    rng = np.random.default_rng(1)
    gradient = tf.ones([ROWS_PER_STEP, DIM])
    splits = tf.range(0, IDS_PER_STEP + 1, IDS_PER_STEP // ROWS_PER_STEP, dtype=tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def step(ids: tf.Tensor) -> None:
        feature = Feature(variable.table, variable.rows_like(tf.RaggedTensor.from_row_splits(ids, splits, validate=False)))
        grouped_lookup([feature])
        optimizer.apply([feature], [gradient])

    return lambda: step(tf.constant(rng.integers(0, keys, IDS_PER_STEP) * 2654435761))


def in_turns(runs: dict[str, Callable[[], None]], repetitions: int) -> dict[str, np.ndarray]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repetitions + 3):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1e6 * (time.perf_counter() - start))
    return {name: np.percentile(values[3:], [10, 50, 90]) for name, values in times.items()}


def index_runs(keys: int, batch: int) -> dict[str, Callable[[], None]]:
    """Looking up a batch of known keys, without counting, in the native index and in a stock table."""
    rng = np.random.default_rng(2)
    every = tf.constant(np.arange(keys) * 2654435761)
    native = filled(keys)
    stock = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)
    stock.insert(every, tf.range(keys, dtype=tf.int64))
    asked = [tf.constant(rng.integers(0, keys, batch) * 2654435761) for _ in range(8)]
    turn = iter(range(10**9))
    return {
        "native": lambda: native.rows_of(asked[next(turn) % 8], insert=False),
        "stock": lambda: stock.lookup(asked[next(turn) % 8]),
    }


def insertion_seconds(keys: int, batch: int) -> dict[str, float]:
    every = np.random.default_rng(3).permutation(keys).astype(np.int64)
    native = EmbeddingVariable(1, initializer=lambda shape, dtype: tf.zeros(shape, dtype))
    stock = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)
    seconds = {"native": 0.0, "stock": 0.0}
    for first in range(0, keys, batch):
        ids = tf.constant(every[first : first + batch])
        start = time.perf_counter()
        native.rows_of(ids)
        middle = time.perf_counter()
        stock.lookup(ids)
        stock.insert(ids, tf.range(first, first + len(ids), dtype=tf.int64))
        seconds["native"] += middle - start
        seconds["stock"] += time.perf_counter() - middle
    return seconds


def most_rows_per_key(keys: int) -> float:
    variable = EmbeddingVariable(1, initializer=lambda shape, dtype: tf.zeros(shape, dtype), initial_capacity=2)
    ratios = []
    for block in np.array_split(np.random.default_rng(4).permutation(keys), 500):
        variable.rows_of(tf.constant(block))
        ratios.append(int(tf.shape(variable.table)[0]) / variable.total_count())
    return max(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=60)
    parser.add_argument("--output", type=Path, default=Path("build/embedding_variable.json"))
    parser.add_argument("--quick", action="store_true", help="smaller tables")
    options = parser.parse_args()
    sizes = [1_000, 10_000, 100_000] if options.quick else [10_000, 100_000, 1_000_000, 4_000_000]
    keys, batch = (100_000, 20_000) if options.quick else (1_000_000, 100_000)
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(f"keys | step of {IDS_PER_STEP:,} ids with Adagrad, us (p10-p90)")
    steps = in_turns({str(size): training_step(filled(size), size) for size in sizes}, options.repetitions)
    for size in sizes:
        low, median, high = steps[str(size)]
        print(f"{size:,} | {median:.0f} ({low:.0f}-{high:.0f})", flush=True)
    lookups = in_turns(index_runs(keys, batch), options.repetitions)
    inserts = insertion_seconds(keys, batch)
    for name in lookups:
        low, median, high = lookups[name]
        print(f"{name}: {batch:,} of {keys:,} keys found in {median:.0f} us ({low:.0f}-{high:.0f}), all inserted in {inserts[name]:.2f} s")
    ratio = most_rows_per_key(keys)
    print(f"rows of the table per admitted key while {keys:,} are inserted: at most {ratio:.3f}")
    measured = {
        "step_us": {name: list(times) for name, times in steps.items()},
        "lookup_us": {name: list(times) for name, times in lookups.items()},
        "insert_s": inserts,
        "most_rows_per_key": ratio,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    print(f"saved {options.output}")


if __name__ == "__main__":
    main()
