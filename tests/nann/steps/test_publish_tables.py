"""Tables of items in a service: put there by the command, used by retrievers and servers, kept over a change of the version."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import nann
from nann.artifacts import open_artifact
from nann.errors import ArtifactError
from nann.item_tables import ItemTables
from nann.service.shelf import Shelf
from nann.serving.opened import OpenedModel
from nann.serving.places import find_model
from pipelines.cli import main


@pytest.fixture
def service(untrained_run: Any, tmp_path: Path) -> Path:
    shelf = Shelf(tmp_path / "service").require(create=True)
    shelf.publish({"converted_model": open_artifact(untrained_run.converted_model, step="rewrite")}, expected=None, keep=5)
    return tmp_path / "service"


def publish(service: Path, text: str) -> Any:
    (service.parent / "tables.csv").write_text(text)
    return CliRunner().invoke(main, ["publish", "--service", str(service), "--item-tables", str(service.parent / "tables.csv")])


def test_what_is_published_is_used(service: Path) -> None:
    switching = pytest.importorskip("nann.serving.switching", reason="nann serve is an extra: pip install 'nann-pipeline[serve]'")
    metrics = pytest.importorskip("nann.serving.metrics")
    versions = switching.VersionInService(lambda: find_model(service), OpenedModel, metrics.ServerMetrics())
    served = versions.model
    retriever = nann.Retriever(served.retrieval, served.inputs, served)
    history = found_ids(served, [1, 2])
    before = retriever.recommend(history, k=20, exclude=[-77])  # a scan, as what comes after
    first, second, *_, last = before.ids

    done = publish(service, f"item_id,available,prior\n{first},false,0\n{last},true,1000\n-77,false,0\n")
    assert done.exit_code == 0, done.output
    assert "tables 1 of 3 items, 2 of them not available, are in service" in done.output
    assert versions.look()
    assert versions.model is served
    changed = retriever.recommend(history, k=20)
    assert changed.ids[:2] == [last, second]
    assert first not in changed.ids
    assert changed.scores[0] == pytest.approx(before.scores[-1] + 1000, rel=1e-5)
    assert nann.Retriever.load(service).recommend(history, k=20).ids == changed.ids
    assert retriever.recommend_many([history, []], k=20)[0].ids == changed.ids
    assert (
        retriever.recommend(history, k=5, exclude=[last], exclude_history=True).ids == [i for i in before.ids[1:] if i not in history][:5]
    )

    assert publish(service, f"item_id,available\n{second},false\n").exit_code == 0
    assert versions.look()
    assert retriever.recommend(history, k=5).ids == [first, *before.ids[2:6]]
    assert Shelf(service).item_tables() == 2
    # without a word about a table the client gets what it asked for
    assert versions.model.has_item_tables


def found_ids(model: OpenedModel, rows: list[int]) -> list[int]:
    """Catalogue ids of item rows."""
    from nann.export import load_table

    ids: list[int] = load_table(model.directory / "variables" / "variables", "catalogue_item_ids_by_row")[rows].tolist()
    return ids


def test_what_cannot_be_used_leaves_what_there_was(service: Path) -> None:
    assert publish(service, "item_id,prior\n1,nan\n").exit_code == 1
    assert Shelf(service).item_tables() is None
    retriever = nann.Retriever.load(service)
    with pytest.raises(ArtifactError, match="names no item of"):
        retriever.set_item_tables(ItemTables(np.array([-5]), np.array([False]), np.zeros(1, np.float32)))
    with pytest.raises(ArtifactError, match=r"64-bit integers, but the table of items names 'tea'"):
        retriever.set_item_tables(ItemTables(np.array(["tea"], object), np.array([False]), np.zeros(1, np.float32)))
    assert CliRunner().invoke(main, ["publish", "--service", str(service / "none"), "--item-tables", "x.csv"]).exit_code == 1


def test_only_the_newest_tables_are_kept(service: Path) -> None:
    model = OpenedModel(find_model(service))
    (known,) = found_ids(model, [1])
    for number in range(1, 8):
        assert publish(service, f"item_id,prior\n{known},{number}\n").exit_code == 0
    assert Shelf(service).store.names("item_tables") == [f"{number:06d}.parquet" for number in range(3, 8)]


@pytest.mark.parametrize(("text", "problem"), [("-5,false", "names no item of"), ("2943.0,false", "ids are 64-bit integers")])
def test_tables_that_no_server_could_use_are_not_published(service: Path, text: str, problem: str) -> None:
    refused = publish(service, f"item_id,available\n{text}\n")
    assert refused.exit_code == 1
    assert problem in refused.output
    assert Shelf(service).item_tables() is None


def test_tables_of_no_items_end_what_others_said(service: Path) -> None:
    model = nann.Retriever.load(service)
    first = model.recommend(found_ids(model._model, [1, 2]), k=5).ids[0]
    assert publish(service, f"item_id,available\n{first},false\n").exit_code == 0
    assert first not in nann.Retriever.load(service).recommend(found_ids(model._model, [1, 2]), k=5).ids
    assert publish(service, "item_id,available,prior\n").exit_code == 0
    assert first in nann.Retriever.load(service).recommend(found_ids(model._model, [1, 2]), k=5).ids


@pytest.mark.parametrize("filters", [{"exclude": "33"}, {"categories": "tea"}, {"exclude_history": "false"}, {"exclude_history": [True]}])
def test_filters_of_another_type_are_refused(service: Path, filters: dict[str, Any]) -> None:
    retriever = nann.Retriever.load(service)
    with pytest.raises(TypeError, match="give"):
        retriever.recommend(found_ids(retriever._model, [1, 2]), k=5, **filters)
