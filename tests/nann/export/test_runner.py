"""The native runner against the walk in Python: equal ids from the SavedModels and equal logits from the frozen graph."""

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RUNNER = Path(str(resources.files("ops") / "nann-runner"))  # the files of an editable install lie in two directories
LIBRARY = Path(str(resources.files("ops") / "libnann_ops.so"))
AWAY = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
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


def test_the_command_finds_program_and_library_from_anywhere(exported: Any, tmp_path: Path) -> None:
    graph = exported.directory / "saved_model" / "native" / "1"
    call = [sys.executable, "-m", "ops.runner", graph, "--inputs", "item_ids=3,7,12", "cate_ids=1,2,1", "--outputs", "top_k_item_ids"]
    done = subprocess.run([*map(str, call)], cwd=tmp_path, env=AWAY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("top_k_item_ids:\n")
    usage = subprocess.run([*map(str, call[:3]), "--help"], cwd=tmp_path, env=AWAY, capture_output=True, text=True, timeout=60, check=False)
    assert usage.stdout.startswith("usage: nann-runner GRAPH")


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
        (["MODEL", "--inputs", "item_ids=1", "--threads", "0"], "--threads needs a whole number from 1 to 1024"),
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


def npy(path: Path, shape: str, *, values: bytes = b"", descr: str = "<i8") -> None:
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["item_ids=negative.npy"], "negative.npy has the shape (-1,3); give at most 64 sizes, none negative"),
        (["item_ids=huge.npy"], "huge.npy would need more memory than there is"),
        (["item_ids=claimed.npy"], "claimed.npy ends before its last value"),
        (["item_ids=rank.npy"], "rank.npy has the shape"),
        (["item_ids=words.npy"], "words.npy has the shape (3,x)"),
        (["item_ids=open.npy"], "open.npy is no .npy file"),
        (["item_ids=cut.npy"], "cut.npy ends within its header"),
        (["item_ids=1,2", "--duration", "1", "--batch", "1e18"], "--batch needs a whole number from 1 to"),
        (["item_ids=1,2", "--duration", "1", "--batch", "1.5"], "--batch needs a whole number from 1 to"),
        (["item_ids=1,2", "--duration", "1", "--threads", "5000"], "--threads needs a whole number from 1 to 1024, got '5000'"),
        (["item_ids=1,2", "--duration", "1", "--rate", "inf"], "--rate needs a number from 0 to 1e+06, got 'inf'"),
        (["item_ids=1,2", "--duration", "1", "--rate", "nan"], "--rate needs a number from 0 to 1e+06, got 'nan'"),
        (["item_ids=1,2", "--duration", "1e300"], "--duration needs a number from 0 to 1e+06"),
        (["item_ids=1,2", "--intra-op-threads", "1e9"], "--intra-op-threads needs a whole number from 0 to 1024"),
        (["item_ids=3,7", "cate_ids=1,1", "--outputs", "top_k_item_ids=/dev/full"], "cannot write /dev/full"),
        (["item_ids=1", "--outputs", "top_k_item_ids=nowhere/ids.npy"], "cannot write nowhere/ids.npy"),
    ],
)
def test_hostile_words_and_files(exported: Any, tmp_path: Path, arguments: list[str], message: str) -> None:
    npy(tmp_path / "negative.npy", "(-1,3)")
    npy(tmp_path / "huge.npy", f"({2**62},8)")
    npy(tmp_path / "claimed.npy", f"({2**40},)", values=bytes(64))
    npy(tmp_path / "rank.npy", f"({'1,' * 300})", values=bytes(8))
    npy(tmp_path / "words.npy", "(3,x)")
    (tmp_path / "open.npy").write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': '<i8',")
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY\x02\x00\x00\xf0\x00\x00{'descr': '<i8', 'fortran_order': False, 'shape'")
    done = run(exported.directory / "saved_model" / "portable" / "1", "--inputs", *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2), (done.returncode, done.stdout)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert message in lines[0]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("scores:x", "'scores:x' is no tensor; give NODE, or NODE:INDEX"),
        ("scores:7", "there is no scores:7"),
        ("scores:-1", "is no tensor"),
        ("scores:99999999999", "is no tensor"),
        ("", "no node named"),
    ],
)
def test_hostile_names_of_a_frozen_graph(exported: Any, tmp_path: Path, output: str, message: str) -> None:
    done = run(exported.directory / "frozen_graph.pb", "--inputs", "item_ids=3", "--outputs", output, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert message in done.stderr.splitlines()[-1]


def test_what_cannot_be_printed_is_a_failure(exported: Any, tmp_path: Path) -> None:
    model = exported.directory / "saved_model" / "portable" / "1"
    with open("/dev/full", "w") as full:
        command = [str(RUNNER), str(model), "--inputs", "item_ids=3,7", "cate_ids=1,1"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=120, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "error: cannot write to the standard output")
