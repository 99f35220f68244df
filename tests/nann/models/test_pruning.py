import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

from nann.config import TrainConfig
from nann.errors import ModelError
from nann.models import build_model, first_layer_sums, prune_score_network
from nann.models.pruning import _fit_layer


def make(kind):
    scorer = build_model(TrainConfig(scorer=kind, emb_dim=4), num_items=30, num_categories=5)
    rng = np.random.default_rng(3)
    for variable in scorer.variables:
        variable.assign_add(0.1 * np.abs(rng.normal(size=variable.shape)).astype(np.float32))
    return scorer


def scores(scorer):
    rows = np.arange(1, 13).reshape(2, 6)
    items = scorer.encode_item(tf.constant(rows[0]), tf.constant(rows[0] % 5 + 1))
    return scorer.score(scorer.encode_user(*scorer.history(rows, rows % 5 + 1)), items[tf.newaxis]).numpy()


def test_units_that_say_nothing_go_first_and_change_nothing():
    """A quarter of each layer's units get no way out: they are the ones that go, and no score moves."""
    scorer = make("nann")
    rng = np.random.default_rng(0)
    network = scorer.score_network
    for dense in (network.second, network.third, network.last):
        kernel = dense.kernel.numpy()
        kernel[rng.permutation(len(kernel))[: len(kernel) // 4]] = 0
        dense.kernel.assign(kernel)
    before = scores(scorer)
    report = prune_score_network(scorer, 0.25)
    assert report["units"] == [96, 48, 24]
    assert network.second.kernel.shape == (96, 48)
    np.testing.assert_allclose(scores(scorer), before, rtol=1e-5, atol=1e-5)
    inputs = scorer.embedded_dim + scorer.item_dim
    assert report["weights"] == [inputs * 128 + 128 * 64 + 64 * 32 + 32, inputs * 96 + 96 * 48 + 48 * 24 + 24]


def test_the_weight_of_a_unit_is_what_comes_in_times_what_goes_out():
    scorer = make("nann")
    network = scorer.score_network
    into = np.concatenate([scorer.value_first.kernel.numpy(), scorer.item_first.kernel.numpy()])
    alpha = network.activation[0].alpha.numpy()
    weight = np.linalg.norm(into, axis=0) * np.linalg.norm(network.second.kernel.numpy(), axis=1)
    prune_score_network(scorer, 0.5)
    np.testing.assert_array_equal(network.activation[0].alpha, alpha[np.sort(np.argsort(-weight)[:64])])


def test_one_unit_stays_and_nothing_goes_at_share_0():
    scorer = make("nann")
    before = scores(scorer)
    assert prune_score_network(scorer, 0.0)["units"] == [128, 64, 32]
    np.testing.assert_array_equal(scores(scorer), before)
    assert prune_score_network(scorer, 0.999)["units"] == [1, 1, 1]
    assert np.isfinite(scores(scorer)).all()


@pytest.mark.parametrize("kind", ["two-sided", "nann-rows"])
def test_a_model_without_a_network_that_can_be_pruned_is_refused(kind):
    scorer = make(kind)
    with pytest.raises(ModelError, match=f"{scorer.name} has no score network to prune; leave out --prune"):
        prune_score_network(scorer, 0.5)


def sums_of(scorer, users=24):
    rows = np.random.default_rng(1).integers(1, 30, (users, 6))
    items = scorer.encode_item(tf.constant(np.arange(1, 29)), tf.constant(np.arange(1, 29) % 5 + 1))
    return first_layer_sums(scorer, scorer.encode_user(*scorer.history(rows, rows % 5 + 1)), items[tf.newaxis])


def test_the_sums_are_what_the_network_is_given():
    scorer = make("nann")
    rows = np.random.default_rng(1).integers(1, 30, (24, 6))
    items = scorer.encode_item(tf.constant(np.arange(1, 29)), tf.constant(np.arange(1, 29) % 5 + 1))
    keys, bias, values, *_ = (each.numpy() for each in scorer.encode_user(*scorer.history(rows, rows % 5 + 1)))
    query = scorer.query_activation(scorer.query_first(items)).numpy()
    weights = softmax(np.einsum("nk,blk->bnl", query, keys) + bias[:, np.newaxis, :], axis=-1)
    attended = np.einsum("bnl,blf->bnf", weights, values)
    expected = attended + (items.numpy() @ scorer.item_first.kernel.numpy())[np.newaxis]
    np.testing.assert_allclose(sums_of(scorer), expected.reshape(-1, 128), rtol=1e-4, atol=1e-4)


def test_a_fitted_network_comes_nearer_to_what_it_was():
    """The last layer has no bias, so scores are compared up to a shift."""
    errors = {}
    for fitted in (False, True):
        scorer = make("nann")
        sums = sums_of(scorer)
        before = scorer.score_network(sums[np.newaxis], False).numpy()
        report = prune_score_network(scorer, 0.5, sums if fitted else None)
        assert (report["units"], report["fitted_on"]) == ([64, 32, 16], len(sums) if fitted else 0)
        after = scorer.score_network(sums_of(scorer)[np.newaxis], False).numpy()
        errors[fitted] = np.std(after - before) / np.std(before)
    assert errors[True] < 0.2 * errors[False]


def test_fitting_changes_nothing_where_nothing_went():
    scorer = make("nann")
    before = scores(scorer)
    prune_score_network(scorer, 0.0, sums_of(scorer))
    np.testing.assert_allclose(scores(scorer), before, rtol=1e-4, atol=1e-4)


def test_the_fit_is_least_squares():
    """Against numpy's own solver, with inputs of one scale, so that what draws to the old weights is next to nothing."""
    scorer = make("nann")
    dense = scorer.score_network.second
    rng = np.random.default_rng(5)
    inputs, wanted = rng.normal(size=(20_000, 128)), rng.normal(size=(20_000, 64))
    _fit_layer(dense, inputs, wanted)
    expected, *_ = np.linalg.lstsq(np.concatenate([inputs, np.ones((20_000, 1))], axis=1), wanted, rcond=None)
    predicted = inputs @ dense.kernel.numpy() + dense.bias.numpy()
    np.testing.assert_allclose(predicted, np.concatenate([inputs, np.ones((20_000, 1))], axis=1) @ expected, atol=1e-3)
