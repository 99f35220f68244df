"""The frozen scorer against the model it was made from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nann.config import TrainConfig
from nann.errors import ArtifactError
from nann.export import FrozenScorer, cut_networks, freeze_scorer, load_frozen_graph, load_frozen_scorer
from nann.export import freeze as freeze_module
from nann.families import FAMILIES
from nann.models import build_model
from nann.retrieval import HistoryScorer


@pytest.mark.parametrize("name", ["nann", "two-sided"])
def test_equals_the_model(name: str) -> None:
    model = build_model(TrainConfig(scorer=name, emb_dim=4), num_items=50, num_categories=5)
    scorer = FrozenScorer(freeze_scorer(HistoryScorer(model, max_length=8)))
    rng = np.random.default_rng(0)
    items, cates = rng.integers(1, 51, size=(3, 8)), rng.integers(0, 6, size=(3, 8))
    items[0, 5:] = 0
    candidates = rng.normal(size=(3, 20, 64)).astype(np.float32)
    for some in (candidates, candidates[:1]):
        expected = model.score(model.encode_user(*model.history(items, cates)), some)
        np.testing.assert_allclose(scorer.score(scorer.user_state(items, cates), some), expected, atol=1e-5)


def test_any_integers_are_a_history(exported: Any) -> None:
    scorer = load_frozen_scorer(exported.directory / "frozen_graph.pb")
    wild = scorer.user_state(np.array([[0, -5, 4, 10**12, 2, 301]]), np.array([[0, 1, 99, 1, 3, 1]]))
    tame = scorer.user_state(np.array([[4, 2, 0, 0, 0, 0]]), np.array([[0, 3, 0, 0, 0, 0]]))
    for a, b in zip(wild, tame, strict=True):
        np.testing.assert_array_equal(a, b)


def test_only_the_most_recent_items_count(exported: Any) -> None:
    scorer = load_frozen_scorer(exported.directory / "frozen_graph.pb")
    rows = np.arange(1, 26)[np.newaxis]
    for a, b in zip(scorer.user_state(rows, rows % 9), scorer.user_state(rows[:, -10:], rows[:, -10:] % 9), strict=True):
        np.testing.assert_array_equal(a, b)


def test_has_the_named_nodes_and_no_variables(exported: Any) -> None:
    graph_def = load_frozen_graph(exported.directory / "frozen_graph.pb")
    nodes = {node.name: node.op for node in graph_def.node}
    assert {name: nodes[name] for name in ("item_ids", "cate_ids", "item_embs")} == dict.fromkeys(
        ("item_ids", "cate_ids", "item_embs"), "Placeholder"
    )
    assert {"history", "history_mask", "user_state_0", "scores"} <= set(nodes)
    assert not graph_def.library.function
    assert not any("Var" in op or "Resource" in op or "Call" in op for op in nodes.values())


def test_cut_networks_leave_the_tables_behind() -> None:
    sizes = []
    for num_items in (10, 20_000):
        model = build_model(TrainConfig(emb_dim=4), num_items=num_items, num_categories=5)
        networks = cut_networks(freeze_scorer(HistoryScorer(model, max_length=8)))
        assert [function.signature.name for function in networks.library.function] == ["nann_encode_user", "nann_score"]
        sizes.append(networks.ByteSize())
    assert abs(sizes[1] - sizes[0]) < 1000


def test_tables_too_large_for_one_graph_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freeze_module, "MAX_CONSTANT_BYTES", 1000)
    model = build_model(TrainConfig(emb_dim=4), num_items=100, num_categories=5)
    with pytest.raises(ArtifactError, match="at most 1,000; train with a smaller --emb-dim"):
        freeze_scorer(HistoryScorer(model, max_length=8))


def test_what_is_no_frozen_scorer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.pb").write_bytes(b"\xff\xff no graph")
    with tf.Graph().as_default() as graph:
        tf.compat.v1.placeholder(tf.float32, name="item_ids")
    (tmp_path / "other.pb").write_bytes(graph.as_graph_def().SerializeToString())
    for name, message in (("none.pb", "there is no such file"), ("junk.pb", "not a frozen graph"), ("other.pb", "no node named cate_ids")):
        with pytest.raises(ArtifactError, match=message):
            load_frozen_graph(tmp_path / name)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_model_is_frozen_to_equal_bytes(name):
    model = build_model(TrainConfig(scorer=name, emb_dim=4), num_items=20, num_categories=3)
    one, two = (freeze_scorer(HistoryScorer(model, max_length=5)).SerializeToString(deterministic=True) for _ in range(2))
    assert one == two
