"""A small scorer with its corpus and graph, exported once per kind of catalogue."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nann.config import TrainConfig
from nann.dataset.inputs import Features
from nann.export import Catalogue, ExportedRetrieval, RetrievalParts, freeze_scorer, open_graph, open_linked, write_retrieval_graph
from nann.export.retrieval_graph import digest_of
from nann.index import Embeddings, Graph, build_hnsw, decode_hnsw
from nann.models import build_model
from nann.retrieval import BeamRetriever, HistoryScorer, SearchParameters
from ops import retrieval as native_ops
from ops import scoring

NUM_CATEGORIES = 9
SEARCH = {"ef": (30, 20, 20), "rounds": (3, 1, 1), "top_k": 15}


@dataclass(eq=False)
class Exported:
    directory: Path
    scorer: HistoryScorer
    catalogue: Catalogue
    embeddings: Embeddings
    graph: Graph

    @functools.cache  # noqa: B019 - the few exports live as long as the tests
    def opened(self, form: str) -> ExportedRetrieval:
        if (form == "native" and not native_ops.available()) or (form == "fused" and not scoring.available()):
            pytest.skip("the native library is not built; run `make install`")
        if form == "alone":
            return open_linked(self.directory / "0.meta")
        return open_graph(self.directory, form)

    @functools.cache  # noqa: B019
    def retriever(self) -> BeamRetriever:
        return BeamRetriever(self.scorer, self.embeddings, self.graph, **SEARCH)

    def histories(self, users: int, length: int = 12, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
        rows = np.random.default_rng(seed).integers(0, len(self.embeddings) + 1, size=(users, length))
        return rows, self.catalogue.category_rows[rows].astype(np.int64)


def export(
    directory: Path,
    *,
    scorer: str = "nann",
    num_items: int = 300,
    strings: bool = False,
    seed: int = 1,
    compiled: bool = False,
    table_precision: str = "float32",
    features: Features | None = None,
    search: dict[str, Any] = SEARCH,
) -> Exported:
    config = TrainConfig(scorer=scorer, seed=seed, emb_dim=8)
    model = build_model(config, num_items=num_items, num_categories=NUM_CATEGORIES, features=features)
    category_rows = np.arange(num_items + 1) % (NUM_CATEGORIES + 1)
    item_ids: Any = np.concatenate([[0], np.random.default_rng(seed).permutation(num_items) * 11 - 500])
    if strings:
        item_ids = np.array(["", *(f"item {i}é\n" for i in item_ids[1:])], object)
    rows = np.arange(1, num_items + 1)
    embeddings = Embeddings(item_rows=rows, vectors=model.encode_item(rows, category_rows[1:]).numpy())
    graph = decode_hnsw(build_hnsw(embeddings.vectors, m=4, ef_construction=30), start_level=2)
    history_scorer = HistoryScorer(model, max_length=10)
    frozen = freeze_scorer(history_scorer)
    raw = frozen.SerializeToString(deterministic=True)
    directory.mkdir(exist_ok=True)
    (directory / "frozen_graph.pb").write_bytes(raw)
    catalogue = Catalogue(item_ids=item_ids, category_rows=category_rows, num_categories=NUM_CATEGORIES)
    parts = RetrievalParts(
        scorer=history_scorer,
        frozen=frozen,
        frozen_digest=digest_of(raw),
        catalogue=catalogue,
        embeddings=embeddings,
        graph=graph,
        search=SearchParameters(**search),
        compiled=compiled,
        table_precision=table_precision,
    )
    write_retrieval_graph(directory, parts)
    return Exported(directory, history_scorer, catalogue, embeddings, graph)


@pytest.fixture(scope="session")
def exporter() -> Any:
    return export


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(tmp_path_factory.mktemp("run") / "converted_model")


@pytest.fixture(scope="session")
def exported_strings(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(tmp_path_factory.mktemp("run") / "converted_model", strings=True)
