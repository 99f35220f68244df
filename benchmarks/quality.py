"""Recall-all of trained models, several seeds each, against the simple methods on the same held-out users.

    .venv/bin/python benchmarks/quality.py --dataset runs/log/dataset \
        --models nann=runs/log/nann-1/model,runs/log/nann-2/model two-sided=runs/log/two-sided-1/model,runs/log/two-sided-2/model

scores every item for every user, as `nann evaluate` does for its exact scan, but from the models and without an exported graph. The places
of the targets are kept beside each model (`exact-SPLIT.npz`), so that a call that was stopped goes on. Prints each model's mean over its
seeds, the paired comparison with every simple method, and the first models against each other.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

from nann.artifacts import open_artifact, require_same_ancestor
from nann.config import CompareConfig, EvaluateConfig
from nann.dataset import Dataset, Samples, load_items, load_samples
from nann.evaluation import metrics as m
from nann.evaluation.comparison import UserRanks
from nann.evaluation.scan import trained_lists
from nann.evaluation.simple_methods import Known, simple_lists
from nann.index import load_embeddings
from nann.models import load_max_length, load_model
from nann.retrieval import HistoryScorer
from nann.steps.compare import Comparison, compare_ranks
from nann.steps.evaluate import USERS_SEED

DEFAULTS = EvaluateConfig()


def exact_ranks(dataset: Path, model: Path, samples: Samples, split: str, width: int) -> np.ndarray:
    """[S] place of each target in the exact list of ``width`` items, 0 where it is not there; the embeddings lie beside the model."""
    artifact = open_artifact(model, step="train")
    require_same_ancestor("dataset", open_artifact(dataset, step="convert"), artifact)
    kept = model.parent / f"exact-{split}.npz"
    if kept.is_file():
        found = np.load(kept)
        if str(found["digest"]) == artifact.digest and int(found["width"]) == width:
            return np.asarray(found["ranks"])
    scorer = HistoryScorer(load_model(model), max_length=load_max_length(model))
    if scorer.scorer.request_inputs:
        samples = load_samples(dataset, split, inputs=tuple(scorer.scorer.request_inputs))
    lists = trained_lists(scorer, load_embeddings(model.parent / "embeddings"), load_items(dataset), samples, width=width, label=str(model))
    ranks = m.ranks_of(lists.item_rows, samples.targets)
    np.savez(kept, ranks=ranks, digest=artifact.digest, width=width)
    return ranks


def print_comparison(found: Comparison) -> None:
    for name, paired in found.figures.items():
        low, high = paired.interval
        ratio = (
            ""
            if paired.ratio is None or paired.ratio_interval is None
            else (f", ratio {paired.ratio:.3f} ({paired.ratio_interval[0]:.3f} to {paired.ratio_interval[1]:.3f})")
        )
        print(
            f"| {found.name_a} - {found.name_b} | {name} | {paired.mean_a:.4f} | {paired.mean_b:.4f} "
            f"| {paired.difference:+.4f} ({low:+.4f} to {high:+.4f}){ratio} | {paired.p_value:.2g} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME=DIR,DIR,...", help="none: the simple methods alone")
    parser.add_argument("--split", choices=["validate", "test"], default="validate", help="test: once, for the figures")
    parser.add_argument("--ks", default="50,200")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("nann").setLevel(logging.INFO)
    ks = tuple(int(k) for k in options.ks.split(","))
    samples, items = load_samples(options.dataset, options.split), load_items(options.dataset)
    order = np.argsort(samples.user_ids, kind="stable")
    user_ids, targets = samples.user_ids[order], items.item_ids[samples.targets[order]]

    def ranks_of(name: str, ranks: list[np.ndarray]) -> UserRanks:
        return UserRanks(user_ids, targets, np.stack([each[order] for each in ranks]), name)

    known = Known.of(Dataset(options.dataset), items, DEFAULTS)
    others = load_samples(options.dataset, "validate").draw(DEFAULTS.tune_users, seed=USERS_SEED)
    made = simple_lists(known, others, samples, sorted(ks))
    print(f"{len(targets):,} users of the {options.split} split; parameters of the simple methods: {made.options}")
    print(f"bounds that they reach: {made.bounds}")
    simple = {name: ranks_of(name, [m.ranks_of(lists, samples.targets)]) for name, lists in made.lists.items()}
    config = CompareConfig(ks=ks, metrics=("recall",), lists="all")
    for name, ranks in simple.items():
        found = compare_ranks(ranks, ranks, config)
        print(f"{name}: {', '.join(f'{metric} {paired.mean_a:.4f}' for metric, paired in found.figures.items())}")
    models = {}
    for text in options.models:
        name, _, places = text.partition("=")
        ranks = [exact_ranks(options.dataset, Path(place), samples, options.split, max(ks)) for place in places.split(",")]
        models[name] = ranks_of(name, ranks)
    if not models:
        return
    for name, ranks in models.items():
        found = compare_ranks(ranks, ranks, config)
        for metric, values in found.per_seed_a.items():
            spread = f" ± {np.std(values, ddof=1):.4f} between seeds" if len(values) > 1 else ""
            print(f"{name} {metric}: {np.mean(values):.4f}{spread} ({', '.join(f'{value:.4f}' for value in values)})")
    print("| A - B | metric | A | B | difference (95 % interval), ratio | p |\n|---|---|---|---|---|---|")
    for ranks in models.values():
        for baseline in simple.values():
            print_comparison(compare_ranks(ranks, baseline, config))
    first, *rest = models.values()
    for other in rest:
        print_comparison(compare_ranks(first, other, config))


if __name__ == "__main__":
    main()
