"""Artifacts of earlier versions with the commands as they are now; `tests/artifacts/make_earlier.py` makes the archives."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipelines.cli import main

ARCHIVES = sorted((Path(__file__).parents[1] / "artifacts").glob("*.tar.xz"))


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def earlier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("earlier")
    with tarfile.open(request.param) as archive:
        archive.extractall(directory, filter="data")
    return directory


def nann(*arguments: object) -> str:
    result = CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def recalls(evaluation: Path) -> dict[str, float]:
    metrics = json.loads((evaluation / "metrics.json").read_text())
    return {name: metrics[name] for name in ("recall_all@5", "recall_all@20", "recall_retrieval@20", "coverage@20")}


def test_there_are_archives() -> None:
    assert ARCHIVES
    assert sum(path.stat().st_size for path in ARCHIVES) < 2**20


@pytest.mark.parametrize("graph", ["portable", "native", "fused", "meta"])
def test_an_exported_model_answers_as_it_did(earlier: Path, graph: str, tmp_path: Path) -> None:
    inputs = ["--converted-model", earlier / "converted_model", "--dataset", earlier / "dataset"]
    nann("evaluate", *inputs, "--evaluation", tmp_path / "evaluation", "--ks", "5,20", "--graph", graph)
    assert recalls(tmp_path / "evaluation") == recalls(earlier / "evaluation")
    some = json.loads(nann("infer", "--converted-model", earlier / "converted_model", "--item-ids", "1", "--graph", graph, "--json"))
    assert len(some) == 10


def test_a_model_goes_through_the_steps_after_it(earlier: Path, tmp_path: Path) -> None:
    model, dataset = ["--model", earlier / "model"], ["--dataset", earlier / "dataset"]
    nann("extract", *model, *dataset, "--embeddings", tmp_path / "embeddings")
    old, new = (np.load(root / "embeddings" / "item_embs.npy") for root in (earlier, tmp_path))
    np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-6)
    nann("build-index", "--embeddings", earlier / "embeddings", "--index", tmp_path / "index", "--m", 4)
    search = ["--ef", "30,20", "--rounds", "3,1", "--top-k", 20]
    corpus = ["--embeddings", earlier / "embeddings", "--index", earlier / "index"]
    nann("rewrite", *model, *dataset, *corpus, "--converted-model", tmp_path / "converted_model", *search)
    nann("evaluate", *dataset, "--output-root", tmp_path, "--ks", "5,20")
    assert "recall" in nann("compare", earlier / "evaluation", tmp_path / "evaluation", "--ks", "5,20")
    assert recalls(tmp_path / "evaluation") == recalls(earlier / "evaluation")


@pytest.mark.parametrize(
    ("name", "options"), [("model", []), ("growing_model", ["--embedding", "ev", "--inputs", "time", "--memory", "none"])]
)
def test_a_training_goes_on_from_a_model(earlier: Path, name: str, options: list[str], tmp_path: Path) -> None:
    same = ["--scorer", "two-sided", "--emb-dim", 4, "--memory-successors", 8, "--dataset", earlier / "dataset"]
    nann("train", *same, *options, "--warm-start", earlier / name, "--epochs", 0, "--model", tmp_path / "model")
    nann("extract", "--model", tmp_path / "model", "--dataset", earlier / "dataset", "--embeddings", tmp_path / "carried")
    nann("extract", "--model", earlier / name, "--dataset", earlier / "dataset", "--embeddings", tmp_path / "embeddings")
    old, new = (np.load(tmp_path / directory / "item_embs.npy") for directory in ("embeddings", "carried"))
    np.testing.assert_array_equal(new, old)
    nann("train", *same, *options, "--warm-start", earlier / name, "--max-steps", 3, "--model", tmp_path / "trained")


def test_a_dataset_is_the_base_of_a_conversion(earlier: Path, tmp_path: Path) -> None:
    later = [line.rsplit(",", 1) for line in (earlier / "log.csv").read_text().splitlines()]
    (tmp_path / "later.csv").write_text("".join(f"{row},{int(time) + 30 * 86400}\n" for row, time in later))
    nann("convert", "--input", tmp_path / "later.csv", "--base", earlier / "dataset", "--dataset", tmp_path / "dataset")
    old, new = (json.loads((root / "dataset" / "meta.json").read_text()) for root in (earlier, tmp_path))
    assert (new["num_items"], new["notes"]["items_kept_from_base"]) == (old["num_items"], old["num_items"])
