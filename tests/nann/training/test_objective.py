import numpy as np
import pytest
import tensorflow as tf

from nann.config import TrainConfig
from nann.models import build_model
from nann.training.objective import candidate_loss, loss_and_gradients, score_divergence


def inputs(seed=0, batch=4, count=6):
    rng = np.random.default_rng(seed)
    is_target = np.zeros((batch, count), bool)
    is_target[np.arange(batch), rng.integers(0, count, batch)] = True
    ignored = ~is_target & (rng.random((batch, count)) < 0.2)
    return rng.normal(size=(batch, count)).astype(np.float32), rng.normal(size=(1, count)).astype(np.float32), is_target, ignored


def test_nce_is_the_sum_of_logistic_losses():
    logits, log_expected, is_target, ignored = inputs()
    probability = 1 / (1 + np.exp(-(logits - log_expected)))
    each = -np.log(np.where(is_target, probability, 1 - probability))
    expected = np.where(ignored, 0, each).sum(axis=1)
    np.testing.assert_allclose(candidate_loss(logits, log_expected, is_target, ignored, "nce"), expected, rtol=1e-5)


def test_sampled_softmax_is_cross_entropy_over_what_is_not_ignored():
    logits, log_expected, is_target, ignored = inputs(1)
    corrected = np.where(ignored, -np.inf, logits - log_expected)
    expected = np.log(np.exp(corrected).sum(axis=1)) - corrected[is_target]
    np.testing.assert_allclose(candidate_loss(logits, log_expected, is_target, ignored, "sampled-softmax"), expected, rtol=1e-5)


def test_bpr_is_the_mean_over_pairs_with_the_target():
    logits, log_expected, is_target, ignored = inputs(4)
    ignored[2] = ~is_target[2]  # a sample without any other candidate
    corrected = logits - log_expected
    expected = np.zeros(len(logits))
    for row in range(len(logits)):
        pairs = [
            np.log1p(np.exp(-(corrected[row][is_target[row]][0] - other))) for other in corrected[row][~ignored[row] & ~is_target[row]]
        ]
        expected[row] = np.mean(pairs) if pairs else 0.0
    np.testing.assert_allclose(candidate_loss(logits, log_expected, is_target, ignored, "bpr"), expected, rtol=1e-5)


def test_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="'hinge'"):
        candidate_loss(*inputs(), "hinge")


def test_corrected_softmax_estimates_the_full_softmax():
    """With the expected-count correction, the mean gradient over many draws is the full softmax's: popular negatives are not punished."""
    rng = np.random.default_rng(2)
    scores = rng.normal(size=20).astype(np.float32)
    noise = rng.dirichlet(np.ones(20) * 2)
    sampled = 2000
    draws = rng.choice(20, size=sampled, p=noise)
    candidates = np.concatenate([[3], draws])
    logits = tf.constant(scores[candidates][None])
    log_expected = np.log(noise[candidates] * sampled)[None].astype(np.float32)
    is_target = (np.arange(sampled + 1) == 0)[None]
    ignored = (candidates == 3)[None] & ~is_target
    loss = float(candidate_loss(logits, log_expected - log_expected[:, :1] * is_target, is_target, ignored, "sampled-softmax")[0])
    full = float(np.log(np.exp(scores).sum()) - scores[3])
    assert loss == pytest.approx(full, abs=0.1)


def test_divergence_is_zero_for_equal_scores_and_kullback_leibler_otherwise():
    rng = np.random.default_rng(3)
    clean, perturbed = rng.normal(size=(2, 3, 5)).astype(np.float32)
    np.testing.assert_allclose(score_divergence(clean, clean), 0, atol=1e-6)
    p = np.exp(clean) / np.exp(clean).sum(1, keepdims=True)
    q = np.exp(perturbed) / np.exp(perturbed).sum(1, keepdims=True)
    np.testing.assert_allclose(score_divergence(clean, perturbed), (p * np.log(p / q)).sum(1), rtol=1e-4)


@pytest.mark.parametrize("kind", ["nann", "two-sided", "sequence"])
@pytest.mark.parametrize("loss", ["nce", "sampled-softmax"])
def test_gradients_match_finite_differences(kind, loss):
    config = TrainConfig(scorer=kind, loss=loss, emb_dim=4, adv_eps=0.0)
    scorer = build_model(config, num_items=10, num_categories=3)
    rng = np.random.default_rng(4)
    _, log_expected, is_target, ignored = inputs(5, batch=3, count=5)
    sequence = rng.normal(size=(3, 4, scorer.history_dim)).astype(np.float32)
    embedded = rng.normal(size=(1, 5, scorer.embedded_dim)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], bool)

    def run(sequence, embedded):
        return loss_and_gradients(
            scorer,
            config,
            encode=lambda scorer, sequence, mask: scorer.encode_user(sequence, mask),
            sequence=tf.constant(sequence),
            context={"mask": tf.constant(mask)},
            embedded=tf.constant(embedded),
            log_expected=tf.constant(log_expected),
            is_target=tf.constant(is_target),
            ignored=tf.constant(ignored),
            scale=tf.constant(1.0),
        )

    _, _, _, sequence_gradient, embedded_gradient = run(sequence, embedded)
    step = 1e-3
    for gradient, which in ((sequence_gradient, 0), (embedded_gradient, 1)):
        direction = rng.normal(size=gradient.shape).astype(np.float32)
        pair = [sequence, embedded]
        losses = []
        for sign in (1, -1):
            moved = list(pair)
            moved[which] = pair[which] + sign * step * direction
            losses.append(float(run(*moved)[0]))
        assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(float(np.sum(gradient * direction)), rel=0.05, abs=0.02)
    assert not np.any(sequence_gradient.numpy()[~mask])


def test_the_adversarial_part_adds_a_divergence_and_grows_with_epsilon():
    _, log_expected, is_target, ignored = inputs(7, batch=3, count=5)
    divergences = []
    for epsilon in (0.0, 0.01, 0.1):
        config = TrainConfig(emb_dim=4, adv_eps=epsilon)
        scorer = build_model(config, num_items=10, num_categories=3)
        divergences.append(
            float(
                loss_and_gradients(
                    scorer,
                    config,
                    encode=lambda scorer, sequence, mask: scorer.encode_user(sequence, mask),
                    sequence=tf.constant(np.random.default_rng(8).normal(size=(3, 4, scorer.history_dim)).astype(np.float32)),
                    context={"mask": tf.ones([3, 4], tf.bool)},
                    embedded=tf.constant(np.random.default_rng(9).normal(size=(1, 5, scorer.embedded_dim)).astype(np.float32)),
                    log_expected=tf.constant(log_expected),
                    is_target=tf.constant(is_target),
                    ignored=tf.constant(ignored),
                    scale=tf.constant(1.0),
                )[1]
            )
        )
    assert divergences[0] == 0
    assert 0 < divergences[1] < divergences[2]


@pytest.mark.parametrize("eps", [0.0, 0.05])
def test_samples_of_no_weight_change_nothing(eps):
    rng = np.random.default_rng(3)
    config = TrainConfig(scorer="two-sided", emb_dim=4, adv_eps=eps)
    scorer = build_model(config, num_items=10, num_categories=3)
    sequence, logits_of = rng.normal(size=(4, 3, 8)).astype(np.float32), inputs(batch=4, count=5)
    embedded = rng.normal(size=(1, 5, 8)).astype(np.float32)

    def run(rows, weights):
        _, log_expected, is_target, ignored = logits_of
        found = loss_and_gradients(
            scorer,
            config,
            encode=lambda scorer, sequence, mask: scorer.encode_user(sequence, mask),
            sequence=tf.constant(sequence[rows]),
            context={"mask": tf.ones([len(rows), 3], tf.bool)},
            embedded=tf.constant(embedded),
            log_expected=tf.constant(log_expected),
            is_target=tf.constant(is_target[rows]),
            ignored=tf.constant(ignored[rows]),
            scale=tf.constant(1.0),
            weights=None if weights is None else tf.constant(weights, tf.float32),
        )
        return [found[0], found[1], *found[2], found[3][:2], found[4]]

    # the item network normalises over the candidates, which are the same in both
    for whole, part in zip(run([0, 1, 2, 3], [0.5, 0.5, 0.0, 0.0]), run([0, 1], None), strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(whole), tf.convert_to_tensor(part), rtol=1e-4, atol=1e-6)
