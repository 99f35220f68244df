"""Training: a step against a straightforward TensorFlow form and its floor, and the time to a recall against one history per target.

    python benchmarks/training.py --quick --json build/training.json
    python benchmarks/training.py --dataset runs/one/dataset --json build/training.json

Contenders take turns in one process; medians. Keys of the JSON file:

- ``ratio_reference``, ``ratio_reference_adversarial``: the paper's objective (NCE, negatives per sample), a step of the scorer `nann`
  against the paper's scorer written straightforwardly: gathers, attention by broadcasting over (user, item), no XLA, stock Adam;
- ``optimizer_share``: of a step over two tables of 4.16 million rows of 32, the part that updates them;
- ``step_ms``, ``floor_ms``: a step of `sequence` with one encoder, and its multiplications at the rate of a large matrix product;
- ``torch_step_ms``: the same network in PyTorch, forward, backward and AdamW, where PyTorch is installed;
- ``time_to_recall_ratio``: wall time of `nann train` with the scorer `nann`, one history per target, over that of the default scorer
  with the fewest of an eighth, a quarter, a half and all of its steps that find as much of 2,000 validation users' targets @50 and @200,
  memory and all; needs ``--dataset``.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tensorflow as tf

from data_prep.cores import available_cores
from data_prep.json_text import write_json
from nann.config import ExtractConfig, TrainConfig
from nann.dataset import Histories, Samples, load_histories, load_items, load_samples
from nann.evaluation.metrics import ranks_of
from nann.evaluation.scan import trained_lists
from nann.index import load_embeddings
from nann.memory.table import load_memory
from nann.models import build_model, load_max_length, load_model
from nann.models.causal import BLOCKS, FORWARD, ITEM_HIDDEN
from nann.retrieval import HistoryScorer
from nann.steps.evaluate import USERS_SEED
from nann.steps.extract import extract
from nann.steps.train import train
from nann.training.batches import NoiseSampler
from nann.training.packing import PackedBatches
from nann.training.step import TrainingStep, trained_variables
from ops.optimizers import LazyAdamW

ITEMS, CATEGORIES, LENGTH, BATCH, NEGATIVES = 50_000, 500, 20, 64, 199
SHARES, RECALL_USERS, RECALL_KS = (0.125, 0.25, 0.5, 1.0), 2000, (50, 200)
LARGE = 4_160_000
DIM = 32


def in_turns(runs: dict[str, Callable[[], Any]], repetitions: int) -> dict[str, float]:
    """Median milliseconds of each, after three rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(repetitions + 3):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            if round_ >= 3:
                times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: statistics.median(values) for name, values in times.items()}


def samples(items: int, seed: int = 1) -> dict[str, tf.Tensor]:
    """A batch of `nann`: histories, targets and negatives per sample."""
    rng = np.random.default_rng(seed)
    shapes = {"histories": (BATCH, LENGTH), "targets": (BATCH,), "negatives": (BATCH, NEGATIVES)}
    return {name: tf.constant(rng.integers(1, items + 1, shape), tf.int32) for name, shape in shapes.items()}


def own_step(config: TrainConfig, items: int, batch: dict[str, tf.Tensor]) -> tuple[Callable[[], Any], TrainingStep, LazyAdamW]:
    """A step of the project on one batch, again and again."""
    scorer = build_model(config, num_items=items, num_categories=CATEGORIES)
    optimizer = LazyAdamW(trained_variables(scorer), weight_decay=config.weight_decay)
    categories = tf.constant(np.arange(items + 1) % CATEGORIES + 1, tf.int32)
    noise = tf.fill([items + 1], -np.log(items).astype(np.float32))
    step = TrainingStep(scorer, optimizer, config, categories=categories, log_probability=noise, replicas=1)
    run = tf.function(lambda parts: step(parts, tf.constant(1e-3)), autograph=False)
    return lambda: run(batch)[0].numpy(), step, optimizer


class Reference(tf.Module):
    """The paper's scorer and objective as one would write them down: everything per pair of user and item."""

    def __init__(self, items: int, *, adversarial: bool) -> None:
        super().__init__()
        self._adversarial = adversarial
        generator = tf.random.Generator.from_seed(1)

        def weights(*sizes: int) -> list[tf.Variable]:
            return [tf.Variable(generator.normal([a, b], stddev=a**-0.5)) for a, b in itertools.pairwise(sizes)]

        self.tables = [tf.Variable(generator.normal([rows + 1, DIM])) for rows in (items, CATEGORIES)]
        self.item, self.query, self.key = weights(2 * DIM, 64, 64, 64), weights(64, 128, 256), weights(2 * DIM, 128, 256)
        self.top = weights(2 * DIM + 64, 128, 64, 32, 1)
        self.optimizer = tf.compat.v1.train.AdamOptimizer(1e-3)

    def network(self, x: tf.Tensor, layers: list[tf.Variable], normed: bool) -> tf.Tensor:
        for layer in layers[:-1]:
            x = tf.tensordot(x, layer, 1)
            if normed:
                mean, variance = tf.nn.moments(x, list(range(len(x.shape) - 1)))
                x = tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)
            x = tf.nn.leaky_relu(x, 0.25)
        return tf.tensordot(x, layers[-1], 1)

    def embed(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.concat([tf.gather(self.tables[0], rows), tf.gather(self.tables[1], rows % CATEGORIES + 1)], axis=-1)

    def logits(self, history: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        query, keys = self.network(items, self.query, False), self.network(history, self.key, False)
        attention = tf.nn.softmax(tf.reduce_sum(query[:, :, tf.newaxis] * keys[:, tf.newaxis], axis=-1) / 16)
        interest = tf.reduce_sum(attention[..., tf.newaxis] * history[:, tf.newaxis], axis=2)
        return self.network(tf.concat([interest, items], axis=-1), self.top, True)[..., 0]

    @tf.function(autograph=False)
    def step(self, histories: tf.Tensor, targets: tf.Tensor, negatives: tf.Tensor) -> tf.Tensor:
        candidates = tf.concat([targets[:, tf.newaxis], negatives], axis=1)
        labels = tf.one_hot(tf.zeros_like(targets), NEGATIVES + 1)
        with tf.GradientTape() as tape:
            history, items = self.embed(histories), self.network(self.embed(candidates), self.item, True)
            with tf.GradientTape(persistent=True) as inner:
                inner.watch(items)
                logits = self.logits(history, items)
                each = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits + np.log(ITEMS / NEGATIVES))
                loss = tf.reduce_mean(tf.reduce_sum(each, axis=1))
            total = loss
            if self._adversarial:
                perturbed = self.logits(history, items + 0.01 * tf.sign(tf.stop_gradient(inner.gradient(loss, items))))
                clean = tf.nn.log_softmax(tf.stop_gradient(logits))
                total += tf.reduce_mean(tf.reduce_sum(tf.exp(clean) * (clean - tf.nn.log_softmax(perturbed)), axis=1))
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        return loss


def against_the_reference(repetitions: int) -> dict[str, float]:
    batch, runs = samples(ITEMS), {}
    for name, eps in (("", 0.0), ("_adversarial", 0.01)):
        config = TrainConfig(scorer="nann", emb_dim=DIM, negatives="per-sample", loss="nce", adv_eps=eps, num_neg=NEGATIVES)
        reference = Reference(ITEMS, adversarial=eps > 0)
        runs[f"nann{name}"] = own_step(config, ITEMS, batch)[0]
        runs[f"reference{name}"] = lambda reference=reference: reference.step(**batch).numpy()
    medians = in_turns(runs, repetitions)
    for name, value in medians.items():
        print(f"{name:24} {value:8.1f} ms a step of {BATCH} samples with {NEGATIVES} negatives each")
    return {f"ratio_reference{name}": medians[f"reference{name}"] / medians[f"nann{name}"] for name in ("", "_adversarial")}


def share_of_the_optimizer(repetitions: int) -> dict[str, float]:
    """A step over large tables with its updates and without."""
    config = TrainConfig(scorer="nann", emb_dim=DIM, negatives="per-sample", loss="nce", num_neg=NEGATIVES)
    batch = samples(LARGE)
    run, step, optimizer = own_step(config, LARGE, batch)
    scorer = step._scorer
    rows = tf.unique(tf.concat([tf.reshape(part, [-1]) for part in batch.values()], axis=0))[0]
    sparse = [
        tf.IndexedSlices(tf.ones([size, DIM]), index) for index in (rows, tf.unique(rows % CATEGORIES + 1)[0]) for size in (len(index),)
    ]
    gradients = [*sparse, *(tf.zeros_like(variable) for variable in scorer.network_variables)]
    update = tf.function(lambda: optimizer.apply(gradients, tf.constant(1e-3)), autograph=False)
    medians = in_turns({"step": run, "update": update}, repetitions)
    print(f"over {LARGE:,} rows of {DIM}: {medians['step']:.1f} ms a step, {medians['update']:.2f} ms to update {len(rows):,} of them")
    return {"optimizer_share": medians["update"] / medians["step"]}


def packed_batch(config: TrainConfig) -> dict[str, np.ndarray]:
    """The first batch of users with 2 to 40 events."""
    rng = np.random.default_rng(1)
    splits = np.concatenate([[0], np.cumsum(rng.integers(2, 41, 500))]).astype(np.int64)
    histories = Histories(rng.integers(1, ITEMS + 1, splits[-1]).astype(np.int32), splits, 1)
    noise = NoiseSampler(np.concatenate([[0], np.ones(ITEMS, np.int64)]))
    return PackedBatches(histories, max_length=50, sampler=noise, config=config).parts(0)


def step_of_one_encoder(repetitions: int) -> dict[str, float]:
    config = TrainConfig(encoders=1)
    parts = packed_batch(config)
    size, (rows, width) = 64, parts["histories"].shape
    positions, candidates = rows * width, rows * width + config.num_neg
    dense = BLOCKS * (6 + 3 * FORWARD) * size * size + 2 * config.emb_dim * size + size * size
    attention = BLOCKS * 2 * width * size
    items = 2 * config.emb_dim * (size + ITEM_HIDDEN) + ITEM_HIDDEN * size
    flops = 3 * 2 * (positions * (dense + attention) + candidates * items + positions * candidates * size)
    left, right = (tf.random.normal([1024, 1024]) for _ in range(2))
    product = tf.function(lambda: tf.matmul(left, right), jit_compile=False)
    batch = {name: tf.constant(part) for name, part in parts.items()}
    runs: dict[str, Callable[[], Any]] = {"sequence": own_step(config, ITEMS, batch)[0], "product": lambda: product().numpy()}
    if (torch_step := in_torch(parts, config)) is not None:
        runs["torch"] = torch_step
    medians = in_turns(runs, repetitions)
    rate = 2 * 1024**3 / medians["product"] / 1e6
    targets = int((parts["weights"] > 0).sum())
    figures = {"step_ms": medians["sequence"], "floor_ms": flops / rate / 1e6, "targets_per_s": 1e3 * targets / medians["sequence"]}
    print(
        f"sequence: {figures['step_ms']:.1f} ms a step of {targets} targets ({figures['targets_per_s']:,.0f} targets/s), "
        f"{flops / 1e9:.2f} GFLOP, {figures['floor_ms']:.1f} ms at {rate:.0f} GFLOP/s"
    )
    if torch_step is None:
        print("PyTorch is not installed")
    else:
        figures["torch_step_ms"] = medians["torch"]
        print(f"PyTorch: {medians['torch']:.1f} ms a step")
    return figures


def in_torch(parts: dict[str, np.ndarray], config: TrainConfig) -> Callable[[], float] | None:
    """A step of the same network on the same batch in PyTorch; None where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(1)
    torch.set_num_threads(available_cores())
    size, dim = 64, config.emb_dim

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList([nn.RMSNorm(size), nn.RMSNorm(size)])
            self.qkv, self.mixed, self.gates = (
                nn.Linear(size, 3 * size, bias=False),
                nn.Linear(size, size, bias=False),
                nn.Linear(size, 2 * size),
            )
            self.up, self.down = nn.Linear(size, 2 * FORWARD * size, bias=False), nn.Linear(FORWARD * size, size, bias=False)

        def forward(self, x: Any, mask: Any) -> Any:
            shape = (x.shape[0], x.shape[1], 3, 4, size // 4)
            queries, keys, values = self.qkv(self.norms[0](x)).reshape(shape).permute(2, 0, 3, 1, 4)
            read = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask).transpose(1, 2).reshape(x.shape)
            gates = torch.sigmoid(self.gates(x))
            x = x + functional.dropout(self.mixed(read) * gates[..., :size], config.dropout)
            gate, up = self.up(self.norms[1](x)).chunk(2, dim=-1)
            return x + functional.dropout(self.down(functional.silu(gate) * up) * gates[..., size:], config.dropout)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.items, self.categories = (nn.Embedding(rows + 1, dim, sparse=True) for rows in (ITEMS, CATEGORIES))
            self.first, self.skip = nn.Linear(2 * dim, size, bias=False), nn.Linear(2 * dim, size, bias=False)
            self.item = nn.Sequential(nn.Linear(2 * dim, ITEM_HIDDEN), nn.PReLU(ITEM_HIDDEN), nn.Linear(ITEM_HIDDEN, size))
            self.blocks = nn.ModuleList([Block() for _ in range(BLOCKS)])
            self.norm, self.last = nn.RMSNorm(size), nn.Linear(size, size)

        def embed(self, rows: Any) -> Any:
            return torch.cat([self.items(rows), self.categories(rows % CATEGORIES + 1)], dim=-1)

        def forward(self, histories: Any, mask: Any, candidates: Any) -> Any:
            x = self.first(self.embed(histories))
            for block in self.blocks:
                x = block(x, mask)
            embedded = self.embed(candidates)
            return self.last(self.norm(x)).reshape(-1, size) @ (self.item(embedded) + self.skip(embedded)).T

    network = Network()
    dense = [parameter for name, parameter in network.named_parameters() if name not in ("items.weight", "categories.weight")]
    optimizers = [torch.optim.AdamW(dense, lr=1e-3), torch.optim.SparseAdam([network.items.weight, network.categories.weight], lr=1e-3)]
    histories, segments, targets = (torch.from_numpy(parts[name].astype(np.int64)) for name in ("histories", "segments", "targets"))
    mask = ((segments[:, :, None] == segments[:, None, :]) & torch.ones(2 * [histories.shape[1]]).tril().bool())[:, None]
    flat, whose = targets.reshape(-1), segments.reshape(-1)
    candidates = torch.cat([flat, torch.from_numpy(parts["negatives"][0].astype(np.int64))])
    ignored = (candidates[None] == flat[:, None]) | (candidates[None] == 0)
    ignored[:, : len(flat)] |= whose[None] == whose[:, None]
    ignored[torch.arange(len(flat)), torch.arange(len(flat))] = False
    weights = torch.from_numpy(parts["weights"]).reshape(-1)

    def step() -> float:
        for optimizer in optimizers:
            optimizer.zero_grad()
        logits = network(histories, mask, candidates).masked_fill(ignored, -1e9)
        loss = (functional.cross_entropy(logits, torch.arange(len(flat)), reduction="none") * weights).sum() / weights.sum()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return float(loss)

    return step


def time_to_recall(dataset: Path) -> dict[str, float]:
    """Trains `nann` on one history per target, then `sequence` with more and more steps until it finds as much, each with its memory."""
    before = TrainConfig(scorer="nann", emb_dim=32, max_length=20, epochs=3)
    users = load_samples(dataset, "validate").draw(RECALL_USERS, seed=USERS_SEED)
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        goal, seconds["nann"] = _trained(dataset, Path(directory) / "nann", before, users)
        steps = sequence_steps(dataset)
        for share in SHARES:
            config = TrainConfig(max_steps=max(1, int(share * steps)))
            found, seconds["sequence"] = _trained(dataset, Path(directory) / f"sequence-{share:g}", config, users)
            if all(found[k] >= goal[k] for k in goal):
                return {"time_to_recall_ratio": seconds["nann"] / seconds["sequence"]}
    return {}


def sequence_steps(dataset: Path) -> int:
    """Steps of the default training."""
    config = TrainConfig()
    sampler = NoiseSampler(load_items(dataset).train_counts)
    return PackedBatches(load_histories(dataset), max_length=config.max_length, sampler=sampler, config=config).steps


def _trained(dataset: Path, model: Path, config: TrainConfig, users: Samples) -> tuple[dict[int, float], float]:
    """Recall@K of a model trained anew, by the exact scan, and the wall time of its training, memory and all."""
    begin = time.perf_counter()
    train(dataset=dataset, model=model, config=config)
    seconds = time.perf_counter() - begin
    scorer, items = HistoryScorer(load_model(model), max_length=load_max_length(model)), load_items(dataset)
    embeddings = model.with_name(f"{model.name}-embeddings")
    extract(model=model, dataset=dataset, embeddings=embeddings, config=ExtractConfig())
    lists = trained_lists(
        scorer, load_embeddings(embeddings), items, users, width=max(RECALL_KS), memory=load_memory(model), label=model.name
    )
    ranks = ranks_of(lists.item_rows, users.targets)
    found = {k: float(np.mean((ranks > 0) & (ranks <= k))) for k in RECALL_KS}
    print(f"{model.name}: {seconds:.0f} s, " + ", ".join(f"recall@{k} {value:.4f}" for k, value in found.items()), flush=True)
    return found, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--dataset", type=Path, help="artifact of `nann convert`, for the time to a recall")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    repetitions = 10 if arguments.quick else 60
    print(
        f"{platform.processor() or platform.machine()}, {available_cores()} cores, load {os.getloadavg()[0]:.1f}, "
        f"TensorFlow {tf.__version__}, {repetitions} repetitions"
    )
    figures = against_the_reference(repetitions) | share_of_the_optimizer(repetitions) | step_of_one_encoder(repetitions)
    if arguments.dataset:
        figures |= time_to_recall(arguments.dataset)
    for name, value in figures.items():
        print(f"{name:30} {value:10.3f}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
