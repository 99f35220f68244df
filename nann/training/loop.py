"""The training loop: batches in, checkpoints, TensorBoard events and a record of the loss out; resumes where it was killed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nann.config import TrainConfig
from nann.dataset import Items, Samples
from nann.dataset.inputs import INPUT_PREFIX, Features
from nann.errors import TrainingError
from nann.models import Scorer, build_model
from nann.training.batches import Batches
from nann.training.checkpoints import Checkpoints
from nann.training.distillation import Teacher
from nann.training.records import BEST, CHECKPOINTS, VALIDATION_KS, BestWeights, Records
from nann.training.step import TrainingStep, trained_variables
from nann.training.validation import RecallProbe
from nann.training.warm_start import EarlierModel, carry_over
from ops.optimizers import LazyAdamW

logger = logging.getLogger(__name__)
PROGRESS_SECONDS = 10.0
# marks a tensor event as a scalar for TensorBoard, without needing its package for writing
_SCALAR = tf.compat.v1.SummaryMetadata(plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"))


def learning_rate_at(step: int, *, steps: int, config: TrainConfig) -> float:
    """Learning rate of a step: linear warm-up, then constant or a half cosine that ends at 0 (arXiv 1608.03983, equation 5)."""
    warmup = min(config.warmup_steps, steps // 10)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@dataclass(frozen=True)
class Trained:
    """What a training ends with.

    Attributes:
        scorer: the trained scorer.
        optimizer: its optimizer, with the moments.
        summary: steps, samples, samples_per_epoch, loss and recall of the last record, counts of the tables (`ItemEmbedding.counts`), and
            what a warm start carried over.
    """

    scorer: Scorer
    optimizer: LazyAdamW
    summary: dict[str, Any]


def train_scorer(
    source: Batches,
    items: Items,
    validation: Samples | None,
    *,
    log_probability: np.ndarray,
    max_length: int,
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
    directory: Path,
    features: Features | None = None,
    earlier: EarlierModel | None = None,
    teacher: Teacher | None = None,
) -> Trained:
    """Trains a scorer, from the newest checkpoint in ``directory`` when there is one.

    Args:
        source: the batches.
        items: the catalogue.
        validation: held-out samples for recall during training, or None.
        log_probability: [N + 1] float32 log of the noise probability by item row.
        max_length: history items the model reads.
        config: the options.
        strategy: where the replicas are; ``source`` must yield their global batch.
        directory: receives ``checkpoints/``, ``events/`` and ``training.jsonl``.
        features: by name what the scorer reads beside items and categories; None: nothing.
        earlier: the model to go on from; None to begin with initial values.
        teacher: whose scores the scorer learns too, or None.

    Raises:
        TrainingError: a loss is not finite.
    """
    records = Records(directory)
    with strategy.scope():
        scorer = build_model(
            config,
            num_items=len(items.category_rows) - 1,
            num_categories=items.num_categories,
            features=features,
        )
        optimizer = LazyAdamW(trained_variables(scorer), weight_decay=config.weight_decay, fused=config.fused)
    if config.item_init != 1:
        scorer.item_embedding.item_table.scale(config.item_init)
    carried = {} if earlier is None else carry_over(earlier, scorer, optimizer)
    steps_before = 0 if earlier is None else earlier.steps
    checkpoints = Checkpoints(tf.train.Checkpoint(scorer=scorer, optimizer=optimizer), directory / CHECKPOINTS, strategy)
    if checkpoints.restore():
        logger.info("resuming from step %d of %d", int(optimizer.step.numpy()) - steps_before, source.steps)
    start = int(optimizer.step.numpy()) - steps_before
    records.truncate(start)

    graph = None if source.neighbors is None else source.neighbors.graph
    step_of = TrainingStep(
        scorer,
        optimizer,
        config,
        categories=tf.constant(items.category_rows),
        log_probability=tf.constant(log_probability),
        replicas=strategy.num_replicas_in_sync,
        teacher=teacher,
    )
    distributed = _distributed(source, start, config, strategy)

    @tf.function(autograph=False)
    def train_step(batch: dict[str, Any], learning_rate: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        losses, divergences = strategy.run(step_of, args=(batch, learning_rate))
        mean = tf.distribute.ReduceOp.MEAN
        return strategy.reduce(mean, losses, axis=None), strategy.reduce(mean, divergences, axis=None)

    probe = None
    if validation is not None and len(validation.targets) and config.validations:
        probe = RecallProbe(scorer, validation, categories=items.category_rows, max_length=max_length, graph=graph)
    validate_at = {math.ceil(source.steps * (number + 1) / config.validations) for number in range(config.validations)} if probe else set()

    best = BestWeights(tf.train.Checkpoint(scorer=scorer, optimizer=optimizer), directory / BEST, records)
    writer = tf.summary.create_file_writer(str(directory / "events"))
    clock = _Clock(start, source)
    losses: list[tf.Tensor] = []
    divergences: list[tf.Tensor] = []
    for step in range(start, source.steps):
        rate = learning_rate_at(step, steps=source.steps, config=config)
        loss, divergence = train_step(next(distributed), tf.constant(rate, tf.float32))
        losses.append(loss)
        divergences.append(divergence)
        done = step + 1
        if done % config.log_steps and done != source.steps and done not in validate_at:
            continue
        record: dict[str, Any] = {
            "step": done,
            "epoch": done * source.batch_size / source.num_samples,
            "loss": float(np.mean([value.numpy() for value in losses])),
            "divergence": float(np.mean([value.numpy() for value in divergences])),
            "learning_rate": rate,
        }
        losses, divergences = [], []
        if not math.isfinite(record["loss"]):
            raise TrainingError(
                f"the loss is {record['loss']} within the {config.log_steps} steps up to step {done}; "
                "lower --learning-rate, or look for extreme values in the input"
            )
        if probe and done in validate_at:
            with clock.paused():
                record.update(probe.recall(VALIDATION_KS))
                if config.keep == "best":
                    best.offer(record)
        records.add(record, samples_per_s=clock.samples_per_s(done))
        with writer.as_default(step=done):
            for name in record.keys() - {"step"}:
                tf.summary.write(name, tf.constant(record[name], tf.float32), metadata=_SCALAR)
        clock.report(record, force=done == source.steps or done in validate_at)
        if config.patience and len(records.since_best()) >= config.patience:
            logger.info("ended after step %d: no better recall in the last %d measurements", done, config.patience)
            break
        if done < source.steps:
            checkpoints.save(done, due=clock.checkpoint_due(config.checkpoint_seconds))
    writer.close()
    last = records.last()
    done = int(last.get("step", start))
    kept = best.take() if config.keep == "best" else done
    records.finish()
    if config.evict_after:
        scorer.item_embedding.evict(config.evict_after)
    measured = {name: value for name, value in records.at(kept).items() if name.startswith("recall_all@")}
    summary: dict[str, Any] = {
        "steps": done,
        "kept_step": kept,
        "samples": done * source.batch_size,
        "samples_per_epoch": source.num_samples,
        **carried,
        **scorer.item_embedding.counts(),
        **{name: last[name] for name in ("loss", "divergence") if name in last},
        **measured,
    }
    return Trained(scorer, optimizer, summary)


def _distributed(source: Batches, start: int, config: TrainConfig, strategy: tf.distribute.Strategy) -> Iterator[dict[str, Any]]:
    """Batches from a step on, by the names of `Batch`; made ahead of time in a thread, and split over the replicas."""
    shared = config.negatives == "shared"
    replicas = strategy.num_replicas_in_sync
    shapes: dict[str, tuple[int, ...]] = {"histories": (source.max_length,), "targets": (), "negatives": (config.num_neg,)}
    if source.neighbors is not None:
        size = source.neighbors.shape.size
        shapes.update(target_neighbors=(size,), negative_neighbors=(config.num_neg, size))

    def generate() -> Iterator[dict[str, np.ndarray]]:
        for step in range(start, source.steps):
            batch = source.batch(step)
            parts: dict[str, np.ndarray] = {name: getattr(batch, name) for name in shapes}
            parts |= {INPUT_PREFIX + name: batch.inputs[name] for name in source.inputs}
            if shared:
                parts.update({name: np.repeat(part, replicas, axis=0) for name, part in parts.items() if name.startswith("negative")})
            yield parts

    spec = {name: tf.TensorSpec([None, *shape], tf.int32) for name, shape in shapes.items()}
    spec |= {INPUT_PREFIX + name: tf.TensorSpec([None, None], tf.int64) for name in source.inputs}
    options = tf.data.Options()
    # There is nothing to tune, and an iterator is only let go of after its tuning thread's next turn: up to as long as it has lived.
    options.autotune.enabled = False
    stream = tf.data.Dataset.from_generator(generate, output_signature=spec).prefetch(4).with_options(options)
    if replicas == 1:
        return iter(stream)
    per_replica = [
        stream.map(lambda parts, index=index: {name: tf.split(part, replicas)[index] for name, part in parts.items()})
        for index in range(replicas)
    ]
    return _zip_replicas(per_replica, strategy)


def _zip_replicas(per_replica: list[tf.data.Dataset], strategy: tf.distribute.Strategy) -> Iterator[dict[str, Any]]:
    for parts in zip(*per_replica, strict=True):
        yield {
            name: strategy.experimental_distribute_values_from_function(
                lambda context, name=name: parts[context.replica_id_in_sync_group][name]  # noqa: B023 - used at once
            )
            for name in parts[0]
        }


class _Clock:
    """Speed, progress lines and checkpoint times of this process; pauses (validation) do not count as training."""

    def __init__(self, start: int, source: Batches) -> None:
        self._start, self._source = start, source
        self._began = self._reported = self._saved = time.monotonic()

    def samples_per_s(self, done: int) -> float:
        return (done - self._start) * self._source.batch_size / max(1e-9, time.monotonic() - self._began)

    def paused(self) -> _Pause:
        return _Pause(self)

    def skip(self, seconds: float) -> None:
        self._began += seconds

    def report(self, record: dict[str, Any], *, force: bool) -> None:
        now = time.monotonic()
        if not force and now - self._reported < PROGRESS_SECONDS:
            return
        self._reported = now
        speed = self.samples_per_s(record["step"])
        left = (self._source.steps - record["step"]) * self._source.batch_size / max(speed, 1e-9)
        recalls = "".join(f"  {name} {record[name]:.3f}" for name in record if name.startswith("recall"))
        logger.info(
            "step %d/%d  epoch %.2f  loss %.4f%s  %.0f samples/s  %d:%02d left",
            record["step"],
            self._source.steps,
            record["epoch"],
            record["loss"],
            recalls,
            speed,
            *divmod(round(left), 60),
        )

    def checkpoint_due(self, seconds: float) -> bool:
        if time.monotonic() - self._saved < seconds:
            return False
        self._saved = time.monotonic()
        return True


class _Pause:
    def __init__(self, clock: _Clock) -> None:
        self._clock = clock

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._clock.skip(time.monotonic() - self._since)
