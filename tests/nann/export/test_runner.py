"""The native runner against the walk in Python: equal ids from the SavedModels and equal logits from the frozen graph."""

import json
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RUNNER = Path(str(resources.files("ops") / "nann-runner"))  # the files of an editable install lie in two directories
LIBRARY = Path(str(resources.files("ops") / "libnann_ops.so"))
pytestmark = pytest.mark.skipif(not (RUNNER.exists() and LIBRARY.exists()), reason="nann-runner is not built; run `make install`")


def run(*arguments: Any, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([str(RUNNER), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("form", ["native", "fused", "portable"])
def test_equals_the_walk_in_python(exported: Any, tmp_path: Path, form: str) -> None:
    rows, cates = exported.histories(4)
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "cates.npy", cates)
    graph = exported.directory / "saved_model" / form / "1"
    inputs = ("--inputs", "item_ids=rows.npy", "cate_ids=cates.npy")
    outputs = ("--outputs", "top_k_item_ids=ids.npy", "top_k_scores=scores.npy", "items_scored")
    done = run(graph, "--library", LIBRARY, "--signature", "debug", *inputs, *outputs, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = exported.retriever()(rows, cates)
    np.testing.assert_array_equal(np.load(tmp_path / "ids.npy"), expected.item_rows)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), expected.scores, atol=1e-5)
    assert done.stdout == "items_scored:\n" + " ".join(map(str, expected.items_scored)) + "\n"


def test_a_frozen_graph_and_values_on_the_command_line(exported: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "items.npy", exported.embeddings.vectors[:7][np.newaxis])
    inputs = ("--inputs", "item_ids=3,7,12", "cate_ids:0=1,2,1", "item_embs=items.npy")
    done = run(exported.directory / "frozen_graph.pb", *inputs, "--outputs", "scores", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    history = (np.array([[3, 7, 12]]), np.array([[1, 2, 1]]))
    expected = exported.scorer.score(exported.scorer.user_state(*history), exported.embeddings.vectors[:7][np.newaxis]).numpy()
    np.testing.assert_allclose(np.array(done.stdout.split()[1:], float), expected[0], atol=1e-5)


def test_catalogue_ids_that_are_strings(exported_strings: Any, tmp_path: Path) -> None:
    ids = exported_strings.catalogue.item_ids
    graph = exported_strings.directory / "saved_model" / "portable" / "1"
    done = run(graph, "--signature", "by_catalogue_id", "--inputs", f"item_ids={ids[5]},{ids[6]},nothing", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ids[np.argmax(ids != "")].split()[0] in done.stdout


@pytest.mark.parametrize("rate", [0, 40])
def test_load_prints_its_figures(exported: Any, tmp_path: Path, rate: int) -> None:
    rows, cates = exported.histories(3)
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "cates.npy", cates)
    load = ("--duration", 0.3, "--warmup", 0, "--threads", 2, "--batch", 2, "--rate", rate)
    graph = exported.directory / "saved_model" / "portable" / "1"
    done = run(graph, "--inputs", "item_ids=rows.npy", "cate_ids=cates.npy", *load, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["threads"], figures["batch_size"], figures["requests_per_s"]) == (2, 2, rate)
    assert 0 < figures["min_ms"] <= figures["p50_ms"] <= figures["p99_ms"] <= figures["p999_ms"] <= figures["max_ms"]
    assert figures["requests"] == 12 if rate else figures["requests"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none", "--inputs", "a=1"], "cannot read none"),
        (["MODEL", "--inputs", "a=1"], "has no input a; it has: cate_ids item_ids"),
        (["MODEL", "--signature", "x", "--inputs", "a=1"], "has no signature x; it has:"),
        (["MODEL", "--inputs", "item_ids=1,x"], "'x' is no number"),
        (["MODEL", "--inputs", "item_ids=broken.npy"], "is no .npy file"),
        (["MODEL", "--inputs", "item_ids=1", "--threads", "0"], "--threads needs a number from 1"),
        (["MODEL", "--wrong", "1"], "no such option: --wrong"),
        (["MODEL"], "GRAPH and --inputs are needed"),
    ],
)
def test_mistakes_are_named(exported: Any, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "broken.npy").write_bytes(b"nothing of the kind")
    model = str(exported.directory / "saved_model" / "portable" / "1")
    done = run(*[model if word == "MODEL" else word for word in arguments], cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert message in done.stderr
