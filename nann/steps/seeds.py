"""Step `seeds`: one config trained with several seeds, its mean against the simple methods on the same users."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nann.artifacts import ArtifactWriter, StepResult, open_artifact
from nann.config import BuildIndexConfig, CompareConfig, EvaluateConfig, ExtractConfig, RewriteConfig, SeedsConfig, StepConfig, TrainConfig
from nann.errors import ArtifactError
from nann.evaluation.best_baseline import BEST_BASELINE, best_names, simple_names
from nann.evaluation.comparison import read_ranks
from nann.steps.build_index import build_index
from nann.steps.compare import compare_ranks
from nann.steps.evaluate import DETAILS, evaluate
from nann.steps.extract import extract
from nann.steps.rewrite import rewrite
from nann.steps.train import train

logger = logging.getLogger(__name__)
STEPS = ("train", "extract", "build-index", "rewrite", "evaluate")


def seeds(*, dataset: Path, seed_runs: Path, steps: Mapping[str, StepConfig], config: SeedsConfig, overwrite: bool = False) -> StepResult:
    """Runs training to evaluation once per seed, and compares the mean over seeds with every baseline on the same users.

    A call that was killed goes on with the seed, and in it with the step, where it was.

    Args:
        dataset: artifact of `convert`.
        seed_runs: directory to write: ``seed-N/`` with the artifacts of each seed, and ``seeds.json``.
        steps: name -> config of the steps `STEPS`; the seed of training is replaced.
        config: the options.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: the dataset is unusable, ``seed_runs`` holds something else, K is not among those of `evaluate`, or there is no
            baseline.
        TrainingError: a training failed.
    """
    train_config, evaluate_config = TrainConfig(**dict(steps["train"])), EvaluateConfig(**dict(steps["evaluate"]))
    if not set(config.ks) <= set(evaluate_config.ks):
        raise ArtifactError(
            f"figures at K = {config.ks} are asked for, but evaluate measures at {evaluate_config.ks}; give --ks among these"
        )
    if not evaluate_config.baselines:
        raise ArtifactError("evaluate leaves the baselines out, so there is nothing to compare with; set evaluate.baselines=true")
    data = open_artifact(dataset, step="convert")
    params = {"seeds": config.model_dump(), **{name: steps[name].model_dump() for name in STEPS}}
    writer = ArtifactWriter(seed_runs, step="seeds", params=params, inputs={"dataset": data}, resumable=True, overwrite=overwrite)
    if writer.is_current:
        return writer.current()
    with writer as directory:
        evaluations = []
        for number, seed in enumerate(config.seeds):
            logger.info("seed %d (%d of %d)", seed, number + 1, len(config.seeds))
            evaluations.append(_run(dataset, directory / f"seed-{seed}", train_config.model_copy(update={"seed": seed}), steps))
        result = summarize_seeds(evaluations, config)
        (directory / "seeds.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        k = max(config.ks)
        names = (f"recall_all@{k}", f"recall_retrieval@{k}", f"coverage@{k}")
        writer.metrics.update({name: result["figures"][name]["mean"] for name in names})
        writer.metrics[BEST_BASELINE] = result[BEST_BASELINE]
        for length in sorted(config.ks):
            ratio = result[f"ratio_to_best_baseline@{length}"]["retrieval"]
            low, high = ratio["interval"] or (None, None)
            writer.metrics |= {f"ratio@{length}": ratio["ratio"], f"ratio_low@{length}": low, f"ratio_high@{length}": high}
    return writer.result()


def _run(dataset: Path, root: Path, config: TrainConfig, steps: Mapping[str, StepConfig]) -> Path:
    """All steps of one seed; what is there already is kept."""
    model, embeddings, index, converted = (root / name for name in ("model", "embeddings", "index", "converted_model"))
    train(dataset=dataset, model=model, config=config)
    extract(model=model, dataset=dataset, embeddings=embeddings, config=ExtractConfig(**dict(steps["extract"])))
    build_index(embeddings=embeddings, index=index, config=BuildIndexConfig(**dict(steps["build-index"])))
    rewrite(
        model=model,
        dataset=dataset,
        embeddings=embeddings,
        index=index,
        converted_model=converted,
        config=RewriteConfig(**dict(steps["rewrite"])),
    )
    evaluate(converted_model=converted, dataset=dataset, evaluation=root / "evaluation", config=EvaluateConfig(**dict(steps["evaluate"])))
    return root / "evaluation"


def summarize_seeds(evaluations: list[Path], config: SeedsConfig) -> dict[str, Any]:
    """The contents of ``seeds.json``.

    Args:
        evaluations: artifacts of `evaluate` on the same users, one per seed.
        config: the options.

    Returns:
        ``num_users``; ``figures``: every number of ``metrics.json`` with its ``values`` by seed, ``mean`` and ``deviation`` (between
        seeds); ``baselines``: name -> "all" (exact scan) and "retrieval" (exported graph) -> "recall@K" -> the comparison
        (`nann.evaluation.comparison.Paired`); ``best_baseline``: ``name@K`` and ``recall@K`` of the simple method with the highest recall
        at each K; ``ratio_to_best_baseline@K``: "all" and "retrieval" -> ``ratio`` and its ``interval`` over users and seeds.

    Raises:
        ArtifactError: they are of other users.
    """
    metrics = [json.loads((path / "metrics.json").read_text(encoding="utf-8")) for path in evaluations]
    names = sorted(name for name, value in metrics[0].items() if isinstance(value, (int, float)) and name not in DETAILS)
    figures = {}
    for name in names:
        values = [each[name] for each in metrics]
        if all(value is not None for value in values):
            figures[name] = {"values": values, "mean": float(np.mean(values)), "deviation": float(np.std(values, ddof=1))}
    options = CompareConfig(ks=config.ks, metrics=("recall",), lists="all", resamples=config.resamples)
    compared: dict[str, Any] = {}
    for baseline in simple_names(list(metrics[0]["baselines"])):
        right = read_ranks(evaluations[:1], baseline, name=baseline)
        compared[baseline] = {
            lists: {
                name: asdict(paired)
                for name, paired in compare_ranks(read_ranks(evaluations, lists, name=lists), right, options).figures.items()
            }
            for lists in ("all", "retrieval")
        }
    best: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    for k, name in best_names(metrics[0]["baselines"], sorted(config.ks)).items():
        best |= {f"name@{k}": name, f"recall@{k}": metrics[0]["baselines"][name][f"recall@{k}"]}
        of_lists = {lists: figures_of[f"recall@{k}"] for lists, figures_of in compared[name].items()}
        ratios[f"ratio_to_best_baseline@{k}"] = {
            lists: {"ratio": paired["ratio"], "interval": paired["ratio_interval"]} for lists, paired in of_lists.items()
        }
    return {"num_users": metrics[0]["num_test_users"], "figures": figures, "baselines": compared, BEST_BASELINE: best, **ratios}
