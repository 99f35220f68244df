"""Step `train`: a dataset in, a trained scorer out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import tensorflow as tf

from data_prep.json_text import write_json
from nann.artifacts import Artifact, ArtifactWriter, StepResult, open_artifact, require_same_ancestor
from nann.config import TrainConfig
from nann.dataset import Dataset, Histories, Items
from nann.errors import TrainingError
from nann.evaluation.lists import chosen_users
from nann.evaluation.verdict import training_warnings
from nann.memory.table import MemoryTable, load_memory
from nann.models import load_class, load_model, save_model, source_digest
from nann.option_types import stored_params
from nann.steps.table import TRAIN
from nann.training.batches import BatchSource, NoiseSampler
from nann.training.distillation import Teacher
from nann.training.loop import TrainingData, train_scorer
from nann.training.memory import Divided, divide_users, held_out_moments, make_memory
from nann.training.packing import PackedBatches
from nann.training.records import remove_leftovers
from nann.training.warm_start import load_earlier_model, require_continuation, save_optimizer

logger = logging.getLogger(__name__)


def train(*, dataset: Path, model: Path, config: TrainConfig, warm_start: Path | None = None, overwrite: bool = False) -> StepResult:
    """Trains a scorer on all visible GPUs (one CPU replica without) and writes it with its loss record.

    A run that was killed resumes from its last checkpoint when the same command is given again, and ends with the same weights.

    Where TF_CONFIG names several workers, each runs this step on the same dataset, and together they train one model: the global batch is
    ``config.batch_size`` times all replicas. The first worker writes ``model``, worker i the same beside it as ``.NAME.worker-i``.
    Killed, and all started again, they go on from the newest checkpoint that everyone has.

    A warm start begins with an earlier model's weights, and with its optimizer's moments if they were kept: its tables grow by the rows of
    the new items and categories, and training sees the dataset's events only, which after incremental conversion are the new ones.

    Args:
        dataset: artifact of `convert`.
        model: directory to write: ``config.json``, ``weights.*``, ``optimizer.*`` (if kept), ``training.json``, ``events/`` (TensorBoard).
        config: the options.
        warm_start: artifact of `train` to go on from; ``dataset`` is its own, or one converted with ``--base`` of it.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: the dataset, the earlier model or the teacher is unusable, they do not go together, the dataset has no input of a
            name in ``config.inputs``, or ``model`` holds something else.
        ModelError: ``config.scorer`` names a class that cannot be imported or used.
        TrainingError: there is nothing to train on, or a loss is not finite.
    """
    workers, own = worker_position()
    # Several workers must find each other before anything else is computed.
    strategy = training_strategy() if workers > 1 else None
    if own > 0:
        model = model.with_name(f".{model.name}.worker-{own}")
    source = open_artifact(dataset, step="convert")
    params = stored_params(config, "teacher")
    writer = ArtifactWriter(
        model, step="train", params=params, inputs=_made_from(source, warm_start, config), resumable=TRAIN.resumable, overwrite=overwrite
    )
    if writer.is_current:
        return writer.current()
    trusted: dict[str, Any] = {"allow_own": config.allow_own_models, "named": config.scorer}
    strategy = strategy or training_strategy()
    opened = Dataset(dataset)
    items, asked = opened.items(), _asked_inputs(opened, config)
    users = divide_users(opened.histories(inputs=asked), share=config.memory_users if config.memory != "none" else 0.0, seed=config.seed)
    data = _training_data(opened, users.trained, items, asked, config, replicas=strategy.num_replicas_in_sync)
    with writer as directory:
        trained = train_scorer(
            data,
            config,
            strategy,
            directory,
            earlier=None if warm_start is None else load_earlier_model(warm_start, **trusted),
            teacher=Teacher(config.teacher, items.category_rows, compiled=config.xla, **trusted) if config.teacher else None,
        )
        save_model(trained.scorer, directory, config=config, max_length=data.max_length, keep_moments=config.keep_moments)
        if config.keep_moments:
            save_optimizer(trained.optimizer, directory)
        if config.memory != "none":
            lengths = {"encoder_length": data.max_length, "max_length": opened.max_length}
            remembered = None if warm_start is None else _earlier_memory(warm_start, source)
            writer.metrics.update(_write_memory(directory, users, items, config, **lengths, earlier=remembered))
        remove_leftovers(directory)
        writer.metrics.update(trained.summary)
        writer.metrics["warnings"] = training_warnings(
            **{name: trained.summary[name] for name in ("steps", "samples", "samples_per_epoch", "planned_steps")},
            allowed_steps=data.batches.steps,
            wanted_steps=data.batches.wanted_steps,
            max_minutes=config.max_minutes,
        )
    for sentence in writer.metrics["warnings"]:
        logger.warning("%s", sentence)
    return writer.result()


def _made_from(dataset: Artifact, warm_start: Path | None, config: TrainConfig) -> dict[str, Artifact | str]:
    """The artifacts and sources that a model is made from, by name.

    Raises:
        ArtifactError: one is unusable, or they do not go together.
        TrainingError: there would be nothing to train.
    """
    inputs: dict[str, Artifact | str] = {}
    if warm_start is not None:
        inputs["warm_start"] = earlier = open_artifact(warm_start, step="train")
        require_continuation(earlier, dataset, config)
    elif not config.epochs:
        raise TrainingError("epochs is 0, which trains nothing; give --epochs above 0, or --warm-start with a model to carry over")
    inputs["dataset"] = dataset  # after the earlier model, whose lineage names another
    if (digest := source_digest(config.scorer)) is not None:
        inputs[f"source:{config.scorer}"] = digest
    if config.teacher is not None:
        inputs["teacher"] = teacher = open_artifact(config.teacher, step="train")
        require_same_ancestor("dataset", dataset, teacher)
    return inputs


def _asked_inputs(dataset: Dataset, config: TrainConfig) -> tuple[str, ...]:
    """Names of what is read with a history; a teacher may read what its student does not."""
    taught_by = load_model(config.teacher, allow_own=config.allow_own_models, named=config.scorer).request_inputs if config.teacher else {}
    return tuple(dict.fromkeys([*dataset.request_names(config.inputs), *taught_by]))


def _training_data(
    dataset: Dataset, histories: Histories, items: Items, asked: tuple[str, ...], config: TrainConfig, *, replicas: int
) -> TrainingData:
    """What a training learns from.

    Raises:
        TrainingError: there is nothing to train on.
    """
    max_length = min(config.max_length or dataset.max_length, dataset.max_length)
    try:
        sampler = NoiseSampler(items.train_counts)
        batches = _batches(histories, asked, config, sampler=sampler, max_length=max_length, replicas=replicas)
    except ValueError as error:
        raise TrainingError(f"{dataset.path}: {error}; convert a longer log, or with a smaller --train-min-length") from error
    logger.info(
        "%s samples an epoch, %d steps of %d on %d replica(s), %s items, %s categories",
        f"{batches.num_samples:,}",
        batches.steps,
        batches.batch_size,
        replicas,
        f"{len(items.item_ids) - 1:,}",
        f"{items.num_categories:,}",
    )
    if batches.steps < batches.wanted_steps:
        logger.info(
            "max_steps ends the training after %.2f of %g epochs (%s steps); with max_steps 0 nothing does",
            batches.steps * batches.batch_size / batches.num_samples,
            config.epochs,
            f"{batches.wanted_steps:,}",
        )
    validation = dataset.samples("validate", inputs=config.inputs) if config.validate_users else None
    if validation is not None:
        validation = validation.take(chosen_users(len(validation.targets), config.validate_users, seed=config.seed))
    return TrainingData(batches, items, sampler.log_probability, max_length, dataset.features(config.inputs), validation)


def _earlier_memory(warm_start: Path, dataset: Artifact) -> MemoryTable | None:
    """The memory to add to; None where the earlier model counted this very dataset, whose events would count twice."""
    own = open_artifact(warm_start, step="train").lineage.get("dataset") == dataset.digest
    return None if own else load_memory(warm_start)


def _write_memory(
    directory: Path,
    users: Divided,
    items: Items,
    config: TrainConfig,
    *,
    encoder_length: int,
    max_length: int,
    earlier: MemoryTable | None,
) -> dict[str, float]:
    """Makes the memory of the model that was just saved in a directory, and saves it there."""
    scorer = load_model(directory, named=config.scorer)
    table, report = make_memory(
        scorer,
        users,
        held_out_moments(users, max_length=max_length, inputs=tuple(scorer.request_inputs), seed=config.seed),
        items,
        encoder_length=encoder_length,
        max_length=max_length,
        successors=config.memory_successors,
        seed=config.seed,
        earlier=earlier,
    )
    table.save(directory)
    write_json(directory / "memory_report.json", report)
    return {"memory_entries": report["entries"], "memory_examples": report.get("calibration", {}).get("examples", 0)}


def training_strategy() -> tf.distribute.Strategy:
    """Over all GPUs of all workers of TF_CONFIG; else over all visible GPUs; the default strategy (one replica) for fewer than two."""
    if worker_position()[0] > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = tf.config.list_physical_devices("GPU")
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


def worker_position() -> tuple[int, int]:
    """Number of workers that TF_CONFIG names (1 without it), and which of them this process is, from 0 on."""
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    workers = resolver.cluster_spec().as_dict().get("worker", [])
    return max(1, len(workers)), int(resolver.task_id or 0)


def _batches(
    histories: Histories, inputs: tuple[str, ...], config: TrainConfig, *, sampler: NoiseSampler, max_length: int, replicas: int
) -> BatchSource | PackedBatches:
    """One history per target, or packed rows for a scorer that says something after every event."""
    if load_class(config.scorer).causal:
        for option, value, needed in (("negatives", config.negatives, "shared"), ("teacher", config.teacher, None)):
            if value != needed:
                raise TrainingError(
                    f"--scorer {config.scorer} learns from every event of a history at once, which goes without --{option} {value}; "
                    "leave it out, or take --scorer nann"
                )
        return PackedBatches(histories, max_length=max_length, sampler=sampler, config=config, replicas=replicas, inputs=inputs)
    return BatchSource(histories, max_length=max_length, sampler=sampler, config=config, replicas=replicas, inputs=inputs)
