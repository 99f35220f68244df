"""One worker of a training over growing tables; prints what it ends with.

    python replica_program.py KIND FIRST_STEP LAST_STEP RESTORED SAVED

KIND: growing, adaptive. RESTORED: a checkpoint, or "-". SAVED: its prefix, or "-". With TF_CONFIG it is a worker of several, with the
environment variable MIRRORED=1 it has two replicas; the global batches are the same.
"""

import contextlib
import json
import os
import sys

import numpy as np
import pytest
import tensorflow as tf

if os.environ.get("MIRRORED"):
    devices = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(devices[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
elif "TF_CONFIG" in os.environ:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
else:
    strategy = tf.distribute.get_strategy()

from ops import CounterFilter, EmbeddingVariable, EmbeddingVariableOption
from ops.adaptive import adaptive_lookup
from ops.embedding import Feature, grouped_lookup
from ops.optimizers import LazyAdamW

kind, first, last, restored, saved = sys.argv[1:]
replicas = strategy.num_replicas_in_sync
DIM, BAGS = 4, 8


def initial(shape, dtype):
    return tf.random.uniform(shape, dtype=dtype)  # every replica draws others; the first one's count


with strategy.scope():
    if kind == "growing":
        initial = tf.ones  # the draws of one replica are others than those of two
    option = EmbeddingVariableOption(filter_option=CounterFilter(2))
    own = EmbeddingVariable(DIM, option=option, initial_capacity=4, initializer=initial)
    shared = tf.Variable(tf.random.stateless_normal([8, DIM], [1, 2]))
    tables = [own.table] if kind == "growing" else [shared, own.table]
    optimizer = LazyAdamW(tables)
checkpoint = tf.train.Checkpoint(own=own, shared=shared, optimizer=optimizer)
if restored != "-":
    checkpoint.read(restored).assert_existing_objects_matched()


def bags(step):
    """Of the replicas, one after the other: of other numbers of ids, and in every fourth step without any."""
    rng = np.random.default_rng(step)
    lists = [rng.integers(-1, 12, 0 if step % 4 == 3 else rng.integers(0, 4)).tolist() for _ in range(BAGS)]
    share = BAGS // replicas
    return [tf.ragged.constant(lists[r * share : (r + 1) * share], tf.int64, ragged_rank=1) for r in range(replicas)]


def pooled(ids):
    return adaptive_lookup(own, shared, ids) if kind == "adaptive" else grouped_lookup([Feature(own.table, own.rows_like(ids))])[0]


@tf.function(reduce_retracing=True)
def step(values, splits):
    def on_replica(values, splits):
        ids = tf.RaggedTensor.from_row_splits(values, splits)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((pooled(ids) - 0.5) ** 2) / BAGS
        optimizer.apply(tape.gradient(loss, tables), tf.constant(0.05))
        return loss

    return strategy.reduce("SUM", strategy.run(on_replica, args=(values, splits)), axis=None)


losses = []
for number in range(int(first), int(last)):
    parts = bags(number)
    spread = [
        strategy.experimental_distribute_values_from_function(lambda context, each=each: each[context.replica_id_in_sync_group])
        for each in ([part.values for part in parts], [part.row_splits for part in parts])
    ]
    losses.append(float(step(*spread)))
if replicas > 1:  # would change this copy alone
    for scope in (strategy.scope(), contextlib.nullcontext()):
        with scope, pytest.raises(RuntimeError, match=r"strategy\.run"):
            own.rows_of(tf.constant([99]))
held = own.export()
if saved != "-":
    checkpoint.write(saved)
print(
    json.dumps({
        "losses": losses,
        "keys": held.keys.tolist(),
        "frequencies": held.frequencies.tolist(),
        "values": held.values.tolist(),
        "shared": shared.numpy().tolist(),
    })
)  # fmt: skip
