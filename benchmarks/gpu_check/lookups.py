"""Lookups on a GPU: the fused ops beside stock TensorFlow, or with ``--torch`` torch.nn.EmbeddingBag, which cannot share a process.

    python benchmarks/gpu_check/lookups.py [--torch]

Batch 4096, ten ids a row; forward alone, and forward, backward and a step of Adagrad. Every call ends by waiting for the GPU. Medians in
microseconds. Exits with 77 where there is no GPU.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

BATCH, IDS_PER_ROW, REPETITIONS = 4096, 10, 50
CELLS = {"1 x [1,000,000, 32]": (1, 1_000_000, 32), "20 x [100,000, 16]": (20, 100_000, 16)}
NO_GPU = 77


def median_us(run: Callable[[], None]) -> float:
    times = []
    for _ in range(REPETITIONS + 5):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e6)
    return statistics.median(times[5:])


def drawn_ids(tables: int, rows: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.zipf(1.2, BATCH * IDS_PER_ROW) % rows for _ in range(tables)]


def tensorflow_cell(tables: int, rows: int, dim: int) -> dict[str, float]:
    import tensorflow as tf

    from ops.embedding import Feature, grouped_lookup
    from ops.embedding.grouped import has_gpu_kernels
    from ops.embedding.update import FusedAdagrad

    if not has_gpu_kernels():
        sys.exit("the native library has no GPU kernels; build it with -DNANN_CUDA=ON")
    splits = tf.range(0, BATCH * IDS_PER_ROW + 1, IDS_PER_ROW, tf.int64)
    found = {}
    with tf.device("GPU:0"):
        ids = [tf.RaggedTensor.from_row_splits(tf.constant(drawn), splits) for drawn in drawn_ids(tables, rows)]
        direction = tf.random.normal([BATCH, tables * dim])
        variables = [tf.Variable(tf.random.normal([rows, dim])) for _ in range(tables)]
        features = [Feature(table, each) for table, each in zip(variables, ids, strict=True)]
        fused, slots = FusedAdagrad(variables, 0.01), [tf.Variable(tf.fill([rows, dim], 0.1)) for _ in range(tables)]

        def stock_pool() -> tf.Tensor:
            sparse = [each.to_sparse() for each in ids]
            pairs = zip(variables, sparse, strict=True)
            return tf.concat([tf.nn.safe_embedding_lookup_sparse(table, each, combiner="mean") for table, each in pairs], axis=1)

        @tf.function(autograph=False)
        def fused_forward() -> tf.Tensor:
            return tf.reduce_sum(grouped_lookup(features, concat=True))

        @tf.function(autograph=False)
        def fused_update() -> tf.Tensor:
            total = tf.reduce_sum(grouped_lookup(features, concat=True))
            fused.apply(features, direction, concat=True)
            return total

        @tf.function(autograph=False)
        def stock_forward() -> tf.Tensor:
            return tf.reduce_sum(stock_pool())

        @tf.function(autograph=False)
        def stock_update() -> tf.Tensor:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(stock_pool() * direction)
            for table, slot, slices in zip(variables, slots, tape.gradient(loss, variables), strict=True):
                distinct, positions = tf.unique(slices.indices)
                summed = tf.math.unsorted_segment_sum(slices.values, positions, tf.size(distinct))
                tf.raw_ops.ResourceSparseApplyAdagrad(var=table.handle, accum=slot.handle, lr=0.01, grad=summed, indices=distinct)
            return loss

        for name, run in {
            "fused forward": fused_forward,
            "stock forward": stock_forward,
            "fused update": fused_update,
            "stock update": stock_update,
        }.items():
            found[name] = median_us(lambda run=run: run().numpy())
    return found


def torch_cell(tables: int, rows: int, dim: int) -> dict[str, float]:
    import torch

    offsets = torch.arange(0, BATCH * IDS_PER_ROW, IDS_PER_ROW, device="cuda")
    ids = [torch.tensor(drawn, device="cuda") for drawn in drawn_ids(tables, rows)]
    bags = [torch.nn.EmbeddingBag(rows, dim, mode="mean", sparse=True, device="cuda") for _ in range(tables)]
    optimizer = torch.optim.Adagrad([bag.weight for bag in bags], lr=0.01)
    direction = torch.randn(BATCH, tables * dim, device="cuda")

    def pool() -> torch.Tensor:
        return torch.cat([bag(each, offsets) for bag, each in zip(bags, ids, strict=True)], dim=1)

    def forward() -> None:
        with torch.no_grad():
            pool().sum().item()

    def update() -> None:
        optimizer.zero_grad()
        (pool() * direction).sum().backward()
        optimizer.step()
        torch.cuda.synchronize()

    return {"torch forward": median_us(forward), "torch update": median_us(update)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", action="store_true", help="measure torch.nn.EmbeddingBag instead")
    options = parser.parse_args()
    if options.torch:
        import torch

        there = torch.cuda.is_available()
    else:
        import tensorflow as tf

        there = bool(tf.config.list_physical_devices("GPU"))
    if not there:
        print("there is no GPU here, or the framework does not see it; nothing was measured", file=sys.stderr)
        sys.exit(NO_GPU)
    for cell, sizes in CELLS.items():
        for name, median in (torch_cell if options.torch else tensorflow_cell)(*sizes).items():
            print(f"{cell}: {name} {median:.0f} us")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
