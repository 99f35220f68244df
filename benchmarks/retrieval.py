"""Beam retrieval: the reference form against the exported forms, on the paper's scorer with random weights.

    python benchmarks/retrieval.py --items 200000

Reference form: neighbours by ragged gather, `tf.unique`, visited items as sets (`tf.sets`), one user at a time, and the paper's scorer
as it is written: queries and keys of all layers per call, attention as a broadcast product [n, 50, 64], a score network over the
concatenation. The others walk with stock or native ops, over the same scorer in the form that this project trains it in (what involves the
user alone is in the user state, attention is a matrix product), after the passes of `nann rewrite`, with the items' part computed ahead,
with XLA on a grid of widths, and with walk and scorer as one native op (fused). Variants run in turn in one process, A B A B; the table
gives medians and the middle half of the repetitions, and the share of the reference's answers that each one returns. The walk alone is
measured with a scorer that costs next to nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from nann.evaluation.scan import CompiledScorer
from nann.export import FrozenScorer, lower_frozen
from nann.export.passes import optimize_scorer, precompute
from nann.index import Embeddings, Graph, build_hnsw, decode_hnsw
from nann.retrieval import BeamRetriever, ExactRetriever, FusedSearch, NativeWalk, OpSearch, StockWalk
from nann.retrieval.walk import COMPILED_WIDTHS

LENGTH, DIM = 50, 64
SEARCH: dict[str, Any] = {"ef": (400, 200, 100), "rounds": (3, 1, 1), "top_k": 200}
SHAPES = {
    "q1": (64, 128),
    "q2": (128, 256),
    "k1": (64, 128),
    "k2": (128, 256),
    "s1": (128, 128),
    "s2": (128, 64),
    "s3": (64, 32),
    "s4": (32, 1),
}


def prelu(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(x) + 0.25 * tf.minimum(x, 0.0)


def norm(x: tf.Tensor) -> tf.Tensor:
    mean, variance, gamma, beta = (tf.constant(np.full(x.shape[-1], value, np.float32)) for value in (0.1, 1.2, 0.9, 0.05))
    return (x - mean) * tf.math.rsqrt(variance + 1e-3) * gamma + beta


def attention_scorer(items: np.ndarray, *, folded: bool) -> tf.compat.v1.GraphDef:
    """The paper's scorer with random weights as a frozen graph: as it is written, or with the user's products in the user state."""
    rng = np.random.default_rng(0)
    weights = {name: tf.constant(rng.normal(size=shape) / np.sqrt(shape[0]), tf.float32) for name, shape in SHAPES.items()}
    table = tf.constant(np.concatenate([np.zeros((1, DIM), np.float32), items]))

    def keys_of(sequence: tf.Tensor) -> tf.Tensor:
        return tf.matmul(prelu(tf.matmul(sequence, weights["k1"])), weights["k2"]) / 16.0

    def state_of(sequence: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, ...]:
        if not folded:
            return sequence, bias
        return tf.matmul(keys_of(sequence), weights["q2"], transpose_b=True), bias, tf.matmul(sequence, weights["s1"][:DIM])

    def first_layer(state: tuple[tf.Tensor, ...], item_embs: tf.Tensor) -> tf.Tensor:
        query, bias = prelu(tf.matmul(item_embs, weights["q1"])), state[1][:, tf.newaxis]
        if folded:
            attention = tf.nn.softmax(tf.matmul(query, state[0], transpose_b=True) + bias)
            return tf.matmul(attention, state[2]) + tf.matmul(item_embs, weights["s1"][DIM:])
        attention = tf.nn.softmax(tf.matmul(tf.matmul(query, weights["q2"]), keys_of(state[0]), transpose_b=True) + bias)
        interest = tf.reduce_sum(attention[..., tf.newaxis] * state[0][:, tf.newaxis], axis=2)
        return tf.matmul(tf.concat([interest, item_embs + 0.0 * interest], axis=2), weights["s1"])

    def scorer(item_ids: tf.Tensor, cate_ids: tf.Tensor, item_embs: tf.Tensor) -> tf.Tensor:
        sequence = tf.identity(tf.gather(table, item_ids), name="history")
        mask = tf.identity(tf.logical_and(item_ids > 0, cate_ids >= 0), name="history_mask")
        bias = tf.where(mask, 0.0, -1e9)
        state = tuple(tf.identity(part, name=f"user_state_{number}") for number, part in enumerate(state_of(sequence, bias)))
        hidden = prelu(norm(first_layer(state, item_embs)))
        hidden = prelu(norm(tf.matmul(prelu(norm(tf.matmul(hidden, weights["s2"]))), weights["s3"])))
        return tf.identity(tf.squeeze(tf.matmul(hidden, weights["s4"]), 2), name="scores")

    signature = [tf.TensorSpec([None, None], tf.int64, name=name) for name in ("item_ids", "cate_ids")]
    signature.append(tf.TensorSpec([None, None, DIM], tf.float32, name="item_embs"))
    traced = tf.function(scorer, input_signature=signature).get_concrete_function()
    return convert_variables_to_constants_v2(traced).graph.as_graph_def()


class ReferenceForm:
    """The walk with ragged gathers and set operations, one user per call."""

    def __init__(self, scorer: Any, embeddings: Embeddings, graph: Graph) -> None:
        levels = [tf.RaggedTensor.from_row_splits(lists.values.astype(np.int64), lists.row_splits) for lists in graph.levels[:3]]
        items, entries = tf.constant(embeddings.vectors), tf.constant(graph.enter_points)
        item_rows = tf.constant(embeddings.item_rows)

        def walk(history: tf.Tensor, categories: tf.Tensor) -> tf.Tensor:
            state = scorer.user_state(history, categories)

            def score(positions: tf.Tensor) -> tf.Tensor:
                return scorer.score(state, tf.gather(items, positions)[tf.newaxis])[0]

            visited, positions, scores = entries, entries, score(entries)
            for level in (2, 1, 0):
                size = tf.minimum(SEARCH["ef"][level], tf.size(scores))
                scores, best = tf.math.top_k(scores, tf.minimum(max(SEARCH["ef"]), tf.size(scores)))
                positions = tf.gather(positions, best)
                frontier = positions[:size]
                for _ in range(SEARCH["rounds"][level]):
                    neighbors, _ = tf.unique(tf.gather(levels[level], frontier).values)
                    new = tf.sets.difference(tf.sort(neighbors)[tf.newaxis], tf.sort(visited)[tf.newaxis]).values
                    visited = tf.concat([visited, new], axis=0)
                    merged, best = tf.math.top_k(tf.concat([scores, score(new)], axis=0), tf.minimum(max(SEARCH["ef"]), tf.size(visited)))
                    entered = best >= tf.size(scores)
                    positions, scores = tf.gather(tf.concat([positions, new], axis=0), best), merged
                    width = SEARCH["ef"][level]
                    frontier = tf.boolean_mask(positions[:width], entered[:width])
            return tf.gather(item_rows, positions[: SEARCH["top_k"]])[tf.newaxis]

        self._walk = tf.function(walk, input_signature=[tf.TensorSpec([1, None], tf.int64)] * 2)

    def __call__(self, histories: np.ndarray, categories: np.ndarray) -> np.ndarray:
        pairs = zip(histories, categories, strict=True)
        return np.concatenate([self._walk(h[np.newaxis], c[np.newaxis]).numpy() for h, c in pairs])


class CheapScorer:
    """An inner product with the mean of the history: what is left is the walk."""

    def __init__(self, scorer: Any) -> None:
        self._scorer = scorer

    def user_state(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (tf.reduce_mean(self._scorer.user_state(item_rows, cate_rows)[0], axis=1),)

    def score(self, user_state: tuple[tf.Tensor, ...], items: tf.Tensor) -> tf.Tensor:
        return tf.linalg.matvec(items, user_state[0])


# the same as a program
CHEAP_PROGRAM = FusedSearch("param matrix\nmatmul r1 r0 p0 - -\nresult r1\n", lambda user: [user[:, :, tf.newaxis]])


def measure(variants: dict[str, Callable[[int], Any]], repetitions: int, users: int) -> dict[str, np.ndarray]:
    times: dict[str, list[float]] = {name: [] for name in variants}
    for repetition in range(-WARMUP, repetitions):
        for name, call in variants.items():
            begin = time.perf_counter()
            call(repetition % repetitions)
            if repetition >= 0:
                times[name].append(1000 * (time.perf_counter() - begin) / users)
    return {name: np.percentile(values, [25, 50, 75]) for name, values in times.items()}


WARMUP = 6


def print_table(title: str, times: dict[str, np.ndarray], answers: dict[str, np.ndarray]) -> None:
    print(f"\n{title}\n\n| ms per user | median | middle half | against the first | answers of the first |\n|---|---|---|---|---|")
    first = next(iter(times))
    for name, (low, median, high) in times.items():
        shared = ""
        if name in answers and first in answers:
            pairs = zip(answers[name], answers[first], strict=True)
            shared = f"{np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in pairs]):.4f}"
        print(f"| {name} | {median:.2f} | {low:.2f} - {high:.2f} | {times[first][1] / median:.1f} x | {shared} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--ef-construction", type=int, default=100)
    parser.add_argument("--batch", type=int, default=8)
    arguments = parser.parse_args()
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(200, DIM))
    vectors = (centres[rng.integers(0, 200, arguments.items)] + 0.7 * rng.normal(size=(arguments.items, DIM))).astype(np.float32)
    plain = Embeddings(item_rows=np.arange(1, arguments.items + 1), vectors=vectors)
    begin = time.perf_counter()
    hnsw = build_hnsw(vectors, m=32, ef_construction=arguments.ef_construction, threads=os.cpu_count() or 1)
    graph = decode_hnsw(hnsw, start_level=2)
    print(f"{arguments.items:,} items, graph in {time.perf_counter() - begin:.1f} s, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs")

    verbatim_def = attention_scorer(vectors, folded=False)
    passed_def, _ = optimize_scorer(attention_scorer(vectors, folded=True), num_items=arguments.items, num_categories=1)
    ahead_def, wide, report = precompute(passed_def, plain, max_table_bytes=2**32)
    print("items' part computed ahead:", report["reason"] or report["flops_per_item"], "FLOPs per item before and after")
    verbatim, passed, ahead = FrozenScorer(verbatim_def), FrozenScorer(passed_def), FrozenScorer(ahead_def)
    fused, fused_ahead = (FusedSearch(low.program, low.parameters) for low in (lower_frozen(passed_def), lower_frozen(ahead_def)))
    histories = rng.integers(1, arguments.items + 1, size=(256, LENGTH))
    ones = np.ones_like(histories)

    def beam(scorer: Any, embeddings: Embeddings, search: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        retriever = BeamRetriever(scorer, embeddings, graph, search=search, **SEARCH)
        return lambda h, c: retriever(h, c).item_rows

    retrieve: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "reference form": ReferenceForm(verbatim, plain, graph),
        "native walk, verbatim scorer": beam(verbatim, plain, OpSearch(NativeWalk())),
        "stock walk, rewritten scorer": beam(passed, plain, OpSearch(StockWalk())),
        "native walk, rewritten scorer": beam(passed, plain, OpSearch(NativeWalk())),
        "native walk, items' part ahead": beam(ahead, wide, OpSearch(NativeWalk())),
        "native walk, rewritten scorer, XLA": beam(CompiledScorer(passed), plain, OpSearch(NativeWalk(COMPILED_WIDTHS))),
        "native walk, items' part ahead, XLA": beam(CompiledScorer(ahead), wide, OpSearch(NativeWalk(COMPILED_WIDTHS))),
        "fused, rewritten scorer": beam(passed, plain, fused),
        "fused, items' part ahead": beam(ahead, wide, fused_ahead),
    }
    cheap = CheapScorer(verbatim)
    walks = {
        "stock walk alone": beam(cheap, plain, OpSearch(StockWalk())),
        "native walk alone": beam(cheap, plain, OpSearch(NativeWalk())),
        "fused walk alone": beam(cheap, plain, CHEAP_PROGRAM),
    }
    for size in (1, arguments.batch):
        calls = {
            name: (
                lambda number, call=call, size=size: call(
                    *(rows[np.arange(number * size, (number + 1) * size) % 256] for rows in (histories, ones))
                )
            )
            for name, call in {**retrieve, **walks}.items()
        }
        answers = {name: retrieve[name](histories[:size], ones[:size]) for name in retrieve}
        print_table(f"{size} user(s) per call", measure(calls, arguments.repetitions, size), answers)

    scans = {
        "verbatim": ExactRetriever(verbatim, plain, top_k=200, search=OpSearch(block=2048)),
        "rewritten": ExactRetriever(passed, plain, top_k=200, search=OpSearch(block=2048)),
        "rewritten, XLA": ExactRetriever(CompiledScorer(passed), plain, top_k=200, search=OpSearch(block=2048)),
        "items' part ahead, XLA": ExactRetriever(CompiledScorer(ahead), wide, top_k=200, search=OpSearch(block=2048)),
        "fused": ExactRetriever(passed, plain, top_k=200, search=fused),
        "fused, items' part ahead": ExactRetriever(ahead, wide, top_k=200, search=fused_ahead),
    }
    calls = {
        name: (lambda number, scan=scan: scan(histories[number : number + 1], ones[number : number + 1])) for name, scan in scans.items()
    }
    found = {name: scan(histories[:1], ones[:1]).item_rows for name, scan in scans.items()}
    print_table("exact scan, 1 user", measure(calls, max(3, arguments.repetitions // 6), 1), found)


if __name__ == "__main__":
    main()
