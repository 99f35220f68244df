"""Recall of a model beside the best list that can be fused by rank from all simple methods and its encoder without the memory.

    .venv/bin/python benchmarks/fused_lists.py --dataset runs/log/dataset --model runs/log/model --embeddings runs/log/embeddings

score(v) = sum over the methods m of w_m / (c + rank of v in m's list), the list's length for an item that is not in it (reciprocal rank
fusion with weights: Cormack, Clarke and Buettcher, SIGIR 2009). The weights and c are chosen by coordinate search for the mean of the
recalls on validation users; all figures are of users of ``--split``. Lists are those of the exact scan, so that no search is measured.
"""

from __future__ import annotations

import argparse
import logging
import platform
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nann.artifacts import open_artifact, require_same_ancestor
from nann.config import CompareConfig, EvaluateConfig
from nann.dataset import Dataset, Samples, load_items, load_samples
from nann.evaluation import metrics as m
from nann.evaluation.comparison import UserRanks
from nann.evaluation.scan import trained_lists
from nann.evaluation.simple_methods import Known, simple_lists
from nann.index import load_embeddings
from nann.memory.table import load_memory
from nann.models import load_max_length, load_model
from nann.retrieval import HistoryScorer
from nann.steps.compare import compare_ranks
from nann.steps.evaluate import USERS_SEED

WEIGHTS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
OFFSETS = (1.0, 3.0, 10.0, 30.0, 60.0, 100.0)
SWEEPS = 3
JOINT, ENCODER = "model", "encoder alone"
DEFAULTS = EvaluateConfig()
Rows = NDArray[np.int64]


class Fusion:
    """Places of the targets in lists fused from those of several methods.

    Args:
        lists: name -> [S, W] item rows, best first.
        targets: [S].
    """

    def __init__(self, lists: dict[str, Rows], targets: NDArray[np.integer]) -> None:
        self.names = list(lists)
        width = next(iter(lists.values())).shape[1]
        every = np.concatenate([lists[name] for name in self.names], axis=1)
        self._candidates = np.sort(every, axis=1)
        self._first = np.concatenate([np.ones((len(every), 1), bool), np.diff(self._candidates, axis=1) > 0], axis=1) & (
            self._candidates > 0
        )
        self._targets = np.asarray(targets)
        self._ranks = np.full((len(self.names), *self._candidates.shape), width, np.float32)
        for place, name in enumerate(self.names):
            for user, rows in enumerate(lists[name]):
                rows = rows[rows > 0]
                self._ranks[place, user, np.searchsorted(self._candidates[user], rows)] = np.arange(len(rows))

    def target_places(self, weights: NDArray[np.floating], offset: float) -> Rows:
        """[S] place of each target from 1 up; 0 where no list holds it."""
        used = np.flatnonzero(weights)
        scores = np.einsum("m,msc->sc", weights[used].astype(np.float32), 1 / (offset + 1 + self._ranks[used]))
        scores[~self._first] = -1
        is_target = self._first & (self._candidates == self._targets[:, np.newaxis])
        target = np.where(is_target.any(axis=1), np.max(np.where(is_target, scores, -1), axis=1), np.inf)
        above = np.sum(scores > target[:, np.newaxis], axis=1)
        ties = np.sum((scores == target[:, np.newaxis]) & (self._candidates < self._targets[:, np.newaxis]), axis=1)
        return np.where(np.isinf(target), 0, 1 + above + ties)

    def choose(self, ks: tuple[int, ...]) -> tuple[NDArray[np.float64], float]:
        """Weights and offset of the highest mean recall of these users."""

        def recall(weights: NDArray[np.float64], offset: float) -> float:
            places = self.target_places(weights, offset)
            return float(np.mean([np.mean((places > 0) & (places <= k)) for k in ks]))

        weights, offset = np.ones(len(self.names)), 30.0
        best = recall(weights, offset)
        for _ in range(SWEEPS):
            before = best
            for place in range(len(weights)):
                for value in WEIGHTS:
                    tried = weights.copy()
                    tried[place] = value
                    if tried.any() and (found := recall(tried, offset)) > best:
                        weights, best = tried, found
            for value in OFFSETS:
                if (found := recall(weights, value)) > best:
                    offset, best = value, found
            if best == before:
                break
        return weights, offset


def model_lists(dataset: Path, model: Path, embeddings: Path, samples: Samples, width: int) -> dict[str, Rows]:
    """The exact lists of the model, and of its encoder where it has a memory."""
    require_same_ancestor("dataset", open_artifact(dataset, step="convert"), open_artifact(model, step="train"))
    scorer, corpus = HistoryScorer(load_model(model), max_length=load_max_length(model)), load_embeddings(embeddings)
    items, memory = load_items(dataset), load_memory(model)
    parts = {JOINT: memory} if memory is None else {JOINT: memory, ENCODER: None}
    return {
        name: trained_lists(scorer, corpus, items, samples, width=width, memory=part, label=name).item_rows for name, part in parts.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument(
        "--split",
        choices=["validate", "test"],
        default="validate",
        help="users of the figures, for validate without those that weights are chosen on; test: once",
    )
    parser.add_argument("--width", type=int, default=400, help="items of each list that is fused")
    parser.add_argument("--users", type=int, default=2000, help="validation users on whom the weights are chosen")
    parser.add_argument("--ks", default="50,200")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("nann").setLevel(logging.INFO)
    ks = tuple(int(k) for k in options.ks.split(","))
    items = load_items(options.dataset)
    inputs = tuple(load_model(options.model).request_inputs)
    validation = load_samples(options.dataset, "validate", inputs=inputs)
    chosen_on = validation.draw(options.users, seed=USERS_SEED)
    samples = load_samples(options.dataset, options.split, inputs=inputs)
    if options.split == "validate":  # the weights would be measured on users they were chosen on
        samples = samples.take(np.flatnonzero(~np.isin(samples.user_ids, chosen_on.user_ids)))
    known = Known.of(Dataset(options.dataset), items, DEFAULTS)
    tuned_on = validation.draw(DEFAULTS.tune_users, seed=USERS_SEED)
    lists = []
    for users in (chosen_on, samples):
        simple = simple_lists(known, tuned_on, users, sorted({*ks, options.width})).lists
        lists.append(simple | model_lists(options.dataset, options.model, options.embeddings, users, options.width))
    print(f"{platform.processor() or platform.machine()}, numpy {np.__version__}, tensorflow {tf.__version__}")
    print(f"{len(samples.targets):,} users of the {options.split} split, weights chosen on {len(chosen_on.targets):,} validation users")
    order = np.argsort(samples.user_ids, kind="stable")
    user_ids, targets = samples.user_ids[order], items.item_ids[samples.targets[order]]

    def user_ranks(name: str, ranks: NDArray[np.integer]) -> UserRanks:
        return UserRanks(user_ids, targets, ranks[order][np.newaxis], name)

    config = CompareConfig(ks=ks, metrics=("recall",), lists="all")
    model = user_ranks(JOINT, m.ranks_of(lists[1][JOINT], samples.targets))
    rows = {name: user_ranks(name, m.ranks_of(found, samples.targets)) for name, found in lists[1].items() if name != JOINT}
    without = [name for name in lists[0] if name not in (JOINT,)]
    for label, names in (
        ("fused, all but the model", without),
        ("fused, without times", [name for name in without if name != "popularity_recent"]),
        ("fused, the model too", [*without, JOINT]),
    ):
        fitted, measured = (
            Fusion({name: each[name] for name in names}, users.targets) for each, users in zip(lists, (chosen_on, samples), strict=True)
        )
        weights, offset = fitted.choose(ks)
        print(f"{label}: c {offset:g}, {', '.join(f'{name} {w:g}' for name, w in zip(names, weights, strict=True) if w)}")
        rows[label] = user_ranks(label, measured.target_places(weights, offset))
    print("| list | " + " | ".join(f"recall@{k} | model less it" for k in ks) + " |\n|---|" + "---|---|" * len(ks))
    for name, ranks in {JOINT: model, **rows}.items():
        cells = []
        for paired in compare_ranks(model, ranks, config).figures.values():
            low, high = paired.interval
            cells.append(f"{paired.mean_b:.4f} | " + ("" if name == JOINT else f"{paired.difference:+.4f} ({low:+.4f} to {high:+.4f})"))
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
