"""Scorers written on rows: the same values and gradients as on repeated rows, with the user's part once per user."""

import numpy as np
import pytest
import tensorflow as tf

from nann.models.attention_rows import AttentionRows
from ops.graphdef.reach import upstream

USERS, LENGTH, ITEMS = 3, 6, 10


@pytest.fixture(scope="module")
def scorer() -> AttentionRows:
    return AttentionRows(num_items=50, num_categories=5, emb_dim=32, seed=1)


def inputs(scorer: AttentionRows, *, shared: bool) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    rng = np.random.default_rng(0)
    histories = rng.integers(1, 51, size=(USERS, LENGTH))
    histories[1, 3:] = 0
    histories[2] = 0
    sequence, mask = scorer.history(tf.constant(histories), tf.constant(np.minimum(histories, 5)))
    items = rng.normal(size=(1 if shared else USERS, ITEMS, scorer.item_dim)).astype(np.float32)
    return sequence, mask, tf.constant(items)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_values_and_gradients_equal_those_on_repeated_rows(scorer: AttentionRows, shared: bool, training: bool) -> None:
    sequence, mask, items = inputs(scorer, shared=shared)
    variables = scorer.network_variables

    @tf.function(autograph=False)
    def through_compression() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch([sequence, items])
            logits = scorer.score(scorer.encode_user(sequence, mask), items, training)
            loss = tf.reduce_sum(tf.sin(logits))
        return logits, tape.gradient(loss, [sequence, items, *variables], unconnected_gradients=tf.UnconnectedGradients.ZERO)

    with tf.GradientTape() as tape:
        tape.watch([sequence, items])
        rows = tf.reshape(tf.broadcast_to(items, [USERS, ITEMS, scorer.item_dim]), [-1, scorer.item_dim])
        logits = scorer.score_rows(tf.repeat(sequence, ITEMS, axis=0), tf.repeat(mask, ITEMS, axis=0), rows, training)
        loss = tf.reduce_sum(tf.sin(logits))
    expected = tape.gradient(loss, [sequence, items, *variables], unconnected_gradients=tf.UnconnectedGradients.ZERO)
    found, gradients = through_compression()
    assert found.shape == (USERS, ITEMS)
    np.testing.assert_allclose(found, tf.reshape(logits, [USERS, ITEMS]), rtol=1e-4, atol=1e-5)
    for gradient, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-3, atol=2e-5)


def test_the_users_keys_are_computed_once_per_user(scorer: AttentionRows) -> None:
    sequence, mask, items = inputs(scorer, shared=False)

    @tf.function(autograph=False)
    def scores(sequence: tf.Tensor, mask: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        return scorer.score((sequence, mask), items)

    graph = scores.get_concrete_function(sequence, mask, items).graph
    [call] = [op for op in graph.get_operations() if op.type.endswith("PartitionedCall")]
    part = graph._get_function(call.get_attr("f").name).graph
    used = upstream([tensor.op for tensor in part.outputs])
    largest = max(tensor.shape.rank or 0 for op in used if op.type == "GatherV2" for tensor in op.outputs)
    assert largest < 3, "no sequence is repeated for its items"


def test_compiles_with_xla(scorer: AttentionRows) -> None:
    sequence, mask, items = inputs(scorer, shared=True)

    @tf.function(autograph=False, jit_compile=True)
    def compiled(sequence: tf.Tensor, mask: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        return scorer.score((sequence, mask), items)

    np.testing.assert_allclose(compiled(sequence, mask, items), scorer.score((sequence, mask), items), rtol=1e-4, atol=1e-5)
