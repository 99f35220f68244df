"""Files of a small run, damaged under manifests that match: the step that reads them ends in one line, or does not mind."""

import importlib.util
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def load() -> Any:
    spec = importlib.util.spec_from_file_location("damage", Path(__file__).with_name("damage.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["damage"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


damage = load()
CASES_OF_A_SAMPLE = 40


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return damage.make_run(tmp_path_factory.mktemp("whole"))


def cases(run: Any) -> list[tuple[str, str, bytes]]:
    """File, what is done to it, and its new content."""
    found = []
    for file in run.files():
        content = (run.root / file).read_bytes()
        found += [(file, name, raw) for name, raw in damage.damages_of_bytes(content)]
        if file.endswith(".json"):
            found += [(file, name, raw) for name, raw in damage.damages_of_json(content)]
    return found


def complaint(run: Any, place: Path, file: str, raw: bytes) -> str:
    copy = run.copy(place / "run")
    damage.replace(copy.root / file, raw)
    if not file.endswith("manifest.json"):
        damage.forge(copy)
    return damage.complaint_about(damage.read(copy, damage.reader_of(file), place / "out"))


def test_a_whole_run_is_read_also_where_its_path_could_be_a_pattern(run: Any, tmp_path: Path) -> None:
    copy = run.copy(tmp_path / "a*[x]?\\")
    damage.forge(copy)
    for command in damage.COMMANDS:
        result = damage.read(copy, command, tmp_path / command)
        assert result.exit_code == 0, (command, result.output, result.stderr)


def test_a_sample_of_damages(run: Any, tmp_path: Path) -> None:
    cheap = [case for case in cases(run) if damage.reader_of(case[0]) not in ("rewrite", "train", "evaluate")]
    chosen = random.Random(1).sample(cheap, CASES_OF_A_SAMPLE)
    for number, (file, name, raw) in enumerate(chosen):
        assert not (why := complaint(run, tmp_path / str(number), file, raw)), f"{file}, {name}: {why}"


@pytest.mark.slow
def test_all_damages(run: Any, tmp_path: Path) -> None:
    broken = {}
    for number, (file, name, raw) in enumerate(cases(run)):
        if why := complaint(run, tmp_path / str(number), file, raw):
            broken[f"{file}, {name}"] = why
    assert not broken


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": {}}, "files: Dictionary should have at least 1 item"),
        ({"files": []}, "files: Input should be"),
        ({"files": None}, "files: Input should be"),
        ({"files": "all"}, "files: Input should be"),
        ({"files": {"../dataset/meta.json": {"size_bytes": 1, "sha256": "0" * 64}}}, "a file of an artifact lies inside it"),
        ({"params": None}, "params: Input should be"),
        ({"lineage": ["dataset"]}, "lineage: Input should be"),
    ],
)
def test_manifests_of_another_form(run: Any, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    copy = run.copy(tmp_path / "run")
    path = copy.root / "embeddings" / "manifest.json"
    damage.replace(path, json.dumps(json.loads(path.read_bytes()) | change).encode())
    result = damage.read(copy, "build-index", tmp_path / "index")
    assert result.exit_code == 1
    assert f"{path} is not a manifest (" in result.stderr
    assert message in result.stderr
    assert result.stderr.endswith("run `nann extract` again\n")
    assert result.stderr.count("\n") == 1


def test_a_file_that_no_manifest_lists_is_refused(run: Any, tmp_path: Path) -> None:
    copy = run.copy(tmp_path / "run")
    (copy.root / "embeddings" / "extra.npy").write_bytes(b"x")
    result = damage.read(copy, "build-index", tmp_path / "index")
    assert result.exit_code == 1
    assert "extra.npy is not listed in the manifest" in result.stderr


@pytest.mark.parametrize(
    ("file", "make", "message"),
    [
        ("item_embs.npy", lambda a: a.astype("complex64"), "item_embs.npy floats, but they are int64 and complex64"),
        ("item_embs.npy", lambda a: a.astype(str), "item_embs.npy floats"),
        ("item_embs.npy", lambda a: a * float("nan"), "are not finite"),
        ("item_embs.npy", lambda a: a[:-1], "but they are"),
        ("item_ids.npy", lambda a: a.astype(str), "must hold integers"),
        ("item_ids.npy", lambda a: -a, "must hold item rows from 1 up, each once and ascending"),
        ("item_ids.npy", lambda a: a * 0 + 1, "must hold item rows from 1 up, each once and ascending"),
        ("item_ids.npy", lambda a: a.astype(object), "is not a .npy file"),
    ],
)
def test_vectors_that_make_no_index(run: Any, tmp_path: Path, file: str, make: Any, message: str) -> None:
    copy = run.copy(tmp_path / "run")
    path = copy.root / "embeddings" / file
    changed = make(np.load(path))
    path.unlink()
    np.save(path, changed)
    damage.forge(copy)
    result = damage.read(copy, "build-index", tmp_path / "index")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
    assert message in result.stderr


@pytest.mark.parametrize("split", ["validate", "test"])
def test_times_that_only_some_records_have(run: Any, tmp_path: Path, split: str) -> None:
    copy = run.copy(tmp_path / "run")
    path = copy.root / "dataset" / "meta.json"
    meta = json.loads(path.read_bytes())
    del meta["features"][split]["seconds_to_next"]
    damage.replace(path, json.dumps(meta).encode())
    damage.forge(copy)
    result = damage.read(copy, "evaluate", tmp_path / "evaluation")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), (result.exception, result.stderr)
    assert "the dataset holds times of the training events, but none of the users asked; run `nann convert` again" in result.stderr


def test_training_again_gives_the_same_digest(run: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        options = (*damage.SMALL, "--memory=none", "--validate-users=4", f"--model={tmp_path / name}", f"--dataset={run.root / 'dataset'}")
        assert damage.nann("train", *options, "--quiet").exit_code == 0
    assert (tmp_path / "one" / "manifest.json").read_bytes() == (tmp_path / "two" / "manifest.json").read_bytes()
