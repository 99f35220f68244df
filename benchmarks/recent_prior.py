"""Recall of a model with an additive prior of recent popularity, beside the model alone.

    .venv/bin/python benchmarks/recent_prior.py --dataset runs/log/dataset --runs runs/log-1 runs/log-2 runs/log-3

score(v) + w log(1 + events of v in the last hours before the newest event of the history), of training users' events: what a service knows
that refreshes the ``prior`` of its item tables all the time. Hours and w are chosen on validation users, for each model; the figures are
of users of ``--split``, by the exact scan. Differences are paired, over users and seeds. Prints a table.
"""

from __future__ import annotations

import argparse
import logging
import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nann.artifacts import open_artifact, require_same_ancestor
from nann.config import CompareConfig
from nann.dataset import Dataset, Histories, Items, Samples, load_items, load_samples
from nann.evaluation.comparison import UserRanks
from nann.evaluation.scan import USERS_AT_ONCE, exact_retriever
from nann.index import load_embeddings
from nann.memory.table import CorpusMemory, load_memory
from nann.models import load_max_length, load_model
from nann.progress import CountProgress
from nann.retrieval import HistoryScorer
from nann.steps.compare import compare_ranks
from nann.steps.evaluate import USERS_SEED

HOURS = (0.25, 0.5, 1.0, 2.0, 6.0, 24.0)
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)


class RecentCounts:
    """Events of every item in the last hours before a moment.

    Args:
        train: training events with their times.
        num_items: N.
    """

    def __init__(self, train: Histories, num_items: int) -> None:
        if train.times is None:
            raise SystemExit("the dataset has no times, so nothing is recent; convert a log with times")
        order = np.argsort(train.times, kind="stable")
        self._rows, self._times, self._size = train.item_rows[order], train.times[order], num_items + 1

    def before(self, moment: int, hours: float) -> NDArray[np.int64]:
        """[N + 1] events in (moment - hours, moment]."""
        begin, end = np.searchsorted(self._times, (moment - 3600 * hours, moment), side="right")
        return np.bincount(self._rows[begin:end], minlength=self._size)


def scores(run: Path, items: Items, samples: Samples) -> Iterator[NDArray[np.float32]]:
    """[N + 1] scores of all items for each user, with the model's memory; -inf for what is no item."""
    model = run / "model"
    scorer = HistoryScorer(load_model(model), max_length=load_max_length(model))
    corpus, memory = load_embeddings(run / "embeddings"), load_memory(model)
    if memory is None:
        raise SystemExit(f"{model} has no memory; train it without --memory none")
    joined = CorpusMemory.of(
        memory, item_rows=corpus.item_rows, category_rows=items.category_rows, num_categories=items.num_categories, entries=0
    )
    scan = exact_retriever(scorer, corpus, top_k=len(corpus.item_rows), memory=joined)
    progress = CountProgress(run.name, len(samples.targets))
    for begin in range(0, len(samples.targets), USERS_AT_ONCE):
        users = slice(begin, begin + USERS_AT_ONCE)
        histories = samples.histories[users]
        inputs = {name: np.asarray(values[users], np.int64) for name, values in samples.inputs.items()}
        found = scan(histories.astype(np.int64), items.category_rows[histories].astype(np.int64), **inputs)
        for rows, values in zip(np.asarray(found.item_rows), np.asarray(found.scores), strict=True):
            dense = np.full(len(items.train_counts), -np.inf, np.float32)
            dense[rows] = values
            dense[0] = -np.inf
            yield dense
        progress.update(begin + len(histories))


def places(run: Path, items: Items, samples: Samples, recent: RecentCounts) -> NDArray[np.int64]:
    """[hours, weights, S] place of each target, from 1 up, under each prior; an item of equal score and lower row stands before it."""
    if samples.last_times is None:
        raise SystemExit("the dataset has no times of the users; convert it again")
    found = np.zeros((len(HOURS), len(WEIGHTS), len(samples.targets)), np.int64)
    for user, (values, target, moment) in enumerate(zip(scores(run, items, samples), samples.targets, samples.last_times, strict=True)):
        for place, hours in enumerate(HOURS):
            prior = np.log1p(recent.before(int(moment), hours)).astype(np.float32)
            for column, weight in enumerate(WEIGHTS):
                total = values + np.float32(weight) * prior
                equal = np.count_nonzero(total[:target] == total[target])
                found[place, column, user] = 1 + equal + np.count_nonzero(total > total[target])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="directories with model and embeddings, of one config")
    parser.add_argument("--split", choices=["validate", "test"], default="test", help="users of the figures (default: %(default)s)")
    parser.add_argument("--users", type=int, default=2000, help="validation users to choose on (default: %(default)s)")
    parser.add_argument("--ks", default="50,200")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("nann").setLevel(logging.INFO)
    ks = tuple(int(k) for k in options.ks.split(","))
    items = load_items(options.dataset)
    recent = RecentCounts(Dataset(options.dataset).histories(times=True), len(items.train_counts) - 1)
    inputs = tuple(load_model(options.runs[0] / "model").request_inputs)
    validation = load_samples(options.dataset, "validate", inputs=inputs)
    chosen_on = validation.draw(options.users, seed=USERS_SEED)
    samples = load_samples(options.dataset, options.split, inputs=inputs)
    if options.split == "validate":  # the prior would be measured on users it was chosen on
        samples = samples.take(np.flatnonzero(~np.isin(samples.user_ids, chosen_on.user_ids)))
    print(f"{platform.processor() or platform.machine()}, numpy {np.__version__}, tensorflow {tf.__version__}")
    print(f"{len(samples.targets):,} users of the {options.split} split, {len(options.runs)} seed(s), exact scan")
    alone, joined = [], []
    for run in options.runs:
        require_same_ancestor("dataset", open_artifact(options.dataset, step="convert"), open_artifact(run / "model", step="train"))
        tried = places(run, items, chosen_on, recent)
        recall = np.mean([np.mean(tried <= k, axis=-1) for k in ks], axis=0)
        hours, weight = np.unravel_index(np.argmax(recall), recall.shape)
        print(f"{run.name}: {HOURS[hours]:g} hours, weight {WEIGHTS[weight]:g}")
        measured = places(run, items, samples, recent)
        alone.append(measured[0, WEIGHTS.index(0.0)])
        joined.append(measured[hours, weight])
    order = np.argsort(samples.user_ids, kind="stable")
    who = samples.user_ids[order], items.item_ids[samples.targets[order]]
    pair = [UserRanks(*who, np.stack([each[order] for each in of]), name) for name, of in (("with the prior", joined), ("alone", alone))]
    figures = compare_ranks(*pair, CompareConfig(ks=ks, metrics=("recall",), lists="all")).figures
    print("| recall | with the prior | alone | difference |\n|---|---|---|---|")
    for name, paired in figures.items():
        low, high = paired.interval
        print(f"| {name} | {paired.mean_a:.4f} | {paired.mean_b:.4f} | {paired.difference:+.4f} ({low:+.4f} to {high:+.4f}) |")


if __name__ == "__main__":
    main()
