"""The step `infer`: catalogue ids in and out, the same from both forms, in fresh processes."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from nann.config import InferConfig
from nann.dataset import load_items
from nann.errors import ArtifactError, NannError
from nann.export import load_table, open_graph
from nann.serving.retriever import Retriever
from nann.steps.infer import infer
from pipelines.cli import main

CODE = """
import json, sys
from pathlib import Path
from nann.config import InferConfig
from nann.steps.infer import infer
arguments = json.loads(sys.argv[1])
item_ids = arguments.pop("item_ids")
found = infer(**{name: Path(path) for name, path in arguments.items()}, item_ids=item_ids, config=InferConfig(top_k=20))
print(json.dumps(found))
"""


def in_fresh_process(fork_server: Any, **arguments: Any) -> list:
    process = fork_server.run(CODE, json.dumps(arguments))
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def known_ids(run: Any) -> list:
    return load_items(run.artifacts["dataset"]).item_ids[[5, 9, 2]].tolist()


@pytest.mark.parametrize("kind", ["untrained_run", "untrained_string_run"])
def test_both_forms_agree_in_fresh_processes(request: pytest.FixtureRequest, fork_server: Any, kind: str) -> None:
    run = request.getfixturevalue(kind)
    converted, ids = run.converted_model, [str(item_id) for item_id in known_ids(run)]
    portable = in_fresh_process(fork_server, converted_model=str(converted), item_ids=ids)
    forms = {"graph_file": str(converted / "frozen_graph.pb"), "meta_path": str(converted / "0.meta")}
    linked = in_fresh_process(fork_server, **forms, item_ids=ids)
    assert [item_id for item_id, _ in portable] == [item_id for item_id, _ in linked]
    assert [score for _, score in portable] == pytest.approx([score for _, score in linked], abs=1e-5)
    assert len(portable) == 20
    assert {item_id for item_id, _ in portable} <= set(load_items(run.artifacts["dataset"]).item_ids[1:].tolist())
    here = infer(converted_model=converted, item_ids=known_ids(run), config=InferConfig(top_k=5))
    assert [item_id for item_id, _ in here] == [item_id for item_id, _ in portable[:5]]


def test_unknown_ids_are_reported_and_left_out(untrained_run: Any, caplog: pytest.LogCaptureFixture) -> None:
    ids, meta_path = known_ids(untrained_run), untrained_run.converted_model / "0.meta"
    expected = infer(meta_path=meta_path, item_ids=ids, config=InferConfig())
    with caplog.at_level(logging.WARNING):
        found = infer(meta_path=meta_path, item_ids=[ids[0], -77, *ids[1:]], config=InferConfig(unknown="drop"))
    assert found == expected
    assert "1 of 4 item ids are not in the catalogue (-77) and are left out" in caplog.text


def test_unknown_ids_end_the_command_unless_they_are_to_be_dropped(untrained_run: Any) -> None:
    ids = ",".join(map(str, [*known_ids(untrained_run), *range(-9, -1)]))
    arguments = ["infer", "--converted-model", str(untrained_run.converted_model), "--item-ids", ids, "--top-k", "5"]
    refused = CliRunner().invoke(main, arguments)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "error: 8 of 11 item ids are not in the catalogue (-9, -8, -7, -6, -5, ...); give ids of the log" in refused.stderr
    dropped = CliRunner().invoke(main, [*arguments, "--unknown", "drop"])
    assert (dropped.exit_code, len(dropped.stdout.splitlines())) == (0, 6)
    assert "8 of 11 item ids are not in the catalogue (-9, -8, -7, -6, -5, ...) and are left out" in dropped.stderr


@pytest.mark.parametrize(
    ("item_ids", "message"),
    [([-77, -78], "none of the 2 item ids"), ([], "no id given"), (["shoes"], "64-bit integers"), ([2**70], "64-bit integers")],
)
def test_histories_that_say_nothing_are_refused(untrained_run: Any, item_ids: list, message: str) -> None:
    with pytest.raises(NannError, match=message):
        infer(meta_path=untrained_run.converted_model / "0.meta", item_ids=item_ids, config=InferConfig())


def test_more_items_than_exported_are_refused(untrained_run: Any) -> None:
    with pytest.raises(ArtifactError, match="21 items are asked for, but the exported graph returns 20"):
        infer(meta_path=untrained_run.converted_model / "0.meta", item_ids=known_ids(untrained_run), config=InferConfig(top_k=21))


def test_exactly_one_form_must_be_named(untrained_run: Any) -> None:
    converted = untrained_run.converted_model
    for arguments in ({}, {"graph_file": converted / "frozen_graph.pb"}, {"converted_model": converted, "meta_path": converted / "0.meta"}):
        with pytest.raises(ValueError, match="give either --converted-model, or --meta-path"):
            infer(**arguments, item_ids=[1], config=InferConfig())


def test_a_converted_model_that_was_changed_is_refused(untrained_run: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist; run `nann rewrite` first"):
        infer(converted_model=tmp_path / "none", item_ids=[1], config=InferConfig())
    with pytest.raises(ArtifactError, match="was made by `nann build-index`"):
        infer(converted_model=untrained_run.artifacts["index"], item_ids=[1], config=InferConfig())


def test_a_retriever_of_string_ids(untrained_string_run: Any) -> None:
    retriever = Retriever.load(untrained_string_run.root, form="portable")
    ids = retriever.recommend_rows([3, 4], k=2).ids
    assert all(isinstance(row, int) for row in ids)
    graph = open_graph(untrained_string_run.converted_model, "portable")
    ids_by_row = load_table(untrained_string_run.converted_model / "0", "catalogue_item_ids_by_row")
    names = [name.decode() for name in ids_by_row[[3, 4, 7]].tolist()]
    expected = graph.run("by_catalogue_id", item_ids=np.array([[name.encode() for name in names]], object))
    assert retriever.recommend(names, k=5).ids == [name.decode() for name in expected["top_k_item_ids"][0, :5].tolist()]
    assert [len(found.ids) for found in retriever.recommend_many([names, names[:1]], k=4)] == [4, 4]


@pytest.mark.parametrize("kind", ["untrained_run", "untrained_string_run"])
@pytest.mark.parametrize("linked", [False, True])
def test_items_are_left_out(request: pytest.FixtureRequest, kind: str, linked: bool) -> None:
    """From the command line: excluded items, the history's own, and other categories are not printed; the rest moves up."""
    run = request.getfixturevalue(kind)
    items, ids = load_items(run.artifacts["dataset"]), [str(item_id) for item_id in known_ids(run)]
    category_of = dict(zip(map(str, items.item_ids), items.category_rows, strict=True))
    place = ["--meta-path", str(run.converted_model / "0.meta")] if linked else ["--converted-model", str(run.converted_model)]

    def printed(*more: str) -> list[str]:
        done = CliRunner().invoke(main, ["infer", *place, "--item-ids", ",".join(ids), "--top-k", "20", "--json", *more])
        assert done.exit_code == 0, done.output
        return [str(entry["item_id"]) for entry in json.loads(done.stdout)]

    best = printed("--exclude", "no such item" if "string" in kind else "-77")
    others = printed("--exclude", ",".join(best[:3]))
    assert others[:17] == best[3:]
    assert len(others) == len(best) == 20
    new = [item for item in best if item not in ids]
    assert printed("--exclude-history")[: len(new)] == new
    category = category_of[best[0]]
    own = [item for item in best if category_of[item] == category]
    found = printed("--category", str(items.category_ids[category]), "--exclude", best[0])
    assert found[: len(own) - 1] == own[1:]
    assert {category_of[item] for item in found} == {category}
    assert printed("--category", "no such category" if isinstance(items.category_ids[1], str) else "-77") == []
