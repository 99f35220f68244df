"""The step `build-index`: what it writes, when it does again, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nann.artifacts import ArtifactWriter, open_artifact
from nann.config import BuildIndexConfig
from nann.errors import ArtifactError
from nann.index import load_graph
from nann.steps.build_index import build_index


def write_embeddings(path: Path, vectors: np.ndarray) -> Path:
    with ArtifactWriter(path, step="extract", params={}, inputs={}) as directory:
        np.save(directory / "item_ids.npy", np.arange(1, len(vectors) + 1))
        np.save(directory / "item_embs.npy", vectors)
    return path


def test_writes_a_graph_over_all_items(untrained_run: Any) -> None:
    index = open_artifact(untrained_run.artifacts["index"], step="build-index")
    graph = load_graph(index.path)
    assert graph.num_nodes == len(np.load(untrained_run.artifacts["embeddings"] / "item_ids.npy"))
    assert (index.path / "hnsw.bin").is_file()
    assert index.metrics["reachable_share"] > 0.9
    assert index.lineage["embeddings"] == open_artifact(untrained_run.artifacts["embeddings"], step="extract").digest


def test_equal_work_gives_equal_bytes_and_is_not_done_twice(untrained_run: Any, tmp_path: Path) -> None:
    config = BuildIndexConfig(m=4, ef_construction=40)
    embeddings = untrained_run.artifacts["embeddings"]
    assert not build_index(embeddings=embeddings, index=tmp_path / "index", config=config).reused
    for file in tmp_path.joinpath("index").iterdir():
        assert file.read_bytes() == (untrained_run.artifacts["index"] / file.name).read_bytes()
    assert build_index(embeddings=embeddings, index=tmp_path / "index", config=config).reused
    with pytest.raises(ArtifactError, match="--overwrite"):
        build_index(embeddings=embeddings, index=tmp_path / "index", config=BuildIndexConfig(m=6))
    assert not build_index(embeddings=embeddings, index=tmp_path / "index", config=BuildIndexConfig(m=6), overwrite=True).reused


@pytest.mark.parametrize("count", [1, 2])
def test_tiny_corpora_have_a_graph(tmp_path: Path, count: int) -> None:
    embeddings = write_embeddings(tmp_path / "embeddings", np.ones((count, 4), np.float32))
    result = build_index(embeddings=embeddings, index=tmp_path / "index", config=BuildIndexConfig())
    assert result.metrics["num_items"] == count
    assert result.metrics["reachable_share"] == 1


@pytest.mark.parametrize(
    ("vectors", "message"),
    [(np.zeros((0, 4), np.float32), "0 items"), (np.full((3, 4), np.nan, np.float32), "3 of 3 items are not finite")],
)
def test_unusable_embeddings_are_refused_and_nothing_is_left(tmp_path: Path, vectors: np.ndarray, message: str) -> None:
    embeddings = write_embeddings(tmp_path / "embeddings", vectors)
    with pytest.raises(ArtifactError, match=message):
        build_index(embeddings=embeddings, index=tmp_path / "index", config=BuildIndexConfig())
    assert [path.name for path in tmp_path.iterdir()] == ["embeddings"]


def test_missing_embeddings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="run `nann extract` first"):
        build_index(embeddings=tmp_path / "none", index=tmp_path / "index", config=BuildIndexConfig())
