"""What a smaller served model costs: recall, latency and bytes of one trained model exported in several ways, and of smaller models.

    python benchmarks/served_model.py                              # a small model of a generated log, trained first
    python benchmarks/served_model.py --dataset runs/one/dataset --model nann=runs/one/model --model distilled=runs/small/model

Of the first model every way to shrink it is exported, of the others what they are. Recall is that of the exported graph and of the exact
scan, on test users; latency is one user per request, one client, all graphs loaded at once and taking turns; bytes are those of the native
SavedModel (of the portable one without the native library), and of the scorer in it: its graph with the networks' weights.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from data_prep.config import ConvertConfig, GenerateConfig
from data_prep.generate import generate_log
from nann.benchmarking.load import Load, join_loads, run_load, summarize
from nann.config import BuildIndexConfig, EvaluateConfig, ExtractConfig, RewriteConfig, TrainConfig
from nann.dataset import load_items, load_samples
from nann.export import open_graph, served_inputs
from nann.export.retrieval_graph import SAVED_MODELS
from nann.steps.build_index import build_index
from nann.steps.convert import convert
from nann.steps.evaluate import evaluate
from nann.steps.extract import extract
from nann.steps.rewrite import rewrite
from nann.steps.train import train
from ops import retrieval as native_ops

VARIANTS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16 tables": {"table_precision": "bfloat16"},
    "int8 tables": {"table_precision": "int8"},
    "bfloat16 tables and weights": {"precision": "bfloat16"},
    "int8 tables and weights": {"precision": "int8"},
    "a quarter of the units pruned": {"prune": 0.25},
    "half of the units pruned": {"prune": 0.5},
    "three quarters of the units pruned": {"prune": 0.75},
    "int8 tables, half of the units pruned": {"table_precision": "int8", "prune": 0.5},
}


def small_run(root: Path) -> tuple[Path, dict[str, Path]]:
    """A generated log, a model of it, and a two-sided model taught by that one."""
    log, dataset = root / "log.csv", root / "dataset"
    generate_log(log, GenerateConfig(users=3000, items=4000, categories=100, seed=1))
    convert(inputs=[log], dataset=dataset, config=ConvertConfig())
    models = {name: root / name / "model" for name in ("nann", "distilled", "two-sided")}
    common: dict[str, Any] = {"max_steps": 600, "validations": 0}
    train(dataset=dataset, model=models["nann"], config=TrainConfig(**common))
    train(dataset=dataset, model=models["distilled"], config=TrainConfig(scorer="two-sided", teacher=models["nann"], **common))
    train(dataset=dataset, model=models["two-sided"], config=TrainConfig(scorer="two-sided", **common))
    return dataset, models


def export(dataset: Path, models: dict[str, Path], root: Path) -> dict[str, Path]:
    """Converted models by what they are called in the table."""
    exported = {}
    for number, (name, model) in enumerate(models.items()):
        paths = {"embeddings": root / name / "embeddings", "index": root / name / "index"}
        extract(model=model, dataset=dataset, embeddings=paths["embeddings"], config=ExtractConfig())
        build_index(embeddings=paths["embeddings"], index=paths["index"], config=BuildIndexConfig())
        for variant, options in VARIANTS.items() if number == 0 else {"": {}}.items():
            label = f"{name}, {variant}" if variant else name
            exported[label] = root / name / (variant.replace(" ", "-") or "converted_model")
            rewrite(model=model, dataset=dataset, **paths, converted_model=exported[label], config=RewriteConfig(**options))
    return exported


def measure(exported: dict[str, Path], dataset: Path, *, seconds: float, blocks: int) -> dict[str, dict[str, float]]:
    """Latency per graph: all take turns in blocks of equal length."""
    form = "native" if native_ops.available() else "portable"
    read = {label: tuple(served_inputs(path)) for label, path in exported.items()}
    samples = load_samples(dataset, "test", inputs=tuple(dict.fromkeys(name for names in read.values() for name in names)))
    samples = samples.take(np.random.default_rng(1).permutation(len(samples.targets)))
    histories = samples.histories.astype(np.int64)
    arrays = {"item_ids": histories, "cate_ids": load_items(dataset).category_rows.astype(np.int64)[histories], **samples.inputs}
    graphs = {label: open_graph(path, form) for label, path in exported.items()}

    def request(label: str, number: int) -> None:
        row = number % len(histories)
        graphs[label].run("serving_default", **{key: arrays[key][row : row + 1] for key in ("item_ids", "cate_ids", *read[label])})

    loads: dict[str, list[Load]] = {label: [] for label in graphs}
    for block in range(blocks):
        for label in graphs:
            loads[label].append(
                run_load(
                    lambda number, label=label: request(label, number),
                    threads=1,
                    warmup_seconds=0 if block else 1,
                    duration_seconds=seconds / blocks,
                )
            )
    return {label: summarize(join_loads(parts), batch_size=1) for label, parts in loads.items()}


def size_bytes(path: Path) -> tuple[int, int]:
    """Of the served directory, and of the graph with the scorer's weights in it."""
    saved_model = path / SAVED_MODELS["native" if native_ops.available() else "portable"]
    files = [file for file in saved_model.rglob("*") if file.is_file() and file.parent.name != "assets.extra"]
    return sum(file.stat().st_size for file in files), (saved_model / "saved_model.pb").stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, help="a dataset; without one a log is generated and small models are trained")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=DIR", help="a trained model of it; the first is shrunk")
    parser.add_argument("--work", type=Path, help="directory for what is made, kept and used again; default: a temporary one")
    parser.add_argument("--users", type=int, default=1000, help="test users for recall (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of load per graph (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=4, help="turns the load is cut into (default: %(default)s)")
    parser.add_argument("--split", choices=("test", "validate"), default="test", help="users for recall (default: %(default)s)")
    parser.add_argument("--latency", choices=("yes", "no", "only"), default="yes", help="latency too, or alone (default: %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with tempfile.TemporaryDirectory() as directory:
        root = arguments.work or Path(directory)
        root.mkdir(parents=True, exist_ok=True)
        if arguments.dataset is None:
            dataset, models = small_run(root)
        else:
            dataset = arguments.dataset
            models = {name: Path(path) for name, _, path in (given.partition("=") for given in arguments.model)}
        began = time.perf_counter()
        exported = export(dataset, models, root)
        latency = {} if arguments.latency == "no" else measure(exported, dataset, seconds=arguments.seconds, blocks=arguments.blocks)
        print(f"{arguments.users} {arguments.split} users; one user a request, {arguments.seconds:g} s a graph in {arguments.blocks} turns")
        print()
        print("| model | recall@50 | recall@200 | coverage@200 | items scored | p50 ms | p99 ms | bytes | of them scorer |")
        print("|---|---|---|---|---|---|---|---|---|")
        for label, path in exported.items():
            figures: dict[str, Any] = {}
            if arguments.latency != "only":
                config = EvaluateConfig(
                    ks=(50, 200), split=arguments.split, max_users=arguments.users, baselines=False, curve_users=0, graph="portable"
                )
                evaluation = path.with_name(f"{path.name}-evaluation")
                figures = evaluate(converted_model=path, dataset=dataset, evaluation=evaluation, config=config).metrics
            cells = [
                *(f"{figures[name]:.3f}" if figures else "" for name in ("recall_retrieval@50", "recall_retrieval@200", "coverage@200")),
                f"{figures['items_scored_share']:.1%}" if figures else "",
                *(f"{latency[label][name]:.1f}" if latency else "" for name in ("p50_ms", "p99_ms")),
                *(f"{size:,}" for size in size_bytes(path)),
            ]
            print(f"| {label} | {' | '.join(cells)} |")
        print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
