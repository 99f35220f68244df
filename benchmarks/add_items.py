"""What it takes to add items to a large corpus: time and memory of `nann add-items` on a service, in a process of its own.

    python benchmarks/add_items.py --items 1000000 --directory runs/many
    python benchmarks/add_items.py --items 200000 --directory runs/built --built

The corpus is made up: the default scorer with random weights, categories as clusters, a memory of random pairs. With --built the graph is
that of `nann build-index`; otherwise it is made up, too, because building takes long: the links of an item are random ones of its own
category and some others, as many as a built graph has. The file of a second call adds further items to the version that the first one
published.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hnswlib
import numpy as np

from data_prep.config import ConvertConfig, GenerateConfig
from data_prep.generate import generate_log
from nann.added_items import AddedItems
from nann.artifacts import Artifact, ArtifactWriter, open_artifact
from nann.config import BuildIndexConfig, ExtractConfig, RewriteConfig, TrainConfig
from nann.dataset import Dataset
from nann.dataset.added import write_with_items
from nann.index import decode_hnsw, describe_graph, save_graph, save_hnsw
from nann.memory.rules import RuleOptions
from nann.memory.table import Calibration, MemoryTable
from nann.models import build_model, save_model
from nann.service.shelf import Shelf
from nann.steps.build_index import build_index
from nann.steps.convert import convert
from nann.steps.extract import extract
from nann.steps.rewrite import rewrite

CATEGORIES, SUCCESSORS, M = 1000, 16, 32


def catalogue(root: Path, items: int) -> Artifact:
    """A dataset of a few users, and of so many items as no event speaks of."""
    generate_log(root / "log.csv", GenerateConfig(users=2 * CATEGORIES, items=4 * CATEGORIES, categories=CATEGORIES, seed=1))
    convert(inputs=[root / "log.csv"], dataset=root / "small", config=ConvertConfig(seed=1))
    data, small = Dataset(root / "small"), open_artifact(root / "small", step="convert")
    known, rng = data.items(), np.random.default_rng(0)
    count = items - len(known.item_ids) + 1
    rows = rng.integers(1, known.num_categories + 1, count).astype(np.int32)
    more = AddedItems(10**7 + np.arange(count), known.category_ids[rows], rows, {})
    writer = ArtifactWriter(root / "dataset", step="convert", params=small.params, inputs={"log:made-up": small.digest})
    with writer as directory:
        write_with_items(data, more, directory)
        for split in ("train", "validate", "test"):
            for file in data.files(split):
                os.link(file, directory / file.name)
        writer.metrics.update({**small.metrics, "num_items": items})
    return open_artifact(root / "dataset", step="convert")


def model(root: Path, dataset: Artifact) -> None:
    """The default scorer with random weights, and random pairs as its memory."""
    data, config, rng = Dataset(dataset.path), TrainConfig(), np.random.default_rng(2)
    items, categories = int(data.meta["num_items"]), int(data.meta["num_categories"])
    writer = ArtifactWriter(
        root / "model", step="train", params=config.model_dump(exclude={"allow_own_models"}), inputs={"dataset": dataset}
    )
    with writer as directory:
        save_model(build_model(config, num_items=items, num_categories=categories), directory, config=config, max_length=50)
        splits = np.append([0], np.arange(items + 1) * SUCCESSORS).astype(np.int64)
        successors = np.sort(rng.integers(1, items + 1, (items, SUCCESSORS), dtype=np.int32), axis=1).reshape(-1)
        counts, totals = np.ones(len(successors), np.float32), np.full(items + 1, float(SUCCESSORS))
        of_items = np.append([0], np.full(items, 5)).astype(np.int64)
        MemoryTable(splits, successors, counts, totals, of_items, RuleOptions(), Calibration(), 50).save(directory)


def made_up_index(root: Path) -> None:
    """An index whose links are random, most of them within the item's category."""
    embeddings, rng = open_artifact(root / "embeddings", step="extract"), np.random.default_rng(3)
    vectors = np.load(root / "embeddings" / "item_embs.npy")
    count, dim = vectors.shape
    categories = Dataset(root / "dataset").items().category_rows[1:]
    order = np.argsort(categories, kind="stable")
    sizes = np.bincount(categories)
    begins = (np.cumsum(sizes) - sizes)[categories]
    within = order[begins[:, np.newaxis] + (rng.random((count, 2 * M)) * sizes[categories][:, np.newaxis]).astype(np.int64)]
    within[:, ::8] = rng.integers(0, count, within[:, ::8].shape)
    levels = np.minimum(rng.geometric(1 - 1 / M, count) - 1, 3).astype(np.int32)
    small = hnswlib.Index("l2", dim)
    small.init_index(max_elements=1, M=M, ef_construction=200)
    small.add_items(vectors[:1], [0])
    state = small.__getstate__()[0]
    record = np.dtype({"names": ["count", "links", "vector", "label"], "formats": ["<u4", ("<u4", 2 * M), ("<f4", dim), "<u8"],
                       "offsets": [0, 4, 4 + 8 * M, 4 + 8 * M + 4 * dim], "itemsize": 12 + 8 * M + 4 * dim})  # fmt: skip
    records = np.zeros(count, record)
    records["count"], records["links"], records["vector"], records["label"] = 2 * M, within, vectors, np.arange(count)
    upper, owners = [], np.repeat(np.arange(count), levels)
    height = np.arange(len(owners)) - np.repeat(np.cumsum(levels) - levels, levels) + 1
    for level in range(1, int(levels.max()) + 1):
        nodes = np.flatnonzero(levels >= level)
        upper.append(rng.choice(nodes, (int((height == level).sum()), M)))
    lists = np.zeros((len(owners), 1 + M), "<u4")
    lists[:, 0] = M
    for level, links in enumerate(upper, 1):
        lists[height == level, 1:] = links
    state |= {
        "max_elements": count,
        "cur_element_count": count,
        "max_level": int(levels.max()),
        "enterpoint_node": int(np.argmax(levels)),
        "data_level0": records.view(np.uint8).view(np.int8),
        "link_lists": lists.view(np.uint8).view(np.int8).reshape(-1),
        "element_levels": levels,
        "label_lookup_external": np.arange(count, dtype=np.uint64),
        "label_lookup_internal": np.arange(count, dtype=np.uint32),
    }
    hnsw = hnswlib.Index(state)
    writer = ArtifactWriter(root / "index", step="build-index", params=BuildIndexConfig().model_dump(), inputs={"embeddings": embeddings})
    with writer as directory:
        graph = decode_hnsw(hnsw, start_level=2)
        save_hnsw(hnsw, directory / "hnsw.bin")
        save_graph(graph, directory)
        writer.metrics.update(describe_graph(graph))


def run_directory(root: Path, items: int, *, built: bool) -> None:
    """A service with a version of so many items in it."""
    paths = {name: root / name for name in ("model", "dataset", "embeddings", "index")}
    model(root, catalogue(root, items))
    extract(model=paths["model"], dataset=paths["dataset"], embeddings=paths["embeddings"], config=ExtractConfig())
    if built:
        build_index(embeddings=paths["embeddings"], index=paths["index"], config=BuildIndexConfig(threads=os.cpu_count() or 1))
    else:
        made_up_index(root)
    began = time.perf_counter()
    rewrite(**paths, converted_model=root / "converted_model", config=RewriteConfig())
    print(f"rewrite {time.perf_counter() - began:.1f} s", flush=True)
    steps = {"dataset": "convert", "model": "train", "index": "build-index", "converted_model": "rewrite"}
    artifacts = {name: open_artifact(root / name, step=step) for name, step in steps.items()}
    Shelf(root / "service").require(create=True).publish(artifacts, expected=None, keep=2)


def add(root: Path, number: int, added: int) -> None:
    """Adds items in a process of its own, and prints what it took."""
    data, rng = Dataset(root / "dataset").items(), np.random.default_rng(number)
    categories = data.category_ids[rng.integers(1, data.num_categories + 1, added)].tolist()
    lines = [f"{2 * 10**7 + 10**6 * number + place},{category}\n" for place, category in enumerate(categories)]
    file = root / f"new-{number}.csv"
    file.write_text("item_id,category_id\n" + "".join(lines))
    command = [sys.executable, "-m", "pipelines.cli", "add-items", "--items", str(file), "--service", str(root / "service"), "--keep", "2"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*command, "--output-root", str(root / f"added-{number}")], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{added:,} items: {time.perf_counter() - began:.1f} s, {processor:.1f} s of processors, peak {after.ru_maxrss / 2**20:.1f} GiB, "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--added", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--built", action="store_true")
    parser.add_argument("--directory", type=Path, required=True, help="where to write; the corpus that is there is taken")
    arguments = parser.parse_args()
    root: Path = arguments.directory
    root.mkdir(parents=True, exist_ok=True)
    if not (root / "service").is_dir():
        run_directory(root, arguments.items, built=arguments.built)
    for _ in range(arguments.calls):
        add(root, 1 + len(list(root.glob("added-*"))), arguments.added)


if __name__ == "__main__":
    main()
