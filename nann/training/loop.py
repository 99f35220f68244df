"""The training loop: batches in, checkpoints, TensorBoard events and a record of the loss out; resumes where it was killed."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nann.config import TrainConfig
from nann.dataset import Items, Samples
from nann.dataset.inputs import Features
from nann.errors import TrainingError
from nann.models import Scorer, build_model
from nann.training.batches import Batches
from nann.training.checkpoints import Checkpoints
from nann.training.clock import Clock
from nann.training.distillation import Teacher
from nann.training.feeding import feed
from nann.training.records import BEST, CHECKPOINTS, VALIDATION_KS, BestWeights, Records
from nann.training.schedule import StepPlan, learning_rate_at
from nann.training.step import TrainingStep, trained_variables
from nann.training.validation import RecallProbe
from nann.training.warm_start import EarlierModel, carry_over
from ops.optimizers import LazyAdamW

logger = logging.getLogger(__name__)
# marks a tensor event as a scalar for TensorBoard, without needing its package for writing
_SCALAR = tf.compat.v1.SummaryMetadata(plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"))


@dataclass(frozen=True)
class Trained:
    """What a training ends with.

    Attributes:
        scorer: the trained scorer.
        optimizer: its optimizer, with the moments.
        summary: steps, planned_steps (that a limit of time left), samples, samples_per_epoch, loss and recall of the last record, counts of
            the tables (`ItemEmbedding.counts`), and what a warm start carried over.
    """

    scorer: Scorer
    optimizer: LazyAdamW
    summary: dict[str, Any]


@dataclass(frozen=True)
class TrainingData:
    """What a training learns from.

    Attributes:
        batches: of the global batch of all replicas.
        items: the catalogue.
        log_probability: [N + 1] float32 log of the noise probability by item row.
        max_length: history items the model reads.
        features: by name what the scorer reads beside items and categories.
        validation: held-out samples for recall during training, or None.
    """

    batches: Batches
    items: Items
    log_probability: NDArray[np.float32]
    max_length: int
    features: Features | None = None
    validation: Samples | None = None


def train_scorer(
    data: TrainingData,
    config: TrainConfig,
    strategy: tf.distribute.Strategy,
    directory: Path,
    *,
    earlier: EarlierModel | None = None,
    teacher: Teacher | None = None,
) -> Trained:
    """Trains a scorer, from the newest checkpoint in ``directory`` when there is one.

    Args:
        data: what to learn from.
        config: the options.
        strategy: where the replicas are.
        directory: receives ``checkpoints/``, ``events/`` and ``training.jsonl``.
        earlier: the model to go on from; None to begin with initial values.
        teacher: whose scores the scorer learns too, or None.

    Raises:
        TrainingError: a loss is not finite.
    """
    with strategy.scope():
        scorer = build_model(
            config, num_items=len(data.items.category_rows) - 1, num_categories=data.items.num_categories, features=data.features
        )
        optimizer = LazyAdamW(trained_variables(scorer), weight_decay=config.weight_decay, fused=config.fused)
    if config.item_init != 1:
        scorer.item_embedding.item_table.scale(config.item_init)
    carried = {} if earlier is None else carry_over(earlier, scorer, optimizer)
    loop = _Loop(data, config, strategy, directory, scorer, optimizer, steps_before=0 if earlier is None else earlier.steps)
    last, kept = loop.run(teacher)
    if config.evict_after:
        scorer.item_embedding.evict(config.evict_after)
    return Trained(scorer, optimizer, {**last, **carried, **scorer.item_embedding.counts(), **kept})


class _Loop:
    """One training: its records, its checkpoints and its steps."""

    def __init__(
        self,
        data: TrainingData,
        config: TrainConfig,
        strategy: tf.distribute.Strategy,
        directory: Path,
        scorer: Scorer,
        optimizer: LazyAdamW,
        *,
        steps_before: int,
    ) -> None:
        self._data, self._config, self._strategy, self._directory = data, config, strategy, directory
        self._scorer, self._optimizer = scorer, optimizer
        self._records = Records(directory)
        self._checkpoints = Checkpoints(tf.train.Checkpoint(scorer=scorer, optimizer=optimizer), directory / CHECKPOINTS, strategy)
        self._plan = StepPlan(data.batches.steps, config, directory)
        resumed = self._checkpoints.restore()
        self._start = int(optimizer.step.numpy()) - steps_before
        if resumed:
            logger.info("resuming from step %d of %d", self._start, self._plan.steps)
        self._records.truncate(self._start)
        self._best = BestWeights(tf.train.Checkpoint(scorer=scorer, optimizer=optimizer), directory / BEST, self._records)
        self._clock = Clock(self._start, data.batches)
        self._probe = self._make_probe()

    def run(self, teacher: Teacher | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Takes all steps; says how many, and of the weights that are kept what was measured."""
        train_step, batches = self._compiled_step(teacher), feed(self._data.batches, self._start, self._strategy)
        writer = tf.summary.create_file_writer(str(self._directory / "events"))
        pending: list[tuple[tf.Tensor, tf.Tensor]] = []
        done = self._start
        while done < self._plan.steps:
            rate = learning_rate_at(done, steps=self._plan.steps, config=self._config)
            pending.append(train_step(next(batches), tf.constant(rate, tf.float32)))
            done += 1
            self._measure_speed(done, pending)
            measures = self._measures_after(done)
            if done % self._config.log_steps and done != self._plan.steps and not measures:
                continue
            record = self._note(done, rate, pending, measures)
            pending = []
            with writer.as_default(step=done):
                for name in record.keys() - {"step"}:
                    tf.summary.write(name, tf.constant(record[name], tf.float32), metadata=_SCALAR)
            if self._config.patience and len(self._records.since_best()) >= self._config.patience:
                logger.info("ended after step %d: no better recall in the last %d measurements", done, self._config.patience)
                break
            if done < self._plan.steps:
                self._checkpoints.save(done, due=self._clock.checkpoint_due(self._config.checkpoint_seconds))
        writer.close()
        return self._finish()

    def _compiled_step(self, teacher: Teacher | None) -> Any:
        """A function of a batch and a learning rate that takes a step, and returns its loss and its divergence."""
        strategy = self._strategy
        step_of = TrainingStep(
            self._scorer,
            self._optimizer,
            self._config,
            categories=tf.constant(self._data.items.category_rows),
            log_probability=tf.constant(self._data.log_probability),
            replicas=strategy.num_replicas_in_sync,
            teacher=teacher,
        )

        @tf.function(autograph=False)
        def train_step(batch: dict[str, Any], learning_rate: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            losses, divergences = strategy.run(step_of, args=(batch, learning_rate))
            mean = tf.distribute.ReduceOp.MEAN
            return strategy.reduce(mean, losses, axis=None), strategy.reduce(mean, divergences, axis=None)

        return train_step

    def _make_probe(self) -> RecallProbe | None:
        data = self._data
        if data.validation is None or not len(data.validation.targets) or not self._config.validations:
            return None
        return RecallProbe(self._scorer, data.validation, categories=data.items.category_rows, max_length=data.max_length)

    def _measures_after(self, done: int) -> bool:
        """Whether recall is measured after so many steps."""
        times = self._config.validations
        return self._probe is not None and done in {math.ceil(self._plan.steps * (number + 1) / times) for number in range(times)}

    def _measure_speed(self, done: int, pending: list[tuple[tf.Tensor, tf.Tensor]]) -> None:
        """Turns a limit of time into one of steps."""
        at = self._plan.measured_at
        if done == at:
            pending[-1][0].numpy()
            self._plan.measure(done, self._clock.seconds(), self._clock.seconds_a_step(done))
            logger.info("%g minutes are %d steps of this speed", self._config.max_minutes, self._plan.steps)
        elif done == self._start + 1 + (at - self._start) // 2:  # the first steps compile
            pending[-1][0].numpy()
            self._clock.mark(done)

    def _note(self, done: int, rate: float, pending: list[tuple[tf.Tensor, tf.Tensor]], measures: bool) -> dict[str, Any]:
        """Adds a record of the steps since the last one.

        Raises:
            TrainingError: their loss is not finite.
        """
        batches = self._data.batches
        loss, divergence = (float(np.mean([value.numpy() for value in values])) for values in zip(*pending, strict=True))
        record: dict[str, Any] = {"step": done, "epoch": done * batches.batch_size / batches.num_samples}
        record |= {"loss": loss, "divergence": divergence, "learning_rate": rate}
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} within the {self._config.log_steps} steps up to step {done}; "
                "lower --learning-rate, or look for extreme values in the input"
            )
        if measures and self._probe is not None:
            with self._clock.paused():
                record.update(self._probe.recall(VALIDATION_KS))
                if self._config.keep == "best":
                    self._best.offer(record)
        self._records.add(record, samples_per_s=self._clock.samples_per_s(done))
        self._clock.report(record, steps=self._plan.steps, force=done == self._plan.steps or measures)
        return record

    def _finish(self) -> tuple[dict[str, Any], dict[str, Any]]:
        last, batches = self._records.last(), self._data.batches
        done = int(last.get("step", self._start))
        kept = self._best.take() if self._config.keep == "best" else done
        self._records.finish()
        steps = {"steps": done, "kept_step": kept, "samples": done * batches.batch_size, "samples_per_epoch": batches.num_samples}
        steps["planned_steps"] = self._plan.steps
        measured = {name: value for name, value in self._records.at(kept).items() if name.startswith("recall_all@")}
        return steps, {**{name: last[name] for name in ("loss", "divergence") if name in last}, **measured}
