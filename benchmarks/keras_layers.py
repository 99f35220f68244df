"""`ops.keras.EmbeddingBag` beside `keras.layers.Embedding` and pooling, in turns in one process; medians of forward, gradient and step.

    python benchmarks/keras_layers.py [--repetitions 30] [--torch PYTHON] [--quick]

Padded ids [B, L] and, of the same ids, ragged ones. The layer of Keras gathers [B, L, D], masks and adds up; a ragged one is masked alike
after `to_tensor`. `step` is a `tf.function` of forward, backward and the update by an optimizer of Keras, SGD: what `fit` runs. The call of
an empty `tf.function` takes its turns, too. `--torch` is a Python with PyTorch, in which `torch.nn.EmbeddingBag` runs the same ids by turns
of whole processes: PyTorch and TensorFlow do not load into one.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import subprocess
import time
from collections.abc import Callable

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from ops.keras import EmbeddingBag

CELLS = {"small": (1_000, 16, 1024, 10), "medium": (100_000, 32, 4096, 10), "large": (1_000_000, 32, 4096, 20)}
TORCH = """
import sys, time, numpy as np, torch
rows, dim, batch, length, repetitions = map(int, sys.argv[1:])
torch.set_num_threads(2)
rng = np.random.default_rng(0)
ids = torch.tensor(np.minimum(rng.zipf(1.2, (batch, length)), rows) - 1)
kept = torch.tensor(rng.random((batch, length)) < 0.7)
bag = torch.nn.EmbeddingBag(rows, dim, mode="mean", sparse=True)
optimizer = torch.optim.SGD(bag.parameters(), 0.1)
lengths = kept.sum(1)
def forward():
    flat = ids[kept]
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)[:-1]])
    return bag(flat, offsets)
def gradient():
    bag.zero_grad()
    forward().square().sum().backward()
def step():
    gradient()
    optimizer.step()
def of(run):
    times = []
    for _ in range(repetitions + 3):
        start = time.perf_counter()
        run()
        times.append(1e6 * (time.perf_counter() - start))
    return np.median(times[3:])
with torch.no_grad():
    print(of(forward), end=" ")
print(of(gradient), of(step), torch.__version__)
"""


class Pooled(tf.keras.Model):
    """What one writes without this layer."""

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.embedding = tf.keras.layers.Embedding(rows, dim)

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        if isinstance(ids, tf.RaggedTensor):
            ids = ids.to_tensor(-1)
        kept = tf.cast(ids >= 0, tf.float32)[..., tf.newaxis]
        total = tf.reduce_sum(self.embedding(tf.maximum(ids, 0)) * kept, axis=1)
        return tf.math.divide_no_nan(total, tf.reduce_sum(kept, axis=1))


def runs_of(layer: tf.keras.layers.Layer, ids: tf.Tensor) -> dict[str, Callable[[], object]]:
    layer(ids[:2])
    optimizer = tf.keras.optimizers.SGD(0.1)
    optimizer.build(layer.trainable_variables)

    def loss_gradient() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(ids) ** 2)
        return tape.gradient(loss, layer.trainable_variables)

    @tf.function
    def gradient() -> tf.Tensor:
        return loss_gradient()[0].values

    @tf.function
    def step() -> None:
        optimizer.apply(loss_gradient(), layer.trainable_variables)

    return {"forward": tf.function(lambda: layer(ids)), "gradient": gradient, "step": step}


def in_turns(runs: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for _ in range(repetitions + 3):
        random.shuffle(order)
        for name in order:
            start = time.perf_counter()
            runs[name]()
            times[name].append(1e6 * (time.perf_counter() - start))
    return {name: float(np.median(taken[3:])) for name, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--torch", help="a Python with PyTorch")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, load average {os.getloadavg()[0]:.2f}")
    print(f"TensorFlow {tf.__version__}, Keras {tf.keras.__version__}\n")
    print("| cell | ids | mode | call, us | Keras, us | this layer, us | ratio | torch, us |\n|---|---|---|---|---|---|---|---|")
    for name, (rows, dim, batch, length) in list(CELLS.items())[: 1 if arguments.quick else None]:
        rng = np.random.default_rng(0)
        drawn = np.minimum(rng.zipf(1.2, (batch, length)), rows) - 1
        padded = tf.constant(np.where(rng.random((batch, length)) < 0.7, drawn, -1))
        forms = {"padded": padded, "ragged": tf.ragged.boolean_mask(padded, padded >= 0)}
        others = of_torch(arguments.torch, (rows, dim, batch, length, arguments.repetitions)) if arguments.torch else ["-"] * 3
        for form, ids in forms.items():
            ours, keras = EmbeddingBag(rows, dim), Pooled(rows, dim)
            runs = {"call": tf.function(lambda: tf.constant(0))}
            for side, layer in (("ours", ours), ("keras", keras)):
                runs |= {f"{side} {mode}": run for mode, run in runs_of(layer, ids).items()}
            times = in_turns(runs, arguments.repetitions)
            for mode, other in zip(("forward", "gradient", "step"), others, strict=True):
                one, two = times[f"keras {mode}"], times[f"ours {mode}"]
                print(
                    f"| {name}: [{rows:,}, {dim}], B {batch}, L {length} | {form} | {mode} | {times['call']:.0f} | {one:.0f} | {two:.0f} "
                    f"| {one / two:.1f} | {other} |",
                    flush=True,
                )


def of_torch(python: str, cell: tuple[int, ...]) -> list[str]:
    done = subprocess.run([python, "-c", TORCH, *map(str, cell)], capture_output=True, text=True, check=True)
    return [f"{float(part):.0f}" for part in done.stdout.split()[:3]]


if __name__ == "__main__":
    main()
