"""The graph scorer's aggregation against loops over numpy arrays."""

import numpy as np
import pytest
import tensorflow as tf

from nann.config import TrainConfig
from nann.dataset import Histories
from nann.models import ItemEncoder, build_model
from nann.neighborhood import NeighborSampler, build_graph

CONFIG = TrainConfig(scorer="graph", emb_dim=4, graph_items=3, graph_users=2, graph_user_items=2)


def make():
    scorer = build_model(CONFIG, num_items=30, num_categories=5)
    rng = np.random.default_rng(3)
    for variable in scorer.variables:
        variable.assign_add(0.1 * np.abs(rng.normal(size=variable.shape)).astype(np.float32))
    return scorer


def dense(layer, x):
    return x @ layer.kernel.numpy() + (0 if layer.bias is None else layer.bias.numpy())


def prelu(layer, x):
    return np.where(x > 0, x, layer.alpha.numpy() * x)


def item_vector_by_loop(scorer, rows, categories):
    """rows [1 + S]: the item, 3 near items, 2 x 2 items of users, 2 x 2 items of similar users."""

    def embedding(position):
        items, of_categories = scorer.item_embedding.tables
        return np.concatenate([items.numpy()[rows[position]], of_categories.numpy()[categories[position]]])

    def mean(positions):
        there = [embedding(position) for position in positions if rows[position]]
        return (np.mean(there, axis=0), True) if there else (np.zeros(8, np.float32), False)

    near, any_near = mean([1, 2, 3])
    near = prelu(scorer.near_activation, dense(scorer.near_items, near)) * any_near
    users = []
    for own, similar in (([4, 5], [8, 9]), ([6, 7], [10, 11])):
        (of_user, there), (of_other, _) = mean(own), mean(similar)
        if there:
            users.append(prelu(scorer.user_activation, dense(scorer.user_items, of_user) + dense(scorer.similar_items, of_other)))
    pooled = np.mean(users, axis=0) if users else np.zeros(64, np.float32)
    own = embedding(0)
    x = np.concatenate([own, near, pooled])
    for number, layer in enumerate(scorer.item_mlp.dense[:-1]):
        norm = scorer.item_mlp.norm[number]
        x = dense(layer, x)
        x = norm.gamma.numpy() * (x - norm.moving_mean.numpy()) / np.sqrt(norm.moving_variance.numpy() + 1e-3) + norm.beta.numpy()
        x = prelu(scorer.item_mlp.activation[number], x)
    return dense(scorer.item_mlp.dense[-1], x) + dense(scorer.item_skip, own)


def test_item_vectors_are_those_of_a_loop():
    scorer = make()
    rng = np.random.default_rng(0)
    rows = rng.integers(1, 31, size=(6, 12))
    rows[:, 1:] *= rng.random((6, 11)) > 0.4
    rows[1, 1:] = 0  # an item without neighbours
    rows[2, 4:8] = 0  # users without items, with similar users all the same: they were not reached
    categories = np.where(rows, rows % 5 + 1, 0)
    vectors = scorer.encode_item(tf.constant(rows), tf.constant(categories)).numpy()
    expected = [item_vector_by_loop(scorer, *pair) for pair in zip(rows, categories, strict=True)]
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-4)


def test_items_alone_have_no_neighbours():
    scorer = make()
    rows = np.array([3, 9])
    padded = np.pad(rows[:, np.newaxis], [[0, 0], [0, 11]])
    np.testing.assert_allclose(
        scorer.encode_item(tf.constant(rows), tf.constant(rows % 5 + 1)),
        scorer.encode_item(tf.constant(padded), tf.constant(np.where(padded, padded % 5 + 1, 0))),
    )


def test_an_encoder_averages_samples_and_repeats_itself():
    scorer = make()
    rng = np.random.default_rng(1)
    histories = Histories(rng.integers(1, 31, size=200).astype(np.int32), np.arange(0, 201, 10), 1)
    graph = build_graph(histories, num_items=30)
    categories = np.concatenate([[0], np.arange(30) % 5 + 1]).astype(np.int32)
    rows = np.arange(1, 31)
    once, again, many = (ItemEncoder(scorer, categories, graph, samples=samples)(rows).numpy() for samples in (1, 1, 3))
    np.testing.assert_array_equal(once, again)
    assert np.abs(many - once).max() > 1e-3
    sampler, draws = NeighborSampler(graph, scorer.neighborhood), np.random.default_rng([1, 1])
    sampled = [np.concatenate([rows[:, np.newaxis], sampler.sample(draws, rows)], axis=1) for _ in range(3)]
    expected = np.mean([scorer.encode_item(tf.constant(some), tf.constant(categories[some].astype(np.int64))) for some in sampled], axis=0)
    np.testing.assert_allclose(many, expected, rtol=1e-5, atol=1e-5)


def test_a_graph_is_asked_for():
    with pytest.raises(ValueError, match="give the graph of its training users"):
        ItemEncoder(make(), np.zeros(31, np.int32))
