"""Step `seeds`: one config trained with several seeds, its mean against the simple methods on the same users."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.json_text import write_json
from nann.artifacts import StepResult
from nann.config import CompareConfig, EvaluateConfig, SeedsConfig, StepConfig
from nann.contents import read_json
from nann.errors import ArtifactError
from nann.evaluation.best_baseline import BEST_BASELINE, best_names, simple_names
from nann.evaluation.comparison import read_ranks
from nann.forms import Metrics
from nann.option_types import stored_params
from nann.reporting.frame import write_page
from nann.reporting.seeds_page import seeds_page
from nann.steps.compare import compare_ranks
from nann.steps.evaluate import DETAILS
from nann.steps.opening import open_step
from nann.steps.table import EVALUATE, SEEDS, STEP_BY_NAME, TRAIN
from nann.train_config import trust_named_class

logger = logging.getLogger(__name__)


def seeds(*, dataset: Path, seed_runs: Path, steps: Mapping[str, StepConfig], config: SeedsConfig, overwrite: bool = False) -> StepResult:
    """Runs training to evaluation once per seed, and compares the mean over seeds with every baseline on the same users.

    A call that was killed goes on with the seed, and in it with the step, where it was.

    Args:
        dataset: artifact of `convert`.
        seed_runs: directory to write: ``seed-N/`` with the artifacts of each seed, ``seeds.json``, and ``report.html``.
        steps: name -> config of each step that `seeds` runs; the seed of training is replaced.
        config: the options.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: the dataset is unusable, ``seed_runs`` holds something else, K is not among those of `evaluate`, or there is no
            baseline.
        TrainingError: a training failed.
    """
    evaluate_config = EvaluateConfig(**dict(steps[EVALUATE.name]))
    if not set(config.ks) <= set(evaluate_config.ks):
        raise ArtifactError(
            f"figures at K = {config.ks} are asked for, but evaluate measures at {evaluate_config.ks}; give --ks among these"
        )
    if not evaluate_config.baselines:
        raise ArtifactError("evaluate leaves the baselines out, so there is nothing to compare with; set evaluate.baselines=true")
    params = {SEEDS.name: stored_params(config), **{name: stored_params(steps[name]) for name in SEEDS.runs}}
    writer = open_step("seeds", locals(), params=params)
    if writer.is_current:
        return writer.current()
    with writer as directory:
        evaluations = []
        for number, seed in enumerate(config.seeds):
            logger.info("seed %d (%d of %d)", seed, number + 1, len(config.seeds))
            trusting = trust_named_class(steps)
            own = {TRAIN.name: steps[TRAIN.name].model_copy(update={"seed": seed})}
            evaluations.append(_run(dataset, directory / f"seed-{seed}", {**trusting, **own}))
        result = summarize_seeds(evaluations, config)
        write_json(directory / "seeds.json", result)
        write_page(directory, seeds_page(result, config.seeds, config.ks), writer.artifacts, params)
        k = max(config.ks)
        names = (f"recall_all@{k}", f"recall_retrieval@{k}", f"coverage@{k}")
        writer.metrics.update({name: result["figures"][name]["mean"] for name in names})
        writer.metrics[BEST_BASELINE] = result[BEST_BASELINE]
        for length in sorted(config.ks):
            ratio = result[f"ratio_to_best_baseline@{length}"]["retrieval"]
            low, high = ratio["interval"] or (None, None)
            writer.metrics |= {f"ratio@{length}": ratio["ratio"], f"ratio_low@{length}": low, f"ratio_high@{length}": high}
    return writer.result()


def _run(dataset: Path, root: Path, configs: Mapping[str, StepConfig]) -> Path:
    """All steps of one seed; what is there already is kept. Returns the path of the evaluation."""
    places = {"dataset": dataset}
    for step in (STEP_BY_NAME[name] for name in SEEDS.runs):
        places[step.writes] = root / step.writes
        paths = {artifact: places[artifact] for artifact in (*step.reads, step.writes)}
        step.load_function()(**paths, config=configs[step.name])
    return places[EVALUATE.writes]


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
    metrics = [read_json(path / "metrics.json", Metrics, "the figures of an evaluation", step="evaluate") for path in evaluations]
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
