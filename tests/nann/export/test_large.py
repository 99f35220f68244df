"""A large corpus is exported, loaded and asked: tables are variables, and no graph grows with them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nann.config import TrainConfig
from nann.export import Catalogue, RetrievalParts, freeze_scorer, open_graph, write_retrieval_graph
from nann.export.retrieval_graph import digest_of
from nann.index import Embeddings, Graph, NeighborLists
from nann.models import build_model
from nann.retrieval import HistoryScorer, SearchParameters
from ops import retrieval as native_ops

NUM_ITEMS = int(os.environ.get("NANN_TEST_ITEMS", "1000000"))
DEGREE, DIM, NUM_CATEGORIES = 64, 64, 9


def random_graph(count: int, rng: np.random.Generator) -> Graph:
    """Each node has 64 random neighbours, and a thousandth of them are entry points."""
    values = rng.integers(0, count, size=count * DEGREE, dtype=np.int32)
    splits = np.arange(count + 1, dtype=np.int64) * DEGREE
    return Graph(enter_points=np.arange(0, count, 1000), levels=(NeighborLists(values=values, row_splits=splits),))


@pytest.mark.slow
def test_tables_of_a_large_corpus(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = build_model(TrainConfig(scorer="two-sided", emb_dim=8), num_items=NUM_ITEMS, num_categories=NUM_CATEGORIES)
    scorer = HistoryScorer(model, max_length=10)
    frozen = freeze_scorer(scorer)
    rows = np.arange(NUM_ITEMS + 1)
    parts = RetrievalParts(
        scorer=scorer,
        frozen=frozen,
        frozen_digest=digest_of(b""),
        catalogue=Catalogue(item_ids=rows * 3, category_rows=rows % (NUM_CATEGORIES + 1), num_categories=NUM_CATEGORIES),
        embeddings=Embeddings(item_rows=rows[1:], vectors=rng.standard_normal((NUM_ITEMS, DIM), dtype=np.float32)),
        graph=random_graph(NUM_ITEMS, rng),
        search=SearchParameters(ef=(100,), rounds=(3,), top_k=50),
    )
    write_retrieval_graph(tmp_path, parts)
    table_bytes = NUM_ITEMS * (DIM + DEGREE) * 4
    assert (tmp_path / "0.data-00000-of-00001").stat().st_size > table_bytes
    forms = ["portable", *(["native"] if native_ops.available() else [])]
    for form in forms:
        directory = tmp_path / "saved_model" / form / "1"
        assert (directory / "saved_model.pb").stat().st_size < 1_000_000
        assert os.path.samefile(directory / "variables" / "variables.data-00000-of-00001", tmp_path / "0.data-00000-of-00001")
    history = rng.integers(1, NUM_ITEMS + 1, size=(2, 8))
    outputs: list[dict[str, Any]] = []
    for form in forms:
        exported = open_graph(tmp_path, form)
        outputs.append(exported.run("debug", item_ids=history, cate_ids=np.ones_like(history)))
        del exported
    for other in outputs[1:]:
        for name, value in outputs[0].items():
            np.testing.assert_array_equal(other[name], value)
    assert (outputs[0]["items_scored"] > 1000).all()
