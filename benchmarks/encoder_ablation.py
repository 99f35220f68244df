"""What each part of the default scorer and of its training brings: recall of validation users without it.

    .venv/bin/python benchmarks/encoder_ablation.py --dataset runs/log/dataset --work runs/ablation

Every variant is trained anew with every seed, its memory fitted to it, and the exact scan of the joined score, and of the encoder alone,
answers for validation users. Differences are paired, over users and seeds. What is done stays in ``--work``: called again, it goes on.
Prints a table.
"""

from __future__ import annotations

import argparse
import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import nann
from nann.config import CompareConfig
from nann.dataset import Items, Samples, load_items, load_samples
from nann.evaluation import metrics as m
from nann.evaluation.comparison import UserRanks
from nann.evaluation.scan import trained_lists
from nann.index import load_embeddings
from nann.memory.table import load_memory
from nann.models import causal, load_max_length, load_model
from nann.retrieval import HistoryScorer
from nann.steps.compare import compare_ranks
from nann.steps.evaluate import USERS_SEED

WHOLE = "nothing"
OPEN = 30.0  # a gate's logit, whose sigmoid is 1
Ranks = NDArray[np.int64]


@dataclass(frozen=True)
class Variant:
    """A training without a part.

    Attributes:
        options: of `nann train`.
        constants: of `nann.models.causal`.
        change: what is done to an encoder as soon as it is made.
    """

    options: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    change: Callable[[causal.Encoder], None] = lambda encoder: None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The scorer without the part, for as long as this lasts."""
        change = self.change

        class Changed(causal.Encoder):
            def __init__(self, *args: Any, **named: Any) -> None:
                super().__init__(*args, **named)
                change(self)

        with mock.patch.multiple(causal, Encoder=Changed, **self.constants):
            yield


def _open_gates(encoder: causal.Encoder) -> None:
    for block in encoder.blocks:
        block.attention_gate = block.forward_gate = lambda x: tf.fill(tf.shape(x), tf.constant(OPEN, x.dtype))


def _plain_forward(encoder: causal.Encoder) -> None:
    for block in encoder.blocks:
        block.up = lambda x: tf.constant(1.0, x.dtype)


def _no_distances(encoder: causal.Encoder) -> None:
    for block in encoder.blocks:
        block.distance = tf.zeros_like(block.distance)


def _linear_items(encoder: causal.Encoder) -> None:
    encoder.item_mlp = lambda embedded: tf.constant(0.0, embedded.dtype)


VARIANTS = {
    WHOLE: Variant(),
    "second encoder": Variant({"encoders": 1}),
    "second block": Variant(constants={"BLOCKS": 1}),
    "gates on what a block adds": Variant(change=_open_gates),
    "gate of the feed-forward network": Variant(change=_plain_forward),
    "bias per distance": Variant(change=_no_distances),
    "network of the items, a linear map left": Variant(change=_linear_items),
    "small first embeddings": Variant(constants={"INITIAL_SPREAD": 1.0}),
    "dropout": Variant({"dropout": 0.0}),
    "dropout of ids": Variant({"id_dropout": 0.0}),
    "weight decay": Variant({"weight_decay": 0.0}),
}


def ranks_of(variant: Variant, seed: int, run: Path, samples: Samples, items: Items, width: int, dataset: Path) -> Ranks:
    """[2, S] places of the targets in the exact lists of the joined score and of the encoder alone, from 1 up; 0: in none."""
    with variant.applied():
        nann.train(run, dataset=dataset, seed=seed, **variant.options)
        nann.extract(run, dataset=dataset)
        model = run / "model"
        scorer = HistoryScorer(load_model(model), max_length=load_max_length(model))
        corpus = load_embeddings(run / "embeddings")
        return np.stack(
            [
                m.ranks_of(
                    trained_lists(scorer, corpus, items, samples, width=width, memory=memory, label=run.name).item_rows, samples.targets
                )
                for memory in (load_memory(model), None)
            ]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="directory of the trainings and of what they found")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each variant (default: %(default)s)")
    parser.add_argument("--users", type=int, default=4000)
    parser.add_argument("--ks", default="50,200")
    parser.add_argument("--without", nargs="+", choices=[name for name in VARIANTS if name != WHOLE], help="parts; default: all")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("nann").setLevel(logging.INFO)
    ks = tuple(int(k) for k in options.ks.split(","))
    items = load_items(options.dataset)
    samples = load_samples(options.dataset, "validate", inputs=()).draw(options.users, seed=USERS_SEED)
    variants = {name: each for name, each in VARIANTS.items() if options.without is None or name in (WHOLE, *options.without)}
    found: dict[str, list[Ranks]] = {name: [] for name in variants}
    for seed in range(1, options.seeds + 1):
        for name, variant in variants.items():
            run = options.work / f"{name.replace(' ', '_').replace(',', '')}-{seed}"
            kept = run / f"ranks-{options.users}-{max(ks)}.npy"
            if not kept.exists():
                np.save(kept, ranks_of(variant, seed, run, samples, items, max(ks), options.dataset))
            found[name].append(np.load(kept))
    order = np.argsort(samples.user_ids, kind="stable")
    who = samples.user_ids[order], items.item_ids[samples.targets[order]]
    print(f"{platform.processor() or platform.machine()}, numpy {np.__version__}, tensorflow {tf.__version__}")
    print(f"{len(samples.targets):,} validation users, {options.seeds} seed(s), exact scan")
    config = CompareConfig(ks=ks, metrics=("recall",), lists="all")
    for place, of in enumerate(("with its memory", "the encoder alone")):
        each = {name: UserRanks(*who, np.stack([ranks[place][order] for ranks in of_seeds]), name) for name, of_seeds in found.items()}
        print(f"| {of}, without | " + " | ".join(f"recall@{k} | whole less it" for k in ks) + " |\n|---|" + "---|---|" * len(ks))
        for name, ranks in each.items():
            cells = []
            for paired in compare_ranks(each[WHOLE], ranks, config).figures.values():
                low, high = paired.interval
                cells.append(f"{paired.mean_b:.4f} | " + ("" if name == WHOLE else f"{paired.difference:+.4f} ({low:+.4f} to {high:+.4f})"))
            print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
