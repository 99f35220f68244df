"""What each part of the memory brings to trained models: their recall without it, the rest fitted again.

    .venv/bin/python benchmarks/memory_ablation.py --dataset runs/log/dataset --runs runs/log-1 runs/log-2 runs/log-3

Each run directory holds ``model`` and ``embeddings``. The held-out users of each training are drawn again as `nann train` drew them, the
weights are fitted to them without one part, and the exact scan answers for users of ``--split``. Differences are paired, over users and
seeds. Prints a table.
"""

from __future__ import annotations

import argparse
import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nann.artifacts import open_artifact, require_same_ancestor
from nann.config import CompareConfig
from nann.dataset import Items, Samples, load_histories, load_items, load_samples
from nann.evaluation import metrics as m
from nann.evaluation.comparison import UserRanks
from nann.evaluation.scan import trained_lists
from nann.index import load_embeddings
from nann.memory.calibration import Examples
from nann.memory.table import Calibration, MemoryTable, load_memory
from nann.models import load_max_length, load_model, options_of
from nann.retrieval import HistoryScorer
from nann.steps.compare import compare_ranks
from nann.steps.evaluate import USERS_SEED
from nann.train_config import TrainConfig
from nann.training.memory import count_table, divide_users, fit_to_lists, held_out_moments
from nann.training.memory_examples import ExampleMaker

WHOLE = "whole"
OF_CATEGORIES = ("category_gain", "log_d")
NOTHING = -30.0  # logarithm of a weight that is as good as 0


@dataclass(frozen=True)
class Part:
    """How to do without a part: what of the examples and of the calibration is taken away before the rest is fitted.

    Attributes:
        examples: the examples without it.
        start: values of the calibration that stand for its absence.
        fixed: those of its names that are not fitted.
        category: whether the table keeps its part of categories.
    """

    examples: Callable[[Examples], Examples] = lambda examples: examples
    start: Calibration = field(default_factory=Calibration)
    fixed: tuple[str, ...] = ()
    category: bool = True


def _flat(name: str, value: float) -> Calibration:
    return replace(Calibration(), **{name: (value,) * len(getattr(Calibration(), name))})


PARTS = {
    WHOLE: Part(),
    "pairs and categories": Part(
        lambda e: replace(e, rules=np.zeros_like(e.rules)), _flat("log_gain", NOTHING), ("log_gain", "log_c", *OF_CATEGORIES)
    ),
    "categories": Part(category=False, fixed=OF_CATEGORIES),
    "the categories' own term": Part(fixed=OF_CATEGORIES),
    "own items": Part(lambda e: replace(e, ages=np.full_like(e.ages, -1)), _flat("own", 0.0), ("own",)),
    "prior by count": Part(start=_flat("prior", 0.0), fixed=("prior",)),
    "the scorer": Part(
        lambda e: replace(e, logits=np.where(e.item_rows > 0, 0, -1e4).astype(np.float32)), _flat("log_tau", NOTHING), ("log_tau",)
    ),
}


class Run:
    """One trained model and what its memory was fitted to."""

    def __init__(self, directory: Path, dataset: Path, items: Items) -> None:
        model = directory / "model"
        artifact = open_artifact(model, step="train")
        require_same_ancestor("dataset", open_artifact(dataset, step="convert"), artifact)
        config = TrainConfig(**options_of(artifact.params, model))
        memory = load_memory(model)
        if memory is None:
            raise SystemExit(f"{model} has no memory, so there is nothing to take away; train it without --memory none")
        self.memory, self._items, self._config = memory, items, config
        self._scorer, self._encoder_length = load_model(model), load_max_length(model)
        self.retriever = HistoryScorer(self._scorer, max_length=self._encoder_length)
        self.embeddings = load_embeddings(directory / "embeddings")
        histories = load_histories(dataset, inputs=tuple(self._scorer.request_inputs))
        self._users = divide_users(histories, share=config.memory_users, seed=config.seed)
        inputs = tuple(self._scorer.request_inputs)
        self._moments = held_out_moments(self._users, max_length=self._encoder_length, inputs=inputs, seed=config.seed)
        self._makers: dict[bool, ExampleMaker] = {}

    def without(self, part: Part) -> MemoryTable:
        """The memory without a part, the rest fitted again."""
        maker = self._maker(part.category)
        calibration, _ = fit_to_lists(maker, start=part.start, fixed=part.fixed, change=part.examples)
        return replace(self.memory, options=maker.table.options, calibration=calibration)

    def _maker(self, category: bool) -> ExampleMaker:
        if category not in self._makers:
            options = self.memory.options if category else replace(self.memory.options, category=0.0)
            size = {"keep": self._config.memory_successors, "max_length": self.memory.max_length}
            table = count_table(self._users.trained, self._items, options, **size)
            length = {"encoder_length": self._encoder_length, "seed": self._config.seed}
            self._makers[category] = ExampleMaker(self._scorer, table, self._moments, self._items, **length)
        return self._makers[category]

    def ranks(self, samples: Samples, memory: MemoryTable | None, width: int, label: str) -> NDArray[np.int64]:
        """[S] places of the targets in the exact lists."""
        lists = trained_lists(self.retriever, self.embeddings, self._items, samples, width=width, memory=memory, label=label)
        return m.ranks_of(lists.item_rows, samples.targets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--split", choices=["validate", "test"], default="validate")
    parser.add_argument("--users", type=int, default=4000)
    parser.add_argument("--ks", default="50,200")
    parser.add_argument("--parts", nargs="+", choices=sorted(set(PARTS) - {WHOLE}), default=[name for name in PARTS if name != WHOLE])
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("nann").setLevel(logging.INFO)
    ks = tuple(int(k) for k in options.ks.split(","))
    items = load_items(options.dataset)
    parts = {name: part for name, part in PARTS.items() if name == WHOLE or name in options.parts}
    ranks: dict[str, list[NDArray[np.int64]]] = {name: [] for name in (*parts, "the memory")}
    for directory in options.runs:
        run = Run(directory, options.dataset, items)
        inputs = tuple(run.retriever.scorer.request_inputs)
        samples = load_samples(options.dataset, options.split, inputs=inputs).draw(options.users, seed=USERS_SEED)
        for name, part in parts.items():
            ranks[name].append(run.ranks(samples, run.without(part), max(ks), f"{directory.name} without {name}"))
        ranks["the memory"].append(run.ranks(samples, None, max(ks), f"{directory.name} without memory"))
    order = np.argsort(samples.user_ids, kind="stable")
    who = samples.user_ids[order], items.item_ids[samples.targets[order]]
    of = {name: UserRanks(*who, np.stack([each[order] for each in found]), name) for name, found in ranks.items()}
    print(f"{platform.processor() or platform.machine()}, numpy {np.__version__}, tensorflow {tf.__version__}")
    print(f"{len(samples.targets):,} users of the {options.split} split, {len(options.runs)} seed(s), exact scan")
    print("| without | " + " | ".join(f"recall@{k} | whole less it" for k in ks) + " |\n|---|" + "---|---|" * len(ks))
    config = CompareConfig(ks=ks, metrics=("recall",), lists="all")
    for name, found in of.items():
        cells = []
        for paired in compare_ranks(of[WHOLE], found, config).figures.values():
            low, high = paired.interval
            cells.append(f"{paired.mean_b:.4f} | " + ("" if name == WHOLE else f"{paired.difference:+.4f} ({low:+.4f} to {high:+.4f})"))
        print(f"| {'nothing' if name == WHOLE else name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
