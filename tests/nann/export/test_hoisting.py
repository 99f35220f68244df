"""What a scorer computes for the user alone becomes user state, and the scores stay."""

import numpy as np
import pytest
import tensorflow as tf

from nann.export.freeze import FrozenScorer, cut_networks, freeze_scorer, user_state_names
from nann.models.attention import AttentionScorer
from nann.models.attention_rows import AttentionRows
from nann.retrieval import HistoryScorer

LENGTH = 50


def frozen(scorer: AttentionRows | AttentionScorer) -> tf.compat.v1.GraphDef:
    return freeze_scorer(HistoryScorer(scorer, max_length=LENGTH))


@pytest.fixture(scope="module")
def rows() -> AttentionRows:
    return AttentionRows(num_items=50, num_categories=5, emb_dim=32, seed=1)


def products(networks: tf.compat.v1.GraphDef, function: str) -> int:
    [definition] = [part for part in networks.library.function if part.signature.name == function]
    return sum(node.op in {"MatMul", "BatchMatMulV2", "Einsum"} for node in definition.node_def)


def test_scores_are_those_of_the_scorer(rows: AttentionRows) -> None:
    rng = np.random.default_rng(0)
    histories = rng.integers(0, 51, size=(4, LENGTH))
    histories[2] = 0
    categories = np.minimum(histories, 5)
    items = rng.normal(size=(1, 30, rows.item_dim)).astype(np.float32)
    live = HistoryScorer(rows, max_length=LENGTH)
    cut = FrozenScorer(frozen(rows))
    expected = live.score(live.user_state(tf.constant(histories), tf.constant(categories)), tf.constant(items))
    state = cut.user_state(tf.constant(histories), tf.constant(categories))
    assert {tensor.shape[0] for tensor in state} == {4}
    np.testing.assert_allclose(cut.score(state, tf.constant(items)), expected, rtol=1e-5, atol=1e-5)
    each = np.repeat(items, 4, axis=0)
    np.testing.assert_allclose(cut.score(state, tf.constant(each)), expected, rtol=1e-5, atol=1e-5)


def test_scoring_has_no_products_of_the_user_alone(rows: AttentionRows) -> None:
    by_rows, by_hand = (
        cut_networks(frozen(scorer)) for scorer in (rows, AttentionScorer(num_items=50, num_categories=5, emb_dim=32, seed=1))
    )
    # first query layer, attention's two products, item's part of the first score layer, and three more layers
    assert products(by_rows, "nann_score") == 7
    assert products(by_rows, "nann_encode_user") >= 4
    assert products(by_hand, "nann_score") >= 7


def test_a_scorer_that_is_cut_by_hand_stays_as_it_is() -> None:
    graph = frozen(AttentionScorer(num_items=50, num_categories=5, emb_dim=32, seed=1))
    names = user_state_names(graph)
    inputs = {node.input[0] for node in graph.node if node.name in names}
    assert len(inputs) == len(names)
    assert not any(node.name.endswith("/scoring") for node in graph.node)
