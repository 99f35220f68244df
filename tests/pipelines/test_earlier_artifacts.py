"""Artifacts of earlier versions with the commands as they are now; `tests/artifacts/make_earlier.py` makes the archives."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from nann.families import REMOVED
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


def with_scorer(model: Path, scorer: str, copy: Path) -> Path:
    """A copy of a model whose files say that it is one of another scorer."""
    shutil.copytree(model, copy)
    config, manifest = (json.loads((copy / name).read_text()) for name in ("config.json", "manifest.json"))
    config["train"]["scorer"] = manifest["params"]["scorer"] = scorer
    text = json.dumps(config)
    (copy / "config.json").write_text(text)
    manifest["files"]["config.json"] = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "size_bytes": len(text)}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


@pytest.mark.parametrize("scorer", REMOVED)
def test_a_model_of_a_scorer_that_was_removed_is_refused_in_one_line(earlier: Path, scorer: str, tmp_path: Path) -> None:
    model = with_scorer(earlier / "model", scorer, tmp_path / "removed")
    dataset, new = ["--dataset", earlier / "dataset"], ["--model", tmp_path / "model"]
    wanted = f"error: {model} is a model of the scorer {scorer}, which this version does not have; use it with the code that made it "
    for command in (
        ["extract", *dataset, "--model", model, "--embeddings", tmp_path / "embeddings"],
        ["train", *dataset, *new, "--warm-start", model],
        ["train", *dataset, *new, "--warm-start", model, "--scorer", "two-sided"],
        ["train", *dataset, *new, "--scorer", "two-sided", "--teacher", model],
    ):
        result = CliRunner().invoke(main, [*map(str, command), "--quiet"])
        assert result.exit_code == 1, result.output
        assert result.stderr.startswith(wanted)
        assert result.stderr.endswith("or run `nann train` again with another --scorer: sequence, nann, two-sided, nann-rows\n")
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("scorer", REMOVED)
def test_a_scorer_that_was_removed_cannot_be_trained(earlier: Path, scorer: str, tmp_path: Path) -> None:
    command = ["train", "--dataset", str(earlier / "dataset"), "--model", str(tmp_path / "model"), "--scorer", scorer]
    result = CliRunner().invoke(main, command)
    assert result.exit_code != 0
    assert f"this version does not have the scorer '{scorer}'; take one of sequence, nann, two-sided, nann-rows, or" in result.stderr


@pytest.mark.parametrize(("step", "option"), [("train", "graph_items"), ("extract", "graph_samples")])
def test_options_of_a_scorer_that_was_removed_are_named(step: str, option: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"{step}:\n  {option}: 4\n")
    result = CliRunner().invoke(main, [step, "--config", str(tmp_path / "config.yaml"), "--output-root", str(tmp_path)])
    assert result.exit_code != 0
    assert f"{step} has no option '{option}'" in result.stderr


def test_a_dataset_is_the_base_of_a_conversion(earlier: Path, tmp_path: Path) -> None:
    later = [line.rsplit(",", 1) for line in (earlier / "log.csv").read_text().splitlines()]
    (tmp_path / "later.csv").write_text("".join(f"{row},{int(time) + 30 * 86400}\n" for row, time in later))
    nann("convert", "--input", tmp_path / "later.csv", "--base", earlier / "dataset", "--dataset", tmp_path / "dataset")
    old, new = (json.loads((root / "dataset" / "meta.json").read_text()) for root in (earlier, tmp_path))
    assert (new["num_items"], new["notes"]["items_kept_from_base"]) == (old["num_items"], old["num_items"])
