"""Filters inside the search: coverage of the exact filtered scan, and latency, over the share of items that pass.

    python benchmarks/filters.py --converted-model runs/one/converted_model --dataset runs/one/dataset --users 200
    python benchmarks/filters.py --items 1000000 --users 50

On a converted model the users are those of a dataset's test split; with --items the corpus is made up, clustered vectors and inner
products as scores. Items pass at random, by `available`, or by category: a random set of categories that holds the share. Per share: how
many of the exact 200 best passing items the filtered search returns, the items it scores, and processor times of one user per call, in
turn: the walk without a filter, the filtered search as it chooses itself, always walking, and always scanning what passes. Everything in
the fused form.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hnswlib
import numpy as np
import tensorflow as tf

from nann.index import Embeddings, Graph, build_hnsw, decode_hnsw
from nann.retrieval import BeamRetriever, FilteredRetriever, FilterTables, FusedSearch, SearchParameters
from nann.retrieval.filters import exact_limit

SHARES = (1.0, 0.5, 0.2, 0.1, 0.01, 0.001)
TOP_K, DIM = 200, 64
PROGRAM = "param matrix\nmatmul r1 r0 p0 - -\nresult r1\n"


def built(vectors: np.ndarray, cache: Path | None) -> Graph:
    """The graph over the vectors, kept in a file for the next time."""
    path = None if cache is None else cache / f"hnsw-{len(vectors)}.bin"
    if path is not None and path.is_file():
        hnsw = hnswlib.Index("l2", vectors.shape[1])
        hnsw.load_index(str(path))
        return decode_hnsw(hnsw, start_level=2)
    begin = time.perf_counter()
    hnsw = build_hnsw(vectors, m=32, ef_construction=100, threads=os.cpu_count() or 1)
    print(f"graph built in {time.perf_counter() - begin:.0f} s")
    if path is not None:
        hnsw.save_index(str(path))
    return decode_hnsw(hnsw, start_level=2)


class MeanScorer:
    """The inner product of an item and the mean of the history."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._table = tf.Variable(np.concatenate([np.zeros_like(vectors[:1]), vectors]), trainable=False)

    def user_state(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (tf.reduce_mean(tf.gather(self._table, item_rows), axis=1),)

    def score(self, user_state: tuple[tf.Tensor, ...], items: tf.Tensor) -> tf.Tensor:
        return tf.linalg.matvec(items, user_state[0])


def made_up(items: int, cache: Path | None) -> dict[str, Any]:
    """Clustered vectors, categories that are clusters, users with histories of three of them, inner products as scores."""
    rng, clusters = np.random.default_rng(1), 1000
    cluster = rng.integers(0, clusters, items)
    vectors = (rng.normal(size=(clusters, DIM))[cluster] + 0.7 * rng.normal(size=(items, DIM))).astype(np.float32)
    graph = built(vectors, cache)
    of_cluster = np.split(np.argsort(cluster, kind="stable") + 1, np.cumsum(np.bincount(cluster, minlength=clusters))[:-1])
    liked = rng.integers(0, clusters, size=(256, 3))
    histories = np.array([[rng.choice(of_cluster[one]) for one in rng.choice(user, 30)] for user in liked])
    return {
        "scorer": MeanScorer(vectors),
        "search": FusedSearch(PROGRAM, lambda user: [user[:, :, tf.newaxis]]),
        "embeddings": Embeddings(item_rows=np.arange(1, items + 1), vectors=vectors),
        "graph": graph,
        "categories": np.append([0], cluster + 1),
        "histories": histories,
        "cates": np.ones_like(histories),
        "memory": None,
        "inputs": {},
        "parameters": SearchParameters(ef=(300, 300, 300), rounds=(8, 2, 1), top_k=TOP_K),
    }


def of_model(converted_model: Path, dataset: Path, users: int) -> dict[str, Any]:
    """The parts of a converted model, and users of its dataset."""
    from nann.artifacts import open_artifact
    from nann.dataset import Dataset
    from nann.export import ConvertedModel, lower_frozen

    model, data = ConvertedModel(converted_model), Dataset(dataset)
    params = open_artifact(converted_model, step="rewrite").params
    samples = data.samples("test", inputs=tuple(model.inputs)).draw(users, seed=1)
    histories, items = samples.histories.astype(np.int64), data.items()
    lowered = lower_frozen(model.scorer.graph_def)
    return {
        "scorer": model.scorer,
        "search": FusedSearch(lowered.program, lowered.parameters),
        "embeddings": model.corpus[0],
        "graph": model.corpus[1],
        "categories": items.category_rows,
        "histories": histories,
        "cates": items.category_rows[histories].astype(np.int64),
        "memory": model.memory,
        "inputs": samples.inputs,
        "parameters": SearchParameters(ef=tuple(params["ef"]), rounds=tuple(params["rounds"]), top_k=TOP_K),
    }


def random_categories(categories: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Rows of categories that hold about a share of the items together."""
    sizes = np.bincount(categories[1:])
    sizes[0] = 0
    order = rng.permutation(np.flatnonzero(sizes))
    held = np.cumsum(sizes[order]) / (len(categories) - 1)
    return order[: max(1, int(np.argmin(np.abs(held - share))) + 1)]


class Measured:
    """The search of one corpus with several limits.

    Args:
        parts: of `made_up` or `of_model`.
    """

    def __init__(self, parts: dict[str, Any]) -> None:
        self.parts, rows = parts, parts["embeddings"].item_rows
        self.tables = FilterTables.create(rows, parts["categories"], int(parts["categories"].max()))
        common = {"search": parts["search"], "memory": parts["memory"]}
        parameters: SearchParameters = parts["parameters"]
        given = parts["scorer"], parts["embeddings"], parts["graph"]
        limits = {"chosen": exact_limit(parameters.ef, len(rows)), "walk": -1, "scan": len(rows)}
        self.limit = limits["chosen"]
        self.calls = {name: FilteredRetriever(*given, self.tables, parameters, limit=limit, **common) for name, limit in limits.items()}
        self.unfiltered = BeamRetriever(*given, **vars(parameters), **common)

    def ask(self, name: str, users: slice, wanted: np.ndarray) -> Any:
        """One call for some users who name the categories wanted [C]."""
        rows, cates = self.parts["histories"][users], self.parts["cates"][users]
        inputs = {key: value[users] for key, value in self.parts["inputs"].items()}
        if name == "unfiltered":
            return self.unfiltered(rows, cates, **inputs)
        return self.calls[name](rows, cates, category_rows=np.tile(wanted, (len(rows), 1)).astype(np.int64), **inputs)

    def set_available(self, available: np.ndarray) -> None:
        """By item row."""
        self.tables.assign(tf.constant(available), tf.zeros([len(available)]))


def coverage(measured: Measured, wanted: np.ndarray, users: int, batch: int = 4) -> dict[str, tuple[float, float]]:
    """Per way of searching: share of the exact answer that is returned, and items scored per user."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("chosen", "walk")}
    for first in range(0, users, batch):
        some = slice(first, min(first + batch, users))
        exact = measured.ask("scan", some, wanted).item_rows
        for name, results in found.items():
            answer = measured.ask(name, some, wanted)
            for ours, theirs, scored in zip(answer.item_rows, exact, answer.items_scored, strict=True):
                there = theirs[theirs > 0]
                results.append((np.isin(there, ours).mean() if len(there) else 1.0, float(scored)))
    return {name: tuple(np.mean(results, axis=0)) for name, results in found.items()}  # type: ignore[misc]


def latencies(measured: Measured, wanted: np.ndarray, repetitions: int, scans: bool) -> dict[str, float]:
    """Processor milliseconds of one user per call, of all threads, the least of several, the ways in turn."""
    names = ["unfiltered", "chosen", "walk", *(["scan"] if scans else [])]
    times: dict[str, list[float]] = {name: [] for name in names}
    for repetition in range(-2, repetitions):
        for name in names:
            user = (repetition + 2) % 4 % len(measured.parts["histories"])  # few: the least is then of each way's same users
            begin = time.process_time()
            measured.ask(name, slice(user, user + 1), wanted)
            if repetition >= 0:
                times[name].append(1000 * (time.process_time() - begin))
    return {name: float(np.min(values)) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--converted-model", type=Path)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--cache", type=Path, help="with --items: directory to keep the graph in")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--shares", default=",".join(map(str, SHARES)))
    arguments = parser.parse_args()
    parts = (
        of_model(arguments.converted_model, arguments.dataset, arguments.users)
        if arguments.converted_model
        else made_up(arguments.items, arguments.cache)
    )
    measured, rng = Measured(parts), np.random.default_rng(2)
    graph: Graph = parts["graph"]
    print(f"{graph.num_nodes:,} items, {parts['parameters']}, limit {measured.limit:,}, load {os.getloadavg()[0]:.1f}")
    print("| passing | by | items | coverage@200 | items scored | walk: coverage | walk: scored | unfiltered ms | ms | walk ms | scan ms |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    count = len(parts["categories"])
    for share in map(float, arguments.shares.split(",")):
        for kind in ("random", "category"):
            available, wanted = np.ones(count, bool), np.zeros(1, np.int64)
            if kind == "random":
                available = rng.random(count) < share
            elif share < 1:
                wanted = random_categories(parts["categories"], share, rng)
            measured.set_available(available)
            passing = int(available[1:].sum()) if kind == "random" or share == 1 else int(np.isin(parts["categories"][1:], wanted).sum())
            found = coverage(measured, wanted, min(arguments.users, len(parts["histories"])))
            times = latencies(measured, wanted, arguments.repetitions, scans=True)
            figures = [
                f"{number:.4f}" if place % 2 == 0 else f"{number:,.0f}" for way in found.values() for place, number in enumerate(way)
            ]
            print(
                f"| {100 * share:g} % | {kind} | {passing:,} |",
                " | ".join(figures),
                "|",
                " | ".join(f"{ms:.2f}" for ms in times.values()),
                "|",
            )
            if share == 1:
                break


if __name__ == "__main__":
    main()
