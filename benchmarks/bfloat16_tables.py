"""Tables in bfloat16, rounded to the nearest and stochastically, beside float32: recall and time of a training step.

    python benchmarks/bfloat16_tables.py [--steps 3000] [--seeds 2] [--quick]

A retrieval model on a synthetic log: a user is the mean of ten items, through a dense layer; the next item is found among all of them by
inner product. Users keep to one of 200 groups, within which items are Zipf distributed. All variants take the same batches in turns, a
step each, in one process, with `LazyAdamW` and a learning rate that falls to zero. Recall@50 is over 4,000 users of other draws.
"""

from __future__ import annotations

import argparse
import os
import platform
import time

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from ops.embedding import Feature, grouped_lookup
from ops.optimizers import LazyAdamW

ITEMS, GROUPS, DIM, LENGTH, BATCH, K = 20_000, 200, 32, 10, 512, 50
VARIANTS = {"float32": (tf.float32, False), "bfloat16, nearest": (tf.bfloat16, False), "bfloat16, stochastic": (tf.bfloat16, True)}


def sequences(rng: np.random.Generator, users: int, names: np.ndarray) -> np.ndarray:
    """[users, LENGTH + 1] item rows."""
    group = rng.integers(0, GROUPS, users)[:, None]
    inside = np.minimum(rng.zipf(1.3, (users, LENGTH + 1)) - 1, ITEMS // GROUPS - 1)
    anywhere = rng.random((users, LENGTH + 1)) < 0.2
    return names[np.where(anywhere, rng.integers(0, ITEMS, inside.shape), group * (ITEMS // GROUPS) + inside)]


class Variant:
    """A model, its optimizer and the times of its steps in microseconds."""

    def __init__(self, dtype: tf.DType, stochastic: bool, seed: int, rate: float, steps: int) -> None:
        start = [tf.random.stateless_normal([ITEMS, DIM], [seed, number], stddev=DIM**-0.5) for number in range(2)]
        self.tables = [tf.Variable(tf.cast(values, dtype)) for values in start]
        self.dense = tf.Variable(tf.eye(DIM))
        self.optimizer = LazyAdamW([*self.tables, self.dense], stochastic_rounding=stochastic)
        self.rate, self.steps = rate, steps
        self.times: list[float] = []

    def users(self, histories: tf.Tensor) -> tf.Tensor:
        splits = tf.range(tf.shape(histories, tf.int64)[0] + 1) * LENGTH
        bags = tf.RaggedTensor.from_row_splits(tf.reshape(histories, [-1]), splits, validate=False)
        return tf.matmul(tf.cast(grouped_lookup([Feature(self.tables[0], bags)])[0], tf.float32), self.dense)

    @tf.function
    def step(self, batch: tf.Tensor, done: tf.Tensor) -> tf.Tensor:
        targets = batch[:, LENGTH]
        with tf.GradientTape() as tape:
            users = self.users(batch[:, :LENGTH])
            alone = tf.RaggedTensor.from_row_splits(targets, tf.range(tf.size(targets, tf.int64) + 1), validate=False)
            items = tf.cast(grouped_lookup([Feature(self.tables[1], alone)])[0], tf.float32)
            logits = 10.0 * tf.matmul(users, items, transpose_b=True)
            same = tf.equal(targets[:, None], targets[None, :]) & ~tf.eye(BATCH, dtype=tf.bool)
            logits = tf.where(same, -1e9, logits)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(tf.range(BATCH), logits))
        variables = [*self.tables, self.dense]
        self.optimizer.apply(tape.gradient(loss, variables), self.rate * (1.0 - done / self.steps))
        return loss

    def recall(self, found_for: np.ndarray) -> float:
        scores = tf.matmul(self.users(tf.constant(found_for[:, :LENGTH])), tf.cast(self.tables[1], tf.float32), transpose_b=True)
        best = tf.math.top_k(scores, K).indices.numpy()
        return float((best == found_for[:, LENGTH:]).any(axis=1).mean())

    @property
    def size_bytes(self) -> int:
        """Of tables and their moments."""
        return sum(3 * int(tf.size(table)) * table.dtype.size for table in self.tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    steps = 50 if arguments.quick else arguments.steps
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, load average {os.getloadavg()[0]:.2f}")
    print(f"TensorFlow {tf.__version__}; {steps} steps\n")
    print(f"| rate | seed | tables | recall@{K} | last loss | tables and moments, MB | step, us |\n|---|---|---|---|---|---|---|")
    for rate in (0.003, 0.0003):
        for seed in range(1 if arguments.quick else arguments.seeds):
            rng = np.random.default_rng(seed)
            names = rng.permutation(ITEMS)
            variants = {name: Variant(*given, seed, rate, steps) for name, given in VARIANTS.items()}
            losses: dict[str, list[float]] = {name: [] for name in variants}
            for done in range(steps):
                batch, step = tf.constant(sequences(rng, BATCH, names)), tf.constant(float(done))
                for name in rng.permutation(list(variants)):
                    begin = time.perf_counter()
                    losses[name].append(float(variants[name].step(batch, step)))
                    variants[name].times.append(1e6 * (time.perf_counter() - begin))
            held_out = sequences(rng, 4_000, names)
            for name, variant in variants.items():
                print(
                    f"| {rate} | {seed} | {name} | {variant.recall(held_out):.4f} | {np.mean(losses[name][-100:]):.4f} "
                    f"| {variant.size_bytes / 1e6:.1f} | {np.median(variant.times[3:]):.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
