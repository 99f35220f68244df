"""`import nann` and what it offers: the steps as functions, and a model asked by catalogue ids, from every kind of directory."""

import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import nann
from nann.artifacts import open_artifact
from nann.errors import ArtifactError
from nann.service.shelf import Shelf
from nann.steps.table import STEPS
from ops import scoring
from pipelines.cli import main


@pytest.fixture(scope="module")
def retriever(trained_run: Any) -> nann.Retriever:
    return nann.Retriever.load(trained_run.root)


def test_importing_is_light_and_every_name_is_there() -> None:
    code = "import sys, nann; assert not {'tensorflow', 'numpy', 'pydantic'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert all(hasattr(nann, name) for name in nann.__all__)
    assert set(nann.__all__) <= set(dir(nann))
    declared = Path(nann.__file__).with_suffix(".pyi").read_text()
    assert [name for name in nann.__all__ if name not in declared] == []
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        nann.trian  # noqa: B018


def test_the_page_runs_and_prints_what_it_says(trained_run: Any) -> None:
    evaluated, loaded, *items, explained = trained_run.printed
    recall = open_artifact(trained_run.root / "evaluation", step="evaluate").metrics["recall_retrieval@50"]
    assert evaluated == f"{(trained_run.root / 'evaluation').resolve()} {recall}"
    assert loaded == ("fused 1" if scoring.available() else "portable 1")
    assert len(items) == 5 + 1 + 1
    assert explained.endswith(" True")


def test_an_item_is_explained_from_every_kind_of_directory(trained_run: Any) -> None:
    history = trained_run.history()
    (first,) = nann.Retriever.load(trained_run.root).recommend(history, k=1).ids
    why = nann.explain(trained_run.root, first, history)
    assert why.found
    assert why.parts.total == pytest.approx(why.score, abs=1e-4)
    assert nann.explain(trained_run.root / "converted_model", first, history) == why
    with pytest.raises(nann.NannError, match="SavedModel alone"):
        nann.explain(trained_run.root / "converted_model" / "saved_model" / "portable" / "1", first, history)


CELLS = """
import contextlib, io, json, os, sys
os.chdir(sys.argv[2])
known = {}
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile("".join(cell["source"]), cell["id"], "exec"), known)
        print(json.dumps(printed.getvalue()))
"""


def test_the_notebook_runs_and_prints_what_it_shows(trained_run: Any, fork_server: Any, tmp_path: Path) -> None:
    """On the run that is there already: what the cells say is made like it, so that its steps are up to date."""
    notebook = Path(nann.__file__).parents[1] / "examples" / "notebooks" / "quickstart.ipynb"
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    shown = ["".join(output["text"]) for cell in content["cells"] if cell["cell_type"] == "code" for output in cell["outputs"]]
    shutil.copytree(trained_run.root, tmp_path / "runs" / "mine")
    done = fork_server.run(CELLS, str(notebook), str(tmp_path))
    assert done.returncode == 0, done.stderr
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [text.count("\n") for text in printed] == [text.count("\n") for text in shown]
    assert printed[0] == shown[0]
    assert (trained_run.root / "model" / "manifest.json").read_bytes() == (
        tmp_path / "runs" / "mine" / "model" / "manifest.json"
    ).read_bytes()


def test_options_of_steps_do_not_hide_each_other() -> None:
    """A call takes artifacts, own arguments and options of the config by one keyword each."""
    for step in STEPS:
        config = step.load_config()
        names = [*(option.argument for option in step.options), *step.reads, step.writes, *(config.model_fields if config else ())]
        assert len(names) == len(set(names)), step.name


def test_a_step_takes_its_options_by_keyword(trained_run: Any) -> None:
    assert "max_steps" in inspect.signature(nann.train).parameters
    assert nann.extract(trained_run.root).reused
    with pytest.raises(TypeError, match="extract\\(\\) has no option 'batchsize'"):
        nann.extract(trained_run.root, batchsize=3)
    with pytest.raises(TypeError, match=r"needs inputs, as --input"):
        nann.convert(trained_run.root)
    with pytest.raises(TypeError, match="extract\\(\\) needs model; give it by keyword"):
        nann.extract()
    with pytest.raises(ValueError, match="max_steps"):
        nann.train(trained_run.root, max_steps="many")
    with pytest.raises(nann.NannError, match="does not exist; run `nann train` first"):
        nann.extract(trained_run.root, model="nowhere")


def test_answers_are_those_of_the_command(trained_run: Any, retriever: nann.Retriever) -> None:
    history = trained_run.history()
    arguments = [
        "infer",
        "--output-root",
        str(trained_run.root),
        "--item-ids",
        ",".join(map(str, history)),
        "--graph",
        retriever.form,
        "--json",
    ]
    printed = CliRunner().invoke(main, arguments)
    assert printed.exit_code == 0, printed.output
    expected = json.loads(printed.stdout)
    found = retriever.recommend(history, k=10)
    assert found.ids == [entry["item_id"] for entry in expected]
    assert found.scores == pytest.approx([entry["score"] for entry in expected], abs=1e-5)


def test_many_histories_and_rows_get_the_same_answers(trained_run: Any, retriever: nann.Retriever) -> None:
    first, second = trained_run.history(4), trained_run.history(2)
    both = retriever.recommend_many([first, [*second, -77], []], k=7)
    for answer, history in zip(both, (first, second), strict=False):
        assert answer.ids == retriever.recommend(history, k=7).ids
        assert all(type(item_id) is int for item_id in answer.ids)
    assert len(both[2].ids) == 7
    ids = trained_run.items.item_ids
    row_of = {item_id: row for row, item_id in enumerate(ids.tolist())}
    by_rows = retriever.recommend_rows([0, 10**9, *(row_of[item_id] for item_id in first)], k=7)
    assert ids[by_rows.ids].tolist() == both[0].ids
    assert by_rows.scores == pytest.approx(both[0].scores, abs=1e-5)
    assert retriever.recommend_many([]) == []


@pytest.mark.parametrize(
    ("history", "more", "message"),
    [
        ([-1, -2], {}, "none of the 2 item ids"),
        ([1.5], {}, "64-bit integers"),
        ([None], {}, "64-bit integers"),
        ([2**70], {}, "64-bit integers"),
        (None, {"k": 51}, "51 items are asked for, but the exported graph returns 50; run `nann rewrite --top-k 51`"),
        (None, {"values": {"colour": ["red"]}}, "the model reads no input 'colour'"),
    ],
)
def test_what_cannot_be_answered_is_said(trained_run: Any, retriever: nann.Retriever, history: Any, more: dict, message: str) -> None:
    with pytest.raises(nann.NannError, match=message):
        retriever.recommend(trained_run.history() if history is None else history, **more)


def test_every_kind_of_directory(trained_run: Any, tmp_path: Path, retriever: nann.Retriever) -> None:
    converted, history = trained_run.root / "converted_model", trained_run.history()
    shelf = Shelf(tmp_path / "service").require(create=True)
    with pytest.raises(ArtifactError, match="nothing is in service"):
        nann.Retriever.load(tmp_path / "service")
    parts = {"dataset": "convert", "converted_model": "rewrite"}
    artifacts = {name: open_artifact(trained_run.root / name, step=step) for name, step in parts.items()}
    shelf.publish(artifacts, expected=None, keep=2)
    expected = retriever.recommend(history)
    places = {tmp_path / "service": retriever.form, converted / "saved_model" / "portable": "portable"}
    places |= {converted: retriever.form, converted / "saved_model" / retriever.form / "1": retriever.form}
    for place, form in places.items():
        loaded = nann.Retriever.load(place)
        assert (loaded.form, loaded.version) == (form, 1)
        found = loaded.recommend(history)
        assert set(found.ids) == set(expected.ids)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    with pytest.raises(ArtifactError, match="holds no model; give the directory of a run"):
        nann.Retriever.load(tmp_path)
    with pytest.raises(ArtifactError, match="is portable, not fused"):
        nann.Retriever.load(converted / "saved_model" / "portable", form="fused")
