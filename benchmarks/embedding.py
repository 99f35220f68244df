"""Fused embedding lookup against stock TensorFlow, `torch.nn.EmbeddingBag` (if installed) and the memory-bandwidth floor.

    python benchmarks/embedding.py [--repetitions 30] [--output build/embedding.json] [--quick]

All variants of a cell run in turn in one process (A B C A B C ...); medians and the 10th and 90th percentile in microseconds. The floor is
the bytes a cell must move (rows and ids read, pooled rows written; for gradients also the pooled gradient read and the distinct rows
written; for updates the distinct rows and slots read and written) over the bandwidth of a copy that misses the caches.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from ops.embedding import Feature, grouped_lookup
from ops.embedding.update import FusedAdagrad

try:
    import torch
except ImportError:
    torch = None

BATCH, MEAN_LENGTH, EMPTY_SHARE = 4096, 10, 0.05


def sparse_ids(rng: np.random.Generator, rows: int) -> tuple[tf.SparseTensor, np.ndarray, np.ndarray]:
    """Zipf ids: a sparse tensor, and the same as values and row splits."""
    lengths = np.where(rng.random(BATCH) < EMPTY_SHARE, 0, rng.poisson(MEAN_LENGTH, BATCH))
    splits = np.concatenate([[0], np.cumsum(lengths)])
    values = (rng.zipf(1.2, splits[-1]) * 2654435761) % rows
    row = np.repeat(np.arange(BATCH), lengths)
    indices = np.stack([row, np.arange(len(values)) - splits[row]], axis=1)
    return tf.SparseTensor(indices, values, [BATCH, int(lengths.max())]), values, splits


def bandwidth_bytes_per_s() -> float:
    source = np.ones(64 * 2**20, np.float32)
    target = np.empty_like(source)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(times)


class Cell:
    """One table size, row size, number of features and combiner, with all variants."""

    def __init__(self, *, rows: int, dim: int, features: int, combiner: str, ids_below: int | None = None) -> None:
        rng = np.random.default_rng(1)
        self.name = f"{features} x [{rows:,}, {dim}] {combiner}" + (f", ids below {ids_below:,}" if ids_below else "")
        self.dim, self.combiner, self.features = dim, combiner, features
        self.initial = [rng.normal(size=(rows, dim)).astype(np.float32) for _ in range(features)]
        self.lookups = [sparse_ids(rng, ids_below or rows) for _ in range(features)]
        self.distinct = sum(len(np.unique(values)) for _, values, _ in self.lookups)
        self.direction = tf.constant(rng.normal(size=(BATCH, dim * features)).astype(np.float32))

    def floor_us(self, bandwidth: float) -> dict[str, float]:
        num_ids = sum(len(values) for _, values, _ in self.lookups)
        pooled = 4 * BATCH * self.dim * self.features
        forward = num_ids * (4 * self.dim + 8) + pooled
        row_bytes = 4 * self.dim * self.distinct
        backward = forward + pooled + row_bytes
        update = forward + pooled + 4 * row_bytes
        sizes = {"forward": forward, "gradient": backward, "update": update}
        return {mode: size_bytes / bandwidth * 1e6 for mode, size_bytes in sizes.items()}

    def fused(self) -> dict[str, Callable[[], object]]:
        tables = [tf.Variable(values) for values in self.initial]
        optimizer = FusedAdagrad(tables, 0.01)
        ids, combiner, direction = [lookup[0] for lookup in self.lookups], self.combiner, self.direction

        def group(given: list[tf.SparseTensor]) -> list[Feature]:
            return [Feature(table, each, combiner=combiner) for table, each in zip(tables, given, strict=True)]

        @tf.function(autograph=False)
        def forward(*given: tf.SparseTensor) -> tf.Tensor:
            return grouped_lookup(group(list(given)), concat=True)

        @tf.function(autograph=False)
        def gradient(*given: tf.SparseTensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(grouped_lookup(group(list(given)), concat=True) * direction)
            return [slices.values for slices in tape.gradient(loss, tables)]

        @tf.function(autograph=False)
        def update(*given: tf.SparseTensor) -> tf.Tensor:
            pooled = grouped_lookup(group(list(given)), concat=True)
            optimizer.apply(group(list(given)), direction, concat=True)
            return pooled

        return {"forward": lambda: forward(*ids), "gradient": lambda: gradient(*ids), "update": lambda: update(*ids)}

    def stock(self) -> dict[str, Callable[[], object]]:
        tables = [tf.Variable(values) for values in self.initial]
        slots = [tf.Variable(tf.fill(table.shape, 0.1)) for table in tables]
        ids, combiner, direction = [lookup[0] for lookup in self.lookups], self.combiner, self.direction

        def pool(given: tuple[tf.SparseTensor, ...]) -> tf.Tensor:
            pairs = zip(tables, given, strict=True)
            return tf.concat([tf.nn.safe_embedding_lookup_sparse(table, each, combiner=combiner) for table, each in pairs], axis=1)

        def differentiate(given: tuple[tf.SparseTensor, ...]) -> list[tf.IndexedSlices]:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(pool(given) * direction)
            return tape.gradient(loss, tables)

        @tf.function(autograph=False)
        def forward(*given: tf.SparseTensor) -> tf.Tensor:
            return pool(given)

        @tf.function(autograph=False)
        def gradient(*given: tf.SparseTensor) -> list[tf.Tensor]:
            return [slices.values for slices in differentiate(given)]

        @tf.function(autograph=False)
        def update(*given: tf.SparseTensor) -> None:
            for table, slot, slices in zip(tables, slots, differentiate(given), strict=True):
                rows, positions = tf.unique(slices.indices)  # as the v1 optimizers do before their sparse kernels
                summed = tf.math.unsorted_segment_sum(slices.values, positions, tf.size(rows))
                tf.raw_ops.ResourceSparseApplyAdagrad(var=table.handle, accum=slot.handle, lr=0.01, grad=summed, indices=rows)

        return {"forward": lambda: forward(*ids), "gradient": lambda: gradient(*ids), "update": lambda: update(*ids)}

    def bags(self) -> dict[str, Callable[[], object]]:
        """torch.nn.EmbeddingBag, whose ids must be pruned before: a mask and a cumulative sum, as its users write it."""
        bags = []
        for initial in self.initial:
            mode = {"mean": "mean", "sum": "sum"}[self.combiner]
            bags.append(torch.nn.EmbeddingBag.from_pretrained(torch.from_numpy(initial.copy()), freeze=False, mode=mode, sparse=True))
        optimizer = torch.optim.Adagrad([bag.weight for bag in bags], lr=0.01)
        inputs = [(torch.from_numpy(values), torch.from_numpy(splits)) for _, values, splits in self.lookups]
        direction = torch.from_numpy(self.direction.numpy())

        def pool() -> torch.Tensor:
            outputs = []
            for bag, (values, splits) in zip(bags, inputs, strict=True):
                keep = values >= 0
                starts = torch.cat([torch.zeros(1, dtype=torch.int64), torch.cumsum(keep, 0)])[splits[:-1]]
                outputs.append(bag(values[keep], starts))
            return torch.cat(outputs, dim=1)

        def forward() -> object:
            with torch.no_grad():
                return pool()

        def gradient() -> object:
            optimizer.zero_grad()
            (pool() * direction).sum().backward()
            return [bag.weight.grad.coalesce() for bag in bags]

        def update() -> object:
            optimizer.zero_grad()
            (pool() * direction).sum().backward()
            return optimizer.step()

        return {"forward": forward, "gradient": gradient, "update": update}


def measure(variants: dict[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    for run in variants.values():
        for _ in range(3):
            run()
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repetitions):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * 1e6)
    return times


def nothing_call() -> Callable[[], object]:
    """An empty tf.function over one sparse tensor: the price of the call itself."""
    ids = sparse_ids(np.random.default_rng(0), 100)[0]
    function = tf.function(lambda given: given.values[:1], autograph=False)
    return lambda: function(ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--output", type=Path, default=Path("build/embedding.json"))
    parser.add_argument("--quick", action="store_true", help="the two cells of the headline only")
    options = parser.parse_args()
    grid: list[dict[str, Any]] = [
        {"rows": 1_000_000, "dim": 32, "features": 1, "combiner": "mean"},
        {"rows": 100_000, "dim": 16, "features": 20, "combiner": "mean"},
    ]
    if not options.quick:
        # the same ids, whatever the size of the table
        grid += [{"rows": rows, "dim": 32, "features": 1, "combiner": "mean", "ids_below": 1_000} for rows in (1_000, 1_000_000, 4_000_000)]
        grid += [{"rows": 1_000_000, "dim": dim, "features": 1, "combiner": "sum"} for dim in (8, 17, 64, 128)]
        grid += [{"rows": 1_000_000, "dim": 32, "features": 1, "combiner": "sqrtn"}]
    bandwidth = bandwidth_bytes_per_s()
    call = statistics.median(measure({"call": nothing_call()}, 100)["call"])
    print(f"copy bandwidth {bandwidth / 1e9:.1f} GB/s, empty call {call:.0f} us, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print("cell | mode | stock us | fused us (p10-p90) | stock/fused | net of the call | by the least times | torch us | floor us")
    records = []
    for arguments in grid:
        cell = Cell(**arguments)
        runs = {"stock": cell.stock(), "fused": cell.fused()}
        if torch is not None and arguments["combiner"] in ("mean", "sum"):
            runs["torch"] = cell.bags()
        floor = cell.floor_us(bandwidth)
        for mode in ("forward", "gradient", "update"):
            times = measure({name: variants[mode] for name, variants in runs.items()}, options.repetitions)
            median = {name: statistics.median(values) for name, values in times.items()}
            low, high = np.percentile(times["fused"], [10, 90])
            net = (median["stock"] - call) / max(median["fused"] - call, 1.0)
            least = min(times["stock"]) / min(times["fused"])
            shown = f"{median['torch']:.0f}" if "torch" in median else "-"
            print(
                f"{cell.name} | {mode} | {median['stock']:.0f} | {median['fused']:.0f} ({low:.0f}-{high:.0f}) "
                f"| {median['stock'] / median['fused']:.1f} | {net:.1f} | {least:.1f} | {shown} | {floor[mode]:.0f}",
                flush=True,
            )
            measured = {f"{name}_us": value for name, value in median.items()}
            measured |= {f"{name}_least_us": min(values) for name, values in times.items()}
            records.append({"cell": cell.name, "mode": mode, **measured, "floor_us": floor[mode]})
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"call_us": call, "bandwidth": bandwidth, "records": records}, indent=1) + "\n", encoding="utf-8")
    print(f"saved {options.output}")


if __name__ == "__main__":
    main()
