"""The training objective: a candidate loss with expected-count correction, and its adversarial part.

Noise-contrastive estimation: Gutmann and Hyvarinen, AISTATS 2010; in the form of Mnih and Teh, arXiv 1206.6426. Sampled softmax with
log-expected-count correction: Jean et al., arXiv 1412.2007. Adversarial part: NANN, arXiv 2202.10226, section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from nann.config import TrainConfig
from nann.models import Scorer, UserState
from nann.training.distillation import distillation_loss


def candidate_loss(logits: tf.Tensor, log_expected: tf.Tensor, is_target: tf.Tensor, ignored: tf.Tensor, kind: str) -> tf.Tensor:
    """Loss per sample over a target and sampled candidates.

    Args:
        logits: [B, n] scores, float32.
        log_expected: [B or 1, n] log of the count with which each candidate is expected among the negatives.
        is_target: [B, n] bool, true for each sample's one target.
        ignored: [B, n] bool, candidates that happen to be the sample's target a second time.
        kind: "nce" (sigmoid cross entropy, summed over the candidates), "sampled-softmax", or "bpr" (pairwise logistic loss of the target
            against each other candidate, their mean: Rendle et al., UAI 2009, arXiv 1205.2618, with the same correction).

    Returns:
        [B] float32.

    Raises:
        ValueError: ``kind`` is none of them.
    """
    corrected = logits - log_expected
    if kind == "nce":
        labels = tf.cast(is_target, logits.dtype)
        each = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=corrected)
        return tf.reduce_sum(tf.where(ignored, tf.zeros_like(each), each), axis=1)
    if kind == "sampled-softmax":
        corrected = tf.where(ignored, tf.fill(tf.shape(corrected), -1e9), corrected)
        target = tf.reduce_sum(tf.where(is_target, corrected, tf.zeros_like(corrected)), axis=1)
        return tf.reduce_logsumexp(corrected, axis=1) - target
    if kind == "bpr":
        target = tf.reduce_sum(tf.where(is_target, corrected, tf.zeros_like(corrected)), axis=1, keepdims=True)
        others = tf.cast(tf.logical_not(tf.logical_or(ignored, is_target)), logits.dtype)
        return tf.reduce_sum(others * tf.nn.softplus(corrected - target), axis=1) / tf.maximum(tf.reduce_sum(others, axis=1), 1.0)
    raise ValueError(f"loss must be nce, sampled-softmax or bpr, got {kind!r}")


def score_divergence(clean: tf.Tensor, perturbed: tf.Tensor) -> tf.Tensor:
    """KL divergence [B] between the softmax distributions of clean (a constant) and perturbed logits [B, n]."""
    clean_log = tf.nn.log_softmax(tf.stop_gradient(clean))
    return tf.reduce_sum(tf.exp(clean_log) * (clean_log - tf.nn.log_softmax(perturbed)), axis=1)


def _over_replicas(gradient: tf.Tensor) -> tf.Tensor:
    """The gradient [1, n, D] of candidates that all replicas share, summed over them; that of a sample's own candidates as it is."""
    context = tf.distribute.get_replica_context()
    if gradient.shape[0] != 1 or context is None or context.num_replicas_in_sync == 1:
        return gradient
    return context.all_reduce(tf.distribute.ReduceOp.SUM, gradient)


def mean_of(values: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    """The mean of [B]; with weights [B], which add up to 1, the weighted one."""
    return tf.reduce_mean(values) if weights is None else tf.reduce_sum(weights * values)


def loss_and_gradients(
    scorer: Scorer,
    config: TrainConfig,
    *,
    encode: Callable[..., UserState],
    sequence: tf.Tensor,
    context: Mapping[str, tf.Tensor],
    embedded: tf.Tensor,
    log_expected: tf.Tensor,
    is_target: tf.Tensor,
    ignored: tf.Tensor,
    scale: tf.Tensor,
    weights: tf.Tensor | None = None,
    teacher_logits: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tuple[tf.Tensor, ...], tf.Tensor, tf.Tensor]:
    """One forward and backward pass over looked-up embeddings, so that it compiles as one XLA program of fixed shapes.

    Args:
        scorer: its networks are used, its tables are not.
        config: loss kind, ``adv_eps``, precision.
        encode: the user states, leading axis B, of the scorer, the sequence and, by name, ``context``.
        sequence: [R, L, H] embedded histories; R is B, or B is R L where every position has a target.
        context: what else the user states depend on.
        embedded: [B, n, E] embedded candidates, or [1, n, E] when the batch shares them.
        log_expected: [B or 1, n].
        is_target: [B, n] bool.
        ignored: [B, n] bool.
        scale: scalar the mean over B is multiplied by before differentiation (1 / replicas).
        weights: [B] how much each sample counts, adding up to 1 (in the mean over the replicas); None: all alike.
        teacher_logits: [B, n] a teacher's scores of the candidates; ``teacher_weight`` of the loss is then the divergence from them.

    Returns:
        loss (scalar mean over B, without the adversarial part), divergence (scalar), gradients of the network variables, gradient of
        ``sequence`` and gradient of ``embedded``.
    """
    compute = tf.bfloat16 if config.mixed_precision else tf.float32
    variables = scorer.network_variables
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch([sequence, embedded, *variables])
        user_state = encode(scorer, tf.cast(sequence, compute), **context)
        items = scorer.item_network(tf.cast(embedded, compute), training=True)
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(items)
            scores = [tf.cast(each, tf.float32) for each in scorer.training_scores(user_state, items)]
            losses = [mean_of(candidate_loss(each, log_expected, is_target, ignored, config.loss), weights) for each in scores]
            loss, logits = tf.add_n(losses) / len(losses), tf.add_n(scores) / len(scores)
            if teacher_logits is not None:
                distilled = mean_of(distillation_loss(logits, teacher_logits, log_expected, ignored), weights)
                loss = (1.0 - config.teacher_weight) * loss + config.teacher_weight * distilled
        total, divergence = loss, tf.zeros([])
        if config.adv_eps > 0:
            direction = tf.sign(tf.stop_gradient(_over_replicas(inner.gradient(loss, items))))
            perturbed = scorer.score(user_state, items + tf.cast(config.adv_eps, compute) * direction, training=True)
            divergence = mean_of(score_divergence(logits, tf.cast(perturbed, tf.float32)), weights)
            total = loss + divergence
        total *= scale
    gradients = tape.gradient(total, [sequence, embedded, *variables], unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return loss, divergence, tuple(gradients[2:]), gradients[0], gradients[1]
