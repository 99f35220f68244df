"""The signatures that filter, in every exported form, against all items scored and filtered in numpy."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nann.export import open_graph
from nann.retrieval import ExactRetriever

FORMS = ("native", "fused", "portable", "meta")
WALK = {"ef": (10, 10), "rounds": (3, 1), "top_k": 15}


@pytest.fixture(scope="module")
def walked(exporter: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An export whose limit of the exact scan is below half of its items."""
    return exporter(tmp_path_factory.mktemp("run") / "converted_model", num_items=1500, search=WALK)


def ranked(exported: Any, rows: np.ndarray, cates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All items of each user, best first, with their scores."""
    found = ExactRetriever(exported.scorer, exported.embeddings, top_k=len(exported.embeddings))(rows, cates)
    return found.item_rows, found.scores


def filtered(exported: Any, user: int, rows: np.ndarray, asked: dict[str, np.ndarray], available: np.ndarray | None = None) -> np.ndarray:
    """Which item rows 0..R pass for a user."""
    categories = exported.catalogue.category_rows
    wanted = set(asked["category_ids"][user].tolist()) - {0}
    passes = np.isin(categories, list(wanted)) & (categories > 0) if wanted else np.ones(len(categories), bool)
    out = set(asked["exclude_item_ids"][user].tolist()) | (set(rows[user].tolist()) if asked["exclude_history"][user] else set())
    passes &= ~np.isin(np.arange(len(categories)), list(out))
    return passes if available is None else passes & available


def request(exported: Any, users: int, seed: int = 1) -> dict[str, np.ndarray]:
    rng, count = np.random.default_rng(seed), len(exported.embeddings)
    wanted = rng.integers(0, 10, size=(users, 3))
    wanted[rng.random(users) < 0.4] = 0
    return {
        "exclude_item_ids": rng.integers(-2, count + 3, size=(users, 60)),
        "exclude_history": rng.random(users) < 0.5,
        "category_ids": wanted,
    }


@pytest.mark.parametrize("form", FORMS)
def test_equals_all_items_filtered(exported: Any, form: str) -> None:
    rows, cates = exported.histories(6)
    asked, (best, scores) = request(exported, 6), ranked(exported, rows, cates)
    outputs = exported.opened(form).run("filtered", item_ids=rows, cate_ids=cates, **asked)
    for user in range(6):
        passes = filtered(exported, user, rows, asked)
        kept = passes[best[user]]
        np.testing.assert_array_equal(outputs["top_k_item_ids"][user], best[user][kept][:15])
        np.testing.assert_allclose(outputs["top_k_scores"][user], scores[user][kept][:15], atol=1e-5)
        assert outputs["items_scored"][user] == passes[1:].sum()


@pytest.mark.parametrize("form", FORMS)
def test_a_walk_returns_what_passes_in_all_forms_alike(walked: Any, form: str) -> None:
    rows, cates = walked.histories(6)
    asked = request(walked, 6)
    asked["category_ids"] = np.zeros((6, 0), np.int64)
    inputs = {"item_ids": rows, "cate_ids": cates, **asked}
    outputs, expected = walked.opened(form).run("filtered", **inputs), walked.opened("portable").run("filtered", **inputs)
    np.testing.assert_array_equal(outputs["top_k_item_ids"], expected["top_k_item_ids"])
    np.testing.assert_array_equal(outputs["items_scored"], expected["items_scored"])
    np.testing.assert_allclose(outputs["top_k_scores"], expected["top_k_scores"], atol=1e-5)
    assert (outputs["items_scored"] < 1000).all()
    for user in range(6):
        assert filtered(walked, user, rows, asked)[outputs["top_k_item_ids"][user]].all()
    nothing = {
        "exclude_item_ids": np.zeros((6, 1), np.int64),
        "exclude_history": np.zeros(6, bool),
        "category_ids": np.zeros((6, 1), np.int64),
    }
    unfiltered = walked.opened(form).run("debug", item_ids=rows, cate_ids=cates)
    for name, value in walked.opened(form).run("filtered", item_ids=rows, cate_ids=cates, **nothing).items():
        np.testing.assert_array_equal(value, unfiltered[name])


@pytest.mark.parametrize("kind", ["exported", "exported_strings"])
@pytest.mark.parametrize("form", ["native", "fused", "portable", "meta"])
def test_catalogue_ids(request: pytest.FixtureRequest, kind: str, form: str) -> None:
    exported = request.getfixturevalue(kind)
    retrieval, strings = exported.opened(form), kind == "exported_strings"
    rows, cates = exported.histories(3)
    asked = {
        "exclude_item_ids": np.array([[5, 9], [0, 0], [7, 0]]),
        "exclude_history": np.array([True, False, True]),
        "category_ids": np.array([[0, 0], [3, 0], [2, 4]]),
    }
    expected = retrieval.run("filtered", item_ids=rows, cate_ids=cates, **asked)

    def named(ids: np.ndarray, given: np.ndarray, unknown: Any) -> np.ndarray:
        found = [[ids[row] if row else unknown for row in user] for user in given]
        return np.array([[i.encode() for i in user] for user in found], object) if strings else np.array(found, np.int64)

    items = exported.catalogue.item_ids
    asked["exclude_item_ids"] = named(items, asked["exclude_item_ids"], "" if strings else -1)
    if strings:  # of items; categories are numbers here
        assert exported.catalogue.category_ids is None
    history = named(items, rows, "no such item" if strings else -1)
    found = retrieval.run("filtered_by_catalogue_id", item_ids=history, **asked)
    returned = [[i.decode() if strings else i for i in user] for user in found["top_k_item_ids"].tolist()]
    assert returned == items[expected["top_k_item_ids"]].tolist()
    np.testing.assert_array_equal(found["top_k_scores"], expected["top_k_scores"])


@pytest.mark.parametrize("form", FORMS)
def test_tables_are_replaced_while_the_graph_serves(exported: Any, form: str) -> None:
    exported.opened(form)  # skips where the form is not there
    retrieval, rng = open_graph(exported.directory, form), np.random.default_rng(3)  # with tables of its own
    rows, cates = exported.histories(3)
    asked, (best, scores) = request(exported, 3), ranked(exported, rows, cates)
    before = retrieval.run("debug", item_ids=rows, cate_ids=cates)
    available, prior = rng.random(301) < 0.5, rng.normal(size=301).astype(np.float32)
    assert retrieval.run("set_item_tables", available=available, prior=prior)["items"] == available[1:].sum()
    outputs = retrieval.run("filtered", item_ids=rows, cate_ids=cates, **asked)
    for user in range(3):
        kept = filtered(exported, user, rows, asked, available)[best[user]]
        changed = scores[user] + prior[best[user]]
        order = np.argsort(-changed[kept], kind="stable")[:15]
        wanted = best[user][kept][order]
        np.testing.assert_array_equal(outputs["top_k_item_ids"][user], np.pad(wanted, (0, 15 - len(wanted))))
        np.testing.assert_allclose(outputs["top_k_scores"][user][: len(order)], changed[kept][order], atol=1e-5)
    for name, value in retrieval.run("debug", item_ids=rows, cate_ids=cates).items():
        np.testing.assert_array_equal(value, before[name])
    with pytest.raises(tf.errors.InvalidArgumentError, match="needs 301 values"):
        retrieval.run("set_item_tables", available=available[1:], prior=prior)
    np.testing.assert_array_equal(
        retrieval.run("filtered", item_ids=rows, cate_ids=cates, **asked)["top_k_item_ids"], outputs["top_k_item_ids"]
    )
