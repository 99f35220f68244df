"""Step `sweep`: a small search over training settings on validation users, with early stopping of bad trials."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.json_text import write_json
from nann.artifacts import StepResult
from nann.config import StepConfig, SweepConfig, TrainConfig
from nann.config_file import config_text
from nann.dataset import Dataset
from nann.errors import ArtifactError, TrainingError
from nann.option_types import stored_params
from nann.reporting.frame import write_page
from nann.reporting.sweep_page import sweep_page
from nann.steps.opening import open_step
from nann.steps.table import SWEEP, TRAIN
from nann.steps.train import train
from nann.sweeping.halving import Journal, Outcome, shortened, survivors
from nann.sweeping.space import Settings, SpaceError, apply, draw, grid, parse_space

logger = logging.getLogger(__name__)
JOURNAL_NAME = "journal.jsonl"


def sweep(
    *,
    dataset: Path,
    sweep: Path,
    steps: Mapping[str, StepConfig],
    space: Mapping[str, Any],
    config: SweepConfig,
    overwrite: bool = False,
) -> StepResult:
    """Trains with every combination of settings, or with some drawn at random, and chooses the best on validation users.

    After each rung only the best trials go on with more training. The test users are never read. A sweep that was killed goes on with
    the trial, and in it from the checkpoint, where it was.

    Args:
        dataset: artifact of `convert`.
        sweep: directory to write: ``sweep.json`` (all trials), ``chosen.yaml`` (for `--config`), ``report.html``.
        steps: the config of `train`, by its name: options that all trials share.
        space: what differs, as in a space file (`nann.sweeping.space.parse_space`).
        config: the options.
        overwrite: replace a differing artifact.

    Raises:
        SpaceError: the space cannot be searched, or it has one trial only.
        ArtifactError: the dataset is unusable or has no validation users, or ``sweep`` holds something else.
        TrainingError: every trial failed.
    """
    parsed = parse_space(space)
    trials = grid(parsed) if config.method == "grid" else draw(parsed, config.trials, config.seed)
    if len(trials) < 2:
        raise SpaceError("the space holds one combination, so there is nothing to choose from; list more values")
    shared = TrainConfig(**dict(steps[TRAIN.name])).model_copy(update={"validate_users": config.users, "validations": 1})
    configs = [apply(shared, settings) for settings in trials]
    params: dict[str, Any] = {SWEEP.name: stored_params(config), "base": stored_params(shared), "trials": trials}
    writer = open_step("sweep", locals(), params=params)
    if writer.is_current:
        return writer.current()
    num_users = min(config.users, int(Dataset(dataset).meta["num_samples"]["validate"]))
    if not num_users:
        raise ArtifactError(f"{dataset} has no validation users; convert a longer log, or with a smaller --test-min-length")
    if num_users < config.users:
        logger.warning("the dataset has %s validation users, %s were asked for", f"{num_users:,}", f"{config.users:,}")
    with writer as directory:
        outcomes = _run(dataset, directory, configs, config)
        result = _result(trials, outcomes, config, num_users)
        (directory / JOURNAL_NAME).unlink()
        write_json(directory / "sweep.json", result)
        (directory / "chosen.yaml").write_text(config_text(_sections(trials[result["chosen"]])), encoding="utf-8")
        write_page(directory, sweep_page(result), writer.artifacts, {SWEEP.name: params[SWEEP.name], TRAIN.name: params["base"]})
        best = result["trials"][result["chosen"]]
        writer.metrics.update({**best["settings"], config.metric: best["recall"][-1], "num_trials": len(trials), "num_users": num_users})
    return writer.result()


def _run(dataset: Path, directory: Path, configs: list[TrainConfig], config: SweepConfig) -> list[list[Outcome]]:
    """Outcomes rung by rung."""
    journal, alive, rungs = Journal(directory / JOURNAL_NAME), list(range(len(configs))), []
    for rung, share in enumerate(config.rungs):
        found = []
        for place, trial in enumerate(alive):
            outcome = journal.get(trial, rung)
            if outcome is None:
                logger.info("rung %d of %d, trial %d (%d of %d)", rung + 1, len(config.rungs), trial, place + 1, len(alive))
                outcome = _train(dataset, directory / f"trial-{trial:03d}", shortened(configs[trial], share), trial, rung, config.metric)
                journal.add(outcome)
            shutil.rmtree(directory / f"trial-{trial:03d}", ignore_errors=True)
            found.append(outcome)
        rungs.append(found)
        if all(outcome.recall is None for outcome in found):
            raise TrainingError(f"every trial failed, the first with: {found[0].error}; mend the settings that all share")
        if rung + 1 < len(config.rungs):
            alive = survivors(found, config.keep)
    return rungs


def _train(dataset: Path, directory: Path, config: TrainConfig, trial: int, rung: int, metric: str) -> Outcome:
    begin = time.perf_counter()
    config = config.model_copy(update={"memory": "none"})  # what is compared is the scorer's own recall
    try:
        recall = float(train(dataset=dataset, model=directory / "model", config=config).metrics[metric])
    except TrainingError as error:
        logger.warning("trial %d failed: %s", trial, error)
        return Outcome(trial, rung, None, round(time.perf_counter() - begin, 1), str(error))
    logger.info("trial %d: %s %.4f", trial, metric, recall)
    return Outcome(trial, rung, recall, round(time.perf_counter() - begin, 1))


def _result(trials: list[Settings], rungs: list[list[Outcome]], config: SweepConfig, num_users: int) -> dict[str, Any]:
    """The contents of ``sweep.json``."""
    rows: list[dict[str, Any]] = [
        {"trial": number, "settings": settings, "recall": [], "seconds": [], "error": ""} for number, settings in enumerate(trials)
    ]
    for outcomes in rungs:
        for outcome in outcomes:
            row = rows[outcome.trial]
            row["recall"].append(outcome.recall)
            row["seconds"].append(outcome.seconds)
            row["error"] = row["error"] or outcome.error
    (chosen,) = survivors(rungs[-1], 1e-9)
    for row in rows:
        row["status"] = "failed" if row["error"] else "finished" if len(row["recall"]) == len(rungs) else "stopped"
    return {"metric": config.metric, "num_users": num_users, "rungs": list(config.rungs), "trials": rows, "chosen": chosen}


def _sections(settings: Settings) -> dict[str, dict[str, Any]]:
    """The chosen settings as sections of a config file."""
    return {TRAIN.name: {name.partition(".")[2]: value for name, value in settings.items()}}
