"""Fused embedding lookup against stock TensorFlow, `torch.nn.EmbeddingBag` (if installed) and the memory-bandwidth floor.

    python benchmarks/embedding.py [--repetitions 30] [--output build/embedding.json] [--quick] [--torch-python PYTHON] [--torch-path DIR]

All variants of a cell take turns, in an order drawn anew for every round, as each leaves the caches and threads in another state to the
next; an empty call is one of them. Medians and the 10th and 90th percentile in microseconds. PyTorch then takes turns with ours alone. It
cannot share a process with TensorFlow (both bring LLVM), so it has one of its own, `torch_bags/worker.py`, which reports its own times:
`--torch-python` names its interpreter (with numpy), `--torch-path` a folder in which it finds torch (`pip install --target DIR torch`).

The floor is the bytes a cell must move (rows and ids read, pooled rows written; for gradients also the pooled gradient read and the
distinct rows written; for updates the distinct rows and slots read and written) over the bandwidth of a copy that misses the caches.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from ops.embedding import Feature, grouped_lookup
from ops.embedding.update import FusedAdagrad

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


class Torch:
    """The process with PyTorch; one cell at a time."""

    SETTLE_S = 0.002  # its threads spin for a while after a call
    MOST_TURNS = 12  # its sparse Adagrad takes a tenth of a second

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    @contextlib.contextmanager
    def started(cls, python: str, path: Path | None) -> Iterator[Torch | None]:
        """The process, or None where there is no PyTorch."""
        environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
        if subprocess.run([python, "-c", "import numpy, torch"], env=environment, capture_output=True, check=False).returncode:
            print("no PyTorch: its column stays empty; name one with --torch-python or --torch-path")
            yield None
            return
        key = secrets.token_bytes(16)
        with tempfile.TemporaryDirectory() as folder, Listener(str(Path(folder) / "bags"), authkey=key) as listener:
            command = [python, str(Path(__file__).parent / "torch_bags" / "worker.py"), str(listener.address)]
            with subprocess.Popen(command, env={**environment, "NANN_BENCHMARK_KEY": key.hex()}), listener.accept() as connection:
                yield cls(connection)
                connection.send(None)

    def load(self, cell: Cell) -> None:
        self._ask({"load": {"tables": cell.initial, "lookups": [lookup[1:] for lookup in cell.lookups], "combiner": cell.combiner}})
        self._ask({"direction": cell.direction.numpy()})

    def pooled(self) -> np.ndarray:
        return self._ask({"run": "pooled"})

    def seconds(self, mode: str) -> float:
        seconds = self._ask({"run": mode})
        time.sleep(self.SETTLE_S)
        return seconds

    def _ask(self, message: dict[str, Any]) -> Any:
        self._connection.send(message)
        return self._connection.recv()


def timed(run: Callable[[], object]) -> Callable[[], float]:
    def seconds() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return seconds


def measure(variants: dict[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """Microseconds of every call; the variants give the seconds that they took."""
    for run in variants.values():
        for _ in range(3):
            run()
    times: dict[str, list[float]] = {name: [] for name in variants}
    order, draw = list(variants), random.Random(1)
    for _ in range(repetitions):
        draw.shuffle(order)
        for name in order:
            times[name].append(variants[name]() * 1e6)
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
    parser.add_argument("--torch-python", default=sys.executable, metavar="PYTHON", help="interpreter that has torch and numpy")
    parser.add_argument("--torch-path", type=Path, metavar="DIR", help="folder in which that interpreter finds torch")
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
    print(f"copy bandwidth {bandwidth / 1e9:.1f} GB/s, {os.cpu_count()} cores")
    print(
        "cell | mode | load | call us | stock us | fused us (p10-p90) | stock/fused | net of the call | by the least times | floor us "
        "| torch us | fused us, in turn with torch"
    )
    records = []
    with Torch.started(options.torch_python, options.torch_path) as torch:
        for arguments in grid:
            records += measure_cell(Cell(**arguments), torch, options.repetitions, bandwidth)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"bandwidth": bandwidth, "records": records}, indent=1) + "\n", encoding="utf-8")
    print(f"saved {options.output}")


def measure_cell(cell: Cell, torch: Torch | None, repetitions: int, bandwidth: float) -> list[dict[str, Any]]:
    stock, fused, floor, records = cell.stock(), cell.fused(), cell.floor_us(bandwidth), []
    has_torch = torch is not None and cell.combiner in ("mean", "sum")
    if has_torch:
        torch.load(cell)
        np.testing.assert_allclose(torch.pooled(), fused["forward"](), rtol=1e-4, atol=1e-4)
    for mode in ("forward", "gradient", "update"):
        load = os.getloadavg()[0]
        times = measure({"stock": timed(stock[mode]), "fused": timed(fused[mode]), "call": timed(nothing_call())}, repetitions)
        median = {name: statistics.median(values) for name, values in times.items()}
        least = {name: min(values) for name, values in times.items()}
        low, high = np.percentile(times["fused"], [10, 90])
        net = (median["stock"] - median["call"]) / max(median["fused"] - median["call"], 1.0)
        columns = [
            *(cell.name, mode, f"{load:.1f}", f"{median['call']:.0f}", f"{median['stock']:.0f}"),
            *(f"{median['fused']:.0f} ({low:.0f}-{high:.0f})", f"{median['stock'] / median['fused']:.1f}", f"{net:.1f}"),
            *(f"{least['stock'] / least['fused']:.1f}", f"{floor[mode]:.0f}"),
        ]
        record = {"cell": cell.name, "mode": mode, "load": load, "floor_us": floor[mode], "median_us": median, "least_us": least}
        if has_torch:
            beside = measure(
                {"torch": lambda mode=mode: torch.seconds(mode), "fused": timed(fused[mode])}, min(repetitions, Torch.MOST_TURNS)
            )
            for name, values in beside.items():
                columns.append(f"{statistics.median(values):.0f} (least {min(values):.0f})")
                record[f"beside_torch_{name}_us"] = {"median": statistics.median(values), "least": min(values)}
        print(" | ".join(columns), flush=True)
        records.append(record)
    return records


if __name__ == "__main__":
    main()
