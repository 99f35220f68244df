"""Inner products: this project's walk and scan beside hnswlib's own search, faiss and ScaNN.

    python benchmarks/two_sided.py --items 200000
    python benchmarks/two_sided.py --converted-model converted_model --dataset dataset

Vectors are those of a converted two-sided model with the histories of its test users, or random clusters. Every method answers one user
per call, on all threads it takes, in turn; the table gives the median latency from the user's vector on, the share of the exact top 200
found, and the time to build. faiss (faiss-cpu) and ScaNN (scann) are taken where they are installed, and named where they are not. Their
settings are ordinary ones, not tuned to the data.
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

import hnswlib
import numpy as np
import tensorflow as tf

from nann.config import RewriteConfig
from nann.dataset import load_items, load_samples
from nann.export import load_corpus, load_frozen_scorer
from nann.index import Embeddings, Graph, build_hnsw, decode_hnsw
from nann.retrieval import BeamRetriever, ExactRetriever, FusedSearch
from nann.retrieval.inner_product import is_inner_product

K = 200
Search = Callable[[np.ndarray], np.ndarray]


class UserVector:
    """A scorer whose history is the user's vector already: it comes in as bits, since histories are integers."""

    def user_state(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (tf.bitcast(tf.cast(item_rows, tf.int32), tf.float32),)

    def score(self, user_state: tuple[tf.Tensor, ...], items: tf.Tensor) -> tf.Tensor:
        return tf.linalg.matvec(items, user_state[0])


# the same as a program
INNER_PRODUCT = FusedSearch("param matrix\nmatmul r1 r0 p0 - -\nresult r1\n", lambda user: [user[:, :, tf.newaxis]])


def ours(retriever: Any) -> Search:
    def search(user: np.ndarray) -> np.ndarray:
        bits = user[np.newaxis].view(np.int32).astype(np.int64)
        return retriever(bits, np.zeros_like(bits)).item_rows[0] - 1

    return search


def with_hnswlib(vectors: np.ndarray, ef: int) -> Search:
    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(max_elements=len(vectors), M=32, ef_construction=200, random_seed=1)
    index.add_items(vectors, num_threads=os.cpu_count() or 1)
    index.set_ef(ef)
    return lambda user: index.knn_query(user[np.newaxis], k=K)[0][0].astype(np.int64)


def with_faiss(vectors: np.ndarray, kind: str) -> Search:
    import faiss

    index = faiss.index_factory(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    if kind.startswith("HNSW"):
        index.hnsw.efSearch = 400
    elif kind.startswith("IVF"):
        index.nprobe = 32
    return lambda user: index.search(user[np.newaxis], K)[1][0]


def with_scann(vectors: np.ndarray) -> Search:
    # Only its pybind form is used; its TensorFlow ops are built for another TensorFlow and would fail to load.
    sys.modules.setdefault("scann.scann_ops.py.scann_ops", None)  # type: ignore[arg-type]
    import scann

    leaves = int(np.sqrt(len(vectors)))
    builder = scann.scann_ops_pybind.builder(vectors, K, "dot_product")
    builder = builder.tree(num_leaves=leaves, num_leaves_to_search=leaves // 8, training_sample_size=min(len(vectors), 100_000))
    searcher = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(4 * K).build()
    return lambda user: searcher.search(user)[0].astype(np.int64)


def corpus(arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, Graph]:
    """Item vectors, user vectors, and the graph over the items."""
    if arguments.converted_model:
        embeddings, graph = load_corpus(arguments.converted_model / "0.meta")
        scorer = load_frozen_scorer(arguments.converted_model / "frozen_graph.pb")
        if not is_inner_product(scorer, embeddings, scorer.inputs):
            raise SystemExit(f"{arguments.converted_model} is no two-sided model; train one with --scorer two-sided")
        samples = load_samples(arguments.dataset, "test", inputs=scorer.inputs).take(slice(arguments.users))
        histories = samples.histories.astype(np.int64)
        categories = load_items(arguments.dataset).category_rows.astype(np.int64)[histories]
        return embeddings.vectors, scorer.user_state(tf.constant(histories), tf.constant(categories), **samples.inputs)[0].numpy(), graph
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(200, 64))
    vectors = (centres[rng.integers(0, 200, arguments.items)] + 0.7 * rng.normal(size=(arguments.items, 64))).astype(np.float32)
    users = (centres[rng.integers(0, 200, arguments.users)] + 0.5 * rng.normal(size=(arguments.users, 64))).astype(np.float32)
    index = build_hnsw(vectors, m=32, ef_construction=200, threads=os.cpu_count() or 1)
    return vectors, users, decode_hnsw(index, start_level=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--converted-model", type=Path)
    parser.add_argument("--dataset", type=Path)
    arguments = parser.parse_args()
    if bool(arguments.converted_model) != bool(arguments.dataset):
        parser.error("--converted-model and --dataset go together")
    vectors, users, graph = corpus(arguments)
    print(f"{len(vectors):,} items, {len(users)} users, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs\n")
    embeddings = Embeddings(item_rows=np.arange(1, len(vectors) + 1), vectors=vectors)
    scorer, defaults = UserVector(), RewriteConfig()
    walk: dict[str, Any] = {"ef": defaults.ef, "rounds": defaults.rounds, "top_k": K}
    makers: dict[str, Callable[[], Search]] = {
        "exact scan (fused)": lambda: ours(ExactRetriever(scorer, embeddings, top_k=K, search=INNER_PRODUCT)),
        "walk (fused), the defaults": lambda: ours(BeamRetriever(scorer, embeddings, graph, search=INNER_PRODUCT, **walk)),
        "hnswlib, M 32, ef 400": lambda: with_hnswlib(vectors, 400),
        "hnswlib, M 32, ef 1000": lambda: with_hnswlib(vectors, 1000),
        "faiss, flat": lambda: with_faiss(vectors, "Flat"),
        "faiss, HNSW 32, ef 400": lambda: with_faiss(vectors, "HNSW32"),
        "faiss, IVF, 32 probes": lambda: with_faiss(vectors, f"IVF{int(4 * np.sqrt(len(vectors)))},Flat"),
        "ScaNN, an eighth of the leaves": lambda: with_scann(vectors),
    }
    searches: dict[str, Search] = {}
    build_seconds: dict[str, float] = {}
    for name, make in makers.items():
        begin = time.perf_counter()
        try:
            searches[name] = make()
        except (ImportError, tf.errors.NotFoundError) as error:  # not installed, or built for another TensorFlow
            print(f"left out: {name} ({str(error).splitlines()[0]})")
        build_seconds[name] = time.perf_counter() - begin
    exact = np.argsort(-(users @ vectors.T), axis=1, kind="stable")[:, :K]
    times: dict[str, list[float]] = {name: [] for name in searches}
    found: dict[str, list[float]] = {name: [] for name in searches}
    for search in searches.values():
        search(users[0])
    for number, user in enumerate(users):
        for name, search in searches.items():
            begin = time.perf_counter()
            positions = search(user)
            times[name].append(1000 * (time.perf_counter() - begin))
            found[name].append(len(np.intersect1d(positions, exact[number])) / K)
    print("| method | median ms | p90 ms | of the exact top 200 | build s |\n|---|---|---|---|---|")
    for name, values in times.items():
        median, high = np.percentile(values, [50, 90])
        print(f"| {name} | {median:.2f} | {high:.2f} | {np.mean(found[name]):.4f} | {build_seconds[name]:.1f} |")


if __name__ == "__main__":
    main()
