"""A training step over a growing table on one replica, two mirrored ones and two workers on loopback, with the same global batch.

    python benchmarks/replicas.py [--repetitions 100]

Adaptive lookup of 4,096 bags of ten ids out of 100,000, a dense layer of 256 and `LazyAdamW`; the median of a step after 20 others, every
form in processes of its own, twice, one after the other. Replicas on one machine share its cores, so this shows what exchanging costs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import time

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

BAGS, LENGTH, KEYS, DIM = 4_096, 10, 100_000, 32
FORMS = {"one replica": 1, "two mirrored replicas": 1, "two workers": 2}


def run(form: str, repetitions: int) -> float:
    """Median of a step in microseconds."""
    import numpy as np
    import tensorflow as tf

    if form == "two mirrored replicas":
        devices = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(devices[0], [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    else:
        strategy = tf.distribute.MultiWorkerMirroredStrategy() if form == "two workers" else tf.distribute.get_strategy()

    from ops import CounterFilter, EmbeddingVariable, EmbeddingVariableOption
    from ops.adaptive import adaptive_lookup
    from ops.optimizers import LazyAdamW

    with strategy.scope():
        own = EmbeddingVariable(DIM, option=EmbeddingVariableOption(filter_option=CounterFilter(3)), initial_capacity=2 * KEYS)
        shared = tf.Variable(tf.random.stateless_normal([1_000, DIM], [1, 2]))
        dense = [tf.Variable(tf.random.stateless_normal(shape, [1, 3])) for shape in ([DIM, 256], [256, 1])]
        variables = [shared, own.table, *dense]
        optimizer = LazyAdamW(variables)
    replicas = strategy.num_replicas_in_sync
    bags = BAGS // replicas

    @tf.function
    def step(values: tf.Tensor) -> None:
        def on_replica(values: tf.Tensor) -> None:
            splits = tf.range(0, bags * LENGTH + 1, LENGTH, dtype=tf.int64)
            ids = tf.RaggedTensor.from_row_splits(values, splits, validate=False)
            with tf.GradientTape() as tape:
                pooled = adaptive_lookup(own, shared, ids)
                loss = tf.reduce_sum(tf.matmul(tf.nn.relu(tf.matmul(pooled, dense[0])), dense[1]) ** 2) / BAGS
            optimizer.apply(tape.gradient(loss, variables), tf.constant(0.001))

        strategy.run(on_replica, args=(values,))

    rng, times = np.random.default_rng(0), []
    for _ in range(repetitions + 20):
        drawn = np.minimum(rng.zipf(1.2, BAGS * LENGTH), KEYS)
        parts = [tf.constant(part) for part in np.split(drawn, replicas)]
        if replicas == 1:
            values = parts[0]
        else:
            values = strategy.experimental_distribute_values_from_function(
                lambda context, parts=parts: parts[context.replica_id_in_sync_group]
            )
        begin = time.perf_counter()
        step(values)
        times.append(1e6 * (time.perf_counter() - begin))
    return float(np.median(times[20:]))


def started(form: str, repetitions: int) -> float:
    """The same in processes of its own; of several workers the slowest."""
    workers = FORMS[form]
    addresses = []
    for _ in range(workers):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            addresses.append(f"127.0.0.1:{probe.getsockname()[1]}")
    processes = []
    for number in range(workers):
        config = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}})
        more = {"TF_CONFIG": config} if workers > 1 else {}
        command = [sys.executable, __file__, "--form", form, "--repetitions", str(repetitions)]
        processes.append(
            subprocess.Popen(command, env={**os.environ, **more}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        )
    return max(float(process.communicate()[0].split()[-1]) for process in processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--form", choices=list(FORMS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.form:
        print(run(arguments.form, arguments.repetitions))
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, load average {os.getloadavg()[0]:.2f}\n")
    print("| form | step, us | again |\n|---|---|---|")
    rounds = [{form: started(form, arguments.repetitions) for form in FORMS} for _ in range(2)]
    for form in FORMS:
        print(f"| {form} | {rounds[0][form]:.0f} | {rounds[1][form]:.0f} |")


if __name__ == "__main__":
    main()
