"""Export, load and serve a large corpus: time, size and memory, each form in a process of its own.

    python benchmarks/large_corpus.py --items 4000000

Vectors of 64 floats and 64 neighbours per item, both random, and a scorer with random weights: what is measured is the tables, not the
answers. The export's memory includes the arrays it is given; a served form's memory is that of a process that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

DEGREE, DIM, NUM_CATEGORIES, REQUESTS = 64, 64, 1000, 50
FORMS = ("portable", "native", "fused")
MIB = 2**20


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def export(directory: Path, items: int, scorer: str) -> dict[str, Any]:
    from nann.config import TrainConfig
    from nann.export import Catalogue, RetrievalParts, freeze_scorer, write_retrieval_graph
    from nann.export.retrieval_graph import digest_of
    from nann.index import Embeddings, Graph, NeighborLists
    from nann.models import build_model
    from nann.retrieval import HistoryScorer, SearchParameters

    rng = np.random.default_rng(0)
    model = build_model(TrainConfig(scorer=scorer, emb_dim=32), num_items=items, num_categories=NUM_CATEGORIES)
    history_scorer = HistoryScorer(model, max_length=20)
    rows = np.arange(items + 1)
    splits = np.arange(items + 1, dtype=np.int64) * DEGREE
    levels = (NeighborLists(rng.integers(0, items, size=items * DEGREE, dtype=np.int32), splits),)
    parts = RetrievalParts(
        scorer=history_scorer,
        frozen=freeze_scorer(history_scorer),
        frozen_digest=digest_of(b""),
        catalogue=Catalogue(item_ids=rows * 3, category_rows=rows % (NUM_CATEGORIES + 1), num_categories=NUM_CATEGORIES),
        embeddings=Embeddings(item_rows=rows[1:], vectors=rng.standard_normal((items, DIM), dtype=np.float32)),
        graph=Graph(enter_points=np.arange(0, items, 1000), levels=levels),
        search=SearchParameters(ef=(300,), rounds=(4,), top_k=200),
    )
    given, begin = peak_mib(), time.perf_counter()
    write_retrieval_graph(directory, parts)
    return {
        "given_mib": given,
        "export_seconds": time.perf_counter() - begin,
        "export_peak_mib": peak_mib(),
        "checkpoint_mib": (directory / "0.data-00000-of-00001").stat().st_size / MIB,
        "graph_kib": {form: (directory / "saved_model" / form / "1" / "saved_model.pb").stat().st_size / 1024 for form in FORMS},
    }


def serve(directory: Path, items: int, form: Any) -> dict[str, Any]:
    from nann.export import open_graph

    before, begin = peak_mib(), time.perf_counter()
    exported = open_graph(directory, form)
    load_seconds = time.perf_counter() - begin
    histories = np.random.default_rng(1).integers(1, items + 1, size=(REQUESTS, 1, 20))
    times, scored = [], 0
    for history in histories:
        begin = time.perf_counter()
        outputs = exported.run("debug", item_ids=history, cate_ids=np.ones_like(history))
        times.append(1000 * (time.perf_counter() - begin))
        scored += int(outputs["items_scored"][0])
    return {
        "load_seconds": load_seconds,
        "memory_mib": peak_mib() - before,
        "first_ms": times[0],
        "p50_ms": float(np.median(times[5:])),
        "items_scored": scored / REQUESTS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=4_000_000)
    parser.add_argument("--scorer", choices=["nann", "two-sided"], default="nann")
    parser.add_argument("--directory", type=Path, help="where to write; a temporary directory by default")
    parser.add_argument("--part", choices=["export", *FORMS], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        part = arguments.part
        figures = (
            export(arguments.directory, arguments.items, arguments.scorer)
            if part == "export"
            else serve(arguments.directory, arguments.items, part)
        )
        print(json.dumps(figures))
        return
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.directory or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        print(f"{arguments.items:,} items, {arguments.scorer}, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs", flush=True)
        for part in ("export", *FORMS):
            command = [sys.executable, __file__, "--part", part, "--items", str(arguments.items), "--scorer", arguments.scorer]
            done = subprocess.run([*command, "--directory", str(directory)], check=True, capture_output=True, text=True)
            print(part, done.stdout.strip().splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
