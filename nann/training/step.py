"""One training step on one replica: look up, differentiate, update."""

from __future__ import annotations

import contextlib
import functools

import tensorflow as tf

from nann.config import TrainConfig
from nann.dataset.inputs import INPUT_PREFIX
from nann.models import Scorer, UserState
from nann.models.causal import CausalScorer
from nann.training.distillation import Teacher
from nann.training.objective import loss_and_gradients
from ops.lookup import stock_ops
from ops.optimizers import LazyAdamW

SEEDS_APART = 1_000_003  # of two replicas; within one the seed grows by one from dropout to dropout


class TrainingStep:
    """The step of one replica as a callable for `tf.distribute.Strategy.run`.

    The tables are read outside the compiled part and receive row gradients, so a step costs what the batch touches; the networks run as
    one XLA program of fixed shapes. Lookups, their gradients and the updates are fused native ops unless ``config.fused`` is off.

    Args:
        scorer, optimizer: created under the strategy's scope; the optimizer over `trained_variables(scorer)`.
        config: the training options.
        categories: [num_items + 1] int32 category row by item row.
        log_probability: [num_items + 1] float32 log of the noise probability by item row.
        replicas: number of replicas in sync.
        teacher: whose scores the scorer learns too, or None.
    """

    def __init__(
        self,
        scorer: Scorer,
        optimizer: LazyAdamW,
        config: TrainConfig,
        *,
        categories: tf.Tensor,
        log_probability: tf.Tensor,
        replicas: int,
        teacher: Teacher | None = None,
    ) -> None:
        self._teacher = teacher
        self._scorer, self._optimizer, self._config = scorer, optimizer, config
        self._categories, self._log_probability, self._replicas = categories, log_probability, replicas
        # Replicas exchange batch statistics inside. TensorFlow 2.21 can do that in a nested function only under XLA, and under XLA only
        # where all replicas are GPUs (`_use_merge_call` of its strategies), which was not tried for want of one.
        alone = replicas == 1
        self._at_every_position = functools.partial(_after_every_position, dropout=config.dropout)
        self._differentiate = (
            tf.function(loss_and_gradients, jit_compile=config.xla and scorer.compiles, autograph=False) if alone else loss_and_gradients
        )

    def __call__(self, batch: dict[str, tf.Tensor], learning_rate: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Trains on one batch.

        Args:
            batch: by name as `nann.training.batches.parts_of` gives it, ``histories`` [B, L], ``targets`` [B], ``negatives`` [B, S] or
                [1, S] when shared; or as `nann.training.packing.PackedBatches.parts` does.
            learning_rate: scalar float32.

        Returns:
            loss and divergence, scalars.
        """
        with contextlib.nullcontext() if self._config.fused else stock_ops():
            return self._train(batch, learning_rate)

    def _seed(self) -> tf.Tensor:
        """[2] int32 of what this replica leaves out in this step."""
        seed = tf.constant(self._config.seed, tf.int32)
        if self._replicas > 1:
            seed += SEEDS_APART * tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
        return tf.stack([seed, tf.cast(self._optimizer.step.read_value(), tf.int32)])

    def _of_all(self, part: tf.Tensor) -> tf.Tensor:
        """The parts [B, ...] of all replicas, one after the other."""
        if self._replicas == 1:
            return part
        return tf.distribute.get_replica_context().all_gather(tf.identity(part), axis=0)  # the copy has a device, the argument none

    def _mean_of_all(self, value: tf.Tensor) -> tf.Tensor:
        """The mean of a scalar over all replicas."""
        if self._replicas == 1:
            return value
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, value)

    def _embedded(self, candidates: tf.Tensor, categories: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeddings [..., E] of candidates, and their rows [...], 0 for those that are known by their category and features alone."""
        share = self._config.candidate_id_dropout
        if not (share and self._scorer.causal):
            return self._scorer.embed_items(candidates, categories), candidates
        drawn = tf.random.stateless_uniform(tf.shape(candidates), self._seed() - tf.constant([1, 0], tf.int32))
        known = tf.where(drawn < share, tf.zeros_like(candidates), candidates)
        return self._scorer.item_embedding.items(candidates, categories, id_rows=known), known

    def _train(self, parts: dict[str, tf.Tensor], learning_rate: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        scorer, embedding = self._scorer, self._scorer.item_embedding
        histories, targets, negatives = parts["histories"], parts["targets"], parts["negatives"]
        inputs = {name.removeprefix(INPUT_PREFIX): part for name, part in parts.items() if name.startswith(INPUT_PREFIX)}
        segments, weights = parts.get("segments"), None
        if segments is not None:  # a target at every position of the rows
            targets, segments, weights = (tf.reshape(part, [-1]) for part in (targets, segments, parts["weights"]))
            weights /= tf.maximum(self._mean_of_all(tf.reduce_sum(weights)), 1e-9)
        batch, sampled = tf.shape(targets)[0], tf.shape(negatives)[1]
        if self._config.negatives == "shared":
            # every sample scores all targets of the global batch and the shared negatives; its own target is at its own place
            everyone, own = self._of_all(targets), tf.range(batch)
            if self._replicas > 1:
                own += tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32) * batch
            candidates = tf.concat([everyone, negatives[0]], axis=0)[tf.newaxis, :]
            is_target = tf.one_hot(own, tf.size(everyone) + sampled, on_value=True, off_value=False, dtype=tf.bool)
            expected = tf.math.count_nonzero(everyone, dtype=tf.int32) - 1 + sampled
        else:
            candidates = tf.concat([targets[:, tf.newaxis], negatives], axis=1)
            is_target = tf.tile(tf.range(sampled + 1)[tf.newaxis, :] == 0, [batch, 1])
            expected = sampled
        ignored = tf.equal(candidates, targets[:, tf.newaxis])
        if segments is not None:  # padding, and what the same user met before or after
            whose = tf.concat([self._of_all(segments), tf.zeros([sampled], tf.int32)], axis=0)[tf.newaxis, :]
            ignored = tf.logical_or(ignored, tf.logical_or(tf.equal(candidates, 0), tf.equal(whose, segments[:, tf.newaxis])))
        ignored = tf.logical_and(ignored, tf.logical_not(is_target))
        log_expected = tf.gather(self._log_probability, candidates) + tf.math.log(tf.cast(expected, tf.float32))
        embedding.count(targets, tf.gather(self._categories, targets))
        history_categories = tf.gather(self._categories, histories)
        if segments is not None and self._config.id_dropout:
            drawn = tf.random.stateless_uniform(tf.shape(histories), self._seed())
            histories = tf.where(drawn < self._config.id_dropout, tf.zeros_like(histories), histories)
        taught = None if self._teacher is None else self._teacher.logits(histories, history_categories, candidates, **inputs)
        candidate_categories = tf.gather(self._categories, candidates)
        with tf.GradientTape(watch_accessed_variables=False) as feature_tape:
            feature_tape.watch(embedding.small_tables)
            if segments is None:
                sequence, mask = scorer.history(histories, history_categories, **inputs)
                context = {"mask": mask}
            else:
                context = {"segments": parts["segments"], "seed": self._seed()}
                sequence, _ = embedding.history(histories, history_categories, segments=parts["segments"], **inputs)
            embedded, known = self._embedded(candidates, candidate_categories)
        loss, divergence, network_gradients, sequence_gradient, embedded_gradient = self._differentiate(
            scorer,
            self._config,
            encode=_after_the_history if segments is None else self._at_every_position,
            sequence=sequence,
            context=context,
            embedded=embedded,
            log_expected=log_expected,
            is_target=is_target,
            ignored=ignored,
            scale=tf.constant(1.0 / self._replicas),
            weights=weights,
            teacher_logits=taught,
        )
        gradients = [sequence_gradient, embedded_gradient]
        rows = [(histories, history_categories), (known, candidate_categories)]
        table_gradients: list[tf.Tensor | tf.IndexedSlices] = [*embedding.id_gradients(rows, gradients)]
        if embedding.small_tables:
            table_gradients += feature_tape.gradient([sequence, embedded], embedding.small_tables, output_gradients=gradients)
        self._optimizer.apply([*table_gradients, *network_gradients], learning_rate)
        return loss, divergence


def _after_the_history(scorer: Scorer, sequence: tf.Tensor, mask: tf.Tensor) -> UserState:
    return scorer.encode_user(sequence, mask)


def _after_every_position(scorer: CausalScorer, sequence: tf.Tensor, segments: tf.Tensor, seed: tf.Tensor, dropout: float) -> UserState:
    vectors = scorer.encode_positions(sequence, segments, dropout=dropout, seed=seed)
    return (tf.reshape(vectors, [-1, vectors.shape[-1]]),)


def trained_variables(scorer: Scorer) -> list[tf.Variable]:
    """The variables a step trains, in the order of its gradients: tables first."""
    return [*scorer.item_embedding.tables, *scorer.network_variables]
