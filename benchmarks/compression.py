"""Compressed graphs against the same graphs on repeated user rows, and a training step through `compressed`.

    python benchmarks/compression.py

A ranking model (a user tower of width 256, target attention over 50 events, a network over both) with random weights is frozen and
compressed. Variants run in turn in one process: A B A B; the table gives medians and the middle half of the repetitions.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from nann.models.attention_rows import AttentionRows
from ops import graph_optimizer, graph_passes

v1 = tf.compat.v1
LENGTH, DIM, FEATURES = 50, 64, 128
CASES = ((1, 200), (4, 100), (16, 50), (8, 8), (32, 4), (64, 2))


def parameters() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {
        "tower": (FEATURES, 256),
        "tower2": (256, 128),
        "key": (DIM, 128),
        "key2": (128, 64),
        "query": (DIM, 64),
        "first": (128 + DIM + DIM, 128),
        "second": (128, 64),
        "last": (64, 1),
    }
    return {name: (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32) for name, shape in shapes.items()}


def model(profile: tf.Tensor, sequence: tf.Tensor, item: tf.Tensor, w: dict[str, tf.Tensor]) -> tf.Tensor:
    """Scores [R] of rows: profiles [R, 128], sequences [R, 50, 64], items [R, 64]."""
    tower = tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(profile, w["tower"])), w["tower2"]))
    keys = tf.matmul(tf.nn.relu(tf.matmul(sequence, w["key"])), w["key2"])
    query = tf.matmul(item, w["query"])
    attention = tf.nn.softmax(tf.matmul(query[:, tf.newaxis, :], keys, transpose_b=True) / 8.0)
    interest = tf.squeeze(tf.matmul(attention, sequence), axis=1)
    hidden = tf.nn.relu(tf.matmul(tf.concat([tower, interest, item], axis=1), w["first"]))
    return tf.squeeze(tf.matmul(tf.nn.relu(tf.matmul(hidden, w["second"])), w["last"]), axis=1)


def pooled_model(profile: tf.Tensor, sequence: tf.Tensor, item: tf.Tensor, w: dict[str, tf.Tensor]) -> tf.Tensor:
    """The same without attention: the sequence goes into the tower's place as a mean."""
    tower = tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(profile, w["tower"])), w["tower2"]))
    interest = tf.reduce_mean(sequence, axis=1)
    hidden = tf.nn.relu(tf.matmul(tf.concat([tower, interest, item], axis=1), w["first"]))
    return tf.squeeze(tf.matmul(tf.nn.relu(tf.matmul(hidden, w["second"])), w["last"]), axis=1)


def values(users: int, items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return draw(users, FEATURES), draw(users, LENGTH, DIM), draw(users * items, DIM)


def interleaved(variants: dict[str, Callable[[], object]], repetitions: int) -> dict[str, np.ndarray]:
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(repetitions + 3):
        for name, call in variants.items():
            start = time.perf_counter()
            call()
            if number >= 3:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: np.array(series) for name, series in times.items()}


def cell(series: np.ndarray) -> str:
    low, middle, high = np.percentile(series, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def frozen(function: Callable[..., tf.Tensor]) -> tf.compat.v1.GraphDef:
    with tf.Graph().as_default() as graph:
        inputs = (
            v1.placeholder(tf.float32, [None, FEATURES], name="profile"),
            v1.placeholder(tf.float32, [None, LENGTH, DIM], name="sequence"),
            v1.placeholder(tf.float32, [None, DIM], name="item"),
        )
        tf.identity(function(*inputs, {name: tf.constant(value) for name, value in parameters().items()}), name="scores")
    return graph.as_graph_def()


def callable_of(graph_def: tf.compat.v1.GraphDef, names: list[str]) -> Callable[..., object]:
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    return v1.Session(graph=graph).make_callable("scores:0", feed_list=[f"{name}:0" for name in names])


def inference(repetitions: int) -> None:
    print("| model | users x items | repeated rows, ms | compressed, ms | ratio | predicted |")
    print("|---|---|---|---|---|---|")
    for function in (model, pooled_model):
        graph_def = frozen(function)
        given = {"user_inputs": ["profile", "sequence"], "item_inputs": ["item"], "outputs": ["scores"]}
        before = callable_of(graph_def, ["profile", "sequence", "item"])
        for users, items in CASES:
            compressed, report = graph_optimizer.compress(graph_def, **given, min_items_per_user=items, uniform=True)
            if not report.compressed:
                print(f"| {function.__name__} | {users} x {items} | | | left as it was | {report.predict(users, items)['speedup']:.2f} |")
                continue
            after = callable_of(compressed, ["profile", "sequence", "item", "item_size"])
            times = compare(before, after, users, items, repetitions)
            print(f"| {function.__name__} | {users} x {items} | {row(times)} | {report.predict(users, items)['speedup']:.2f} |")


def compare(before: Callable[..., object], after: Callable[..., object], users: int, items: int, repetitions: int) -> dict[str, np.ndarray]:
    profile, sequence, item = values(users, items)
    repeated = np.repeat(profile, items, axis=0), np.repeat(sequence, items, axis=0)
    size = np.array(items, np.int32)
    np.testing.assert_allclose(after(profile, sequence, item, size), before(*repeated, item), rtol=1e-4, atol=1e-5)
    return interleaved({"before": lambda: before(*repeated, item), "after": lambda: after(profile, sequence, item, size)}, repetitions)


def row(times: dict[str, np.ndarray]) -> str:
    ratio = np.median(times["before"]) / np.median(times["after"])
    return f"{cell(times['before'])} | {cell(times['after'])} | {ratio:.2f}"


def training(repetitions: int, users: int, items: int) -> None:
    variables = {name: tf.Variable(value) for name, value in parameters().items()}
    profile, sequence, item = (tf.constant(value) for value in values(users, items))
    label = tf.constant(np.random.default_rng(2).integers(0, 2, size=users * items).astype(np.float32))
    size = tf.constant(items)

    def declared(profile: tf.Tensor, sequence: tf.Tensor, item: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        graph_optimizer.enable_sample_awared_graph_compression([profile, sequence], [item], size, min_items_per_user=items)
        return model(profile, sequence, item, variables)

    compressed = graph_optimizer.compressed(declared, autograph=False)

    def step(forward: Callable[[], tf.Tensor]) -> Callable[[], list[tf.Tensor]]:
        @tf.function(autograph=False)
        def run() -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=forward()))
            return tape.gradient(loss, list(variables.values()))

        return run

    repeated = step(lambda: model(tf.repeat(profile, items, axis=0), tf.repeat(sequence, items, axis=0), item, variables))
    once = step(lambda: compressed(profile, sequence, item, size))
    for a, b in zip(repeated(), once(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
    times = interleaved({"before": lambda: repeated()[0].numpy(), "after": lambda: once()[0].numpy()}, repetitions)
    print(f"| {users} x {items} | {row(times)} |")


CANDIDATES, BUCKET = 8302, 512


def scorer_model(sequence: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
    """NANN's scorer as the paper writes it (arXiv 2202.10226, section 3), on rows of sequences [R, 50, 64] and items [R, 64]."""
    rng = np.random.default_rng(5)

    def vector(size: int) -> np.ndarray:
        return rng.uniform(0.1, 0.3, size=size).astype(np.float32)

    def dense(x: tf.Tensor, size: int) -> tf.Tensor:
        kernel = (rng.normal(size=(x.shape[-1], size)) / np.sqrt(x.shape[-1])).astype(np.float32)
        return tf.matmul(x, kernel) + vector(size)

    def prelu(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(x) + vector(x.shape[-1]) * tf.minimum(x, 0.0)

    def norm(x: tf.Tensor) -> tf.Tensor:
        size = x.shape[-1]
        return tf.nn.batch_normalization(x, vector(size), vector(size), vector(size), vector(size), 1e-3)

    query = dense(prelu(dense(item, 128)), 256)
    keys = dense(prelu(dense(sequence, 128)), 256)
    attention = tf.nn.softmax(tf.matmul(query[:, tf.newaxis, :], keys, transpose_b=True) / 16.0)
    interest = tf.reduce_sum(tf.transpose(attention, [0, 2, 1]) * sequence, axis=1)
    hidden = prelu(dense(tf.concat([interest, item], axis=-1), 128))
    hidden = prelu(norm(dense(hidden, 64)))
    hidden = prelu(norm(dense(hidden, 32)))
    return tf.squeeze(dense(hidden, 1), axis=-1)


def compiled(graph_def: tf.compat.v1.GraphDef) -> Callable[..., tf.Tensor]:
    """With XLA, for item rows of one static number."""

    names = ["sequence:0", "item:0", "item_size:0"]
    imported = v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
    part = imported.prune([imported.graph.get_tensor_by_name(name) for name in names], imported.graph.get_tensor_by_name("scores:0"))

    @tf.function(jit_compile=True, autograph=False)
    def call(sequence: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
        return part(sequence, item, tf.constant(item.shape[0]))

    return call


def scorer(repetitions: int) -> None:
    """The verbatim scorer, fed with one user's sequence that it broadcasts, against its rewriting."""
    with tf.Graph().as_default() as graph:
        sequence, item = (
            v1.placeholder(tf.float32, [None, LENGTH, DIM], name="sequence"),
            v1.placeholder(tf.float32, [None, DIM], name="item"),
        )
        tf.identity(scorer_model(sequence, item), name="scores")
    verbatim = graph.as_graph_def()
    given = {"user_inputs": ["sequence"], "item_inputs": ["item"], "outputs": ["scores"]}
    compressed, report = graph_optimizer.compress(verbatim, **given, min_items_per_user=512, uniform=True)
    rng = np.random.default_rng(6)
    user, items = rng.normal(size=(1, LENGTH, DIM)).astype(np.float32), rng.normal(size=(CANDIDATES, DIM)).astype(np.float32)
    feeds = {"sequence": user, "item": items[:64], "item_size": np.array(64, np.int32)}
    functions = (graph_passes.remove_identities, graph_passes.fold_constants, graph_passes.fold_batch_norms, graph_passes.shorten_prelu)
    passed, _ = graph_passes.run_passes(compressed, [(function, 1e-5) for function in functions], outputs=["scores"], feeds=feeds)
    before, after = callable_of(verbatim, ["sequence", "item"]), callable_of(passed, ["sequence", "item", "item_size"])
    fast = compiled(passed)
    padded = np.pad(items, [(0, -CANDIDATES % BUCKET), (0, 0)])
    size = np.array(CANDIDATES, np.int32)
    variants = {
        "verbatim": lambda: before(user, items),
        "rewritten": lambda: after(user, items, size),
        "rewritten, XLA": lambda: fast(tf.constant(user), tf.constant(padded)).numpy()[:CANDIDATES],
    }
    for call in variants.values():
        np.testing.assert_allclose(call(), variants["verbatim"](), rtol=1e-3, atol=1e-4)
    times = interleaved(variants, repetitions)
    print(f"\n| scorer, 1 user x {CANDIDATES} | ms | ratio |\n|---|---|---|")
    for name, series in times.items():
        print(f"| {name} | {cell(series)} | {np.median(times['verbatim']) / np.median(series):.2f} |")
    print(f"\nFLOPs per item of the rewritten scorer: {report.after.per_item.flops:,.0f}")


def pipeline_training(repetitions: int, users: int, items: int) -> None:
    """Forward and backward of the pipeline's scorer on rows, `nann-rows`, on repeated rows and as `nann train` runs it."""
    scorer = AttentionRows(num_items=1000, num_categories=10, emb_dim=DIM // 2, seed=1)
    rng = np.random.default_rng(3)
    sequence = tf.constant(rng.normal(size=(users, LENGTH, DIM)).astype(np.float32))
    mask, item = tf.ones([users, LENGTH], tf.bool), tf.constant(rng.normal(size=(users, items, scorer.item_dim)).astype(np.float32))
    rows = tf.reshape(item, [-1, scorer.item_dim])

    def step(forward: Callable[[], tf.Tensor]) -> Callable[[], list[tf.Tensor]]:
        @tf.function(autograph=False)
        def run() -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(tf.one_hot([0] * users, items), forward()))
            return tape.gradient(loss, scorer.network_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)

        return run

    def verbatim() -> tf.Tensor:
        logits = scorer.score_rows(tf.repeat(sequence, items, axis=0), tf.repeat(mask, items, axis=0), rows, training=True)
        return tf.reshape(logits, [users, items])

    repeated, once = step(verbatim), step(lambda: scorer.score((sequence, mask), item, training=True))
    for a, b in zip(repeated(), once(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-5)
    times = interleaved({"before": lambda: repeated()[0].numpy(), "after": lambda: once()[0].numpy()}, repetitions)
    print(f"| `nann-rows`, {users} x {items} | {row(times)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=30)
    arguments = parser.parse_args()
    print(f"TensorFlow {tf.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {arguments.repetitions} repetitions\n")
    inference(arguments.repetitions)
    scorer(arguments.repetitions)
    print("\n| training step, users x items | repeated rows, ms | compressed, ms | ratio |")
    print("|---|---|---|---|")
    for users, items in ((4, 100), (16, 20)):
        training(arguments.repetitions, users, items)
    pipeline_training(arguments.repetitions, 16, 100)


if __name__ == "__main__":
    main()
