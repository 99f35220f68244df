"""`nann add-items`: items that no training has met are in the catalogue, the graph and every exported form, or nothing has changed."""

import csv
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import nann
from nann.added_items import read_added_items
from nann.artifacts import open_artifact
from nann.dataset import Dataset, load_items
from nann.errors import ArtifactError
from nann.export import load_corpus, load_table, open_graph
from nann.index import load_embeddings
from nann.memory.table import load_memory
from nann.models import load_model
from nann.service.shelf import Shelf
from nann.steps import add_items
from ops import retrieval, scoring
from pipelines.cli import main

FORMS = ("portable", "meta", *(("native", "fused") if retrieval.available() and scoring.available() else ()))
TRAIN = "--emb-dim 8 --num-neg 64 --batch-size 64 --max-length 8 --max-steps 30 --no-xla --validate-users 0 --inputs tags --keep-moments"
NEW = [90001, 90002, 90003]


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def run(*arguments: str | Path) -> str:
    result = command(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@dataclass(frozen=True)
class Run:
    root: Path
    categories: list[int]  # of the catalogue

    def file(self, directory: Path, text: str | None = None) -> Path:
        """A file of the new items, the first two of one category."""
        first, second = self.categories[:2]
        lines = [f"{NEW[0]},{first},x1|x2", f"{NEW[1]},{first},", f"{NEW[2]},{second},x3"]
        path = directory / "new.csv"
        path.write_text(text if text is not None else "\n".join(["item_id,category_id,tags", *lines]) + "\n")
        return path


@pytest.fixture(scope="module")
def base(small_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the default scorer, which reads categories and a feature and has a memory."""
    root = tmp_path_factory.mktemp("base")
    with small_log.open() as log:
        category_of = {item: category for _, item, category, _, _ in csv.reader(log)}
    items = [f"{item},{category},x{int(item) % 5}|x{int(item) % 3}" for item, category in category_of.items()]
    (root / "items.csv").write_text("\n".join(["item_id,category_id,tags", *items]) + "\n")
    more = ["--items", root / "items.csv", "--item-features", "tags=tags", "--shards", 1, "--max-length", 20]
    run("convert", "--input", small_log, "--output-root", root, *more)
    run("train", "--output-root", root, *shlex.split(TRAIN))
    run("extract", "--output-root", root)
    run("build-index", "--output-root", root, "--m", 8, "--ef-construction", 60)
    run("rewrite", "--output-root", root, *shlex.split("--ef 60,40 --rounds 6,1 --top-k 50 --memory-entries 40"))
    return Run(root, sorted({int(category) for category in category_of.values()}))


@pytest.fixture(scope="module")
def added(base: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("added")
    told = run("add-items", "--items", base.file(root), "--base", base.root, "--output-root", root)
    assert "items_added" in told
    return root


def test_new_vectors_are_those_of_the_item_network_without_an_id(base: Run, added: Path) -> None:
    before, after = load_embeddings(base.root / "embeddings"), load_embeddings(added / "embeddings")
    np.testing.assert_array_equal(after.vectors[:-3], before.vectors)
    scorer, items = load_model(base.root / "model"), load_items(added / "dataset")
    assert items.item_ids[-3:].tolist() == NEW
    category = scorer.item_embedding.category_table.levels[0].numpy()[items.category_rows[-3:]]
    feature = scorer.item_embedding.features[0].table.numpy()
    rows = {row["value"]: row["value_row"] for row in pq.read_table(base.root / "dataset" / "feature_values.parquet").to_pylist()}
    of_tags = [feature[[rows["x1"], rows["x2"]]].mean(axis=0), np.zeros_like(feature[0]), feature[rows["x3"]]]
    embedded = np.concatenate([np.zeros_like(category), category, np.stack(of_tags)], axis=1)
    np.testing.assert_allclose(after.vectors[-3:], scorer.item_network(embedded).numpy(), rtol=1e-4, atol=1e-5)


def test_every_form_answers_alike_and_knows_them(base: Run, added: Path) -> None:
    items = load_items(added / "dataset")
    histories = np.array([items.item_ids[1:4], [NEW[0], NEW[2], items.item_ids[5]], [NEW[1]] * 3])
    nothing = {"exclude_item_ids": np.zeros((3, 1), np.int64), "exclude_history": np.zeros(3, bool)}
    of_first = {**nothing, "category_ids": np.full((3, 1), base.categories[0])}
    answers = {form: open_graph(added / "converted_model", form) for form in FORMS}
    found = {form: graph.run("by_catalogue_id", item_ids=histories) for form, graph in answers.items()}
    filtered = {form: graph.run("filtered_by_catalogue_id", item_ids=histories, **of_first) for form, graph in answers.items()}
    for answer in (found, filtered):
        for form in FORMS[1:]:
            np.testing.assert_array_equal(answer[form]["top_k_item_ids"], answer[FORMS[0]]["top_k_item_ids"])
            np.testing.assert_allclose(answer[form]["top_k_scores"], answer[FORMS[0]]["top_k_scores"], rtol=1e-4, atol=1e-5)
    for row in filtered["portable"]["top_k_item_ids"].tolist():
        assert set(NEW[:2]) <= set(row)  # a category has some 25 items, all of which are returned
        assert NEW[2] not in row


def test_the_graph_leads_to_them_and_the_memory_has_none(base: Run, added: Path) -> None:
    _, graph = load_corpus(added / "converted_model" / "0.meta")
    count = graph.num_nodes
    for position in range(count - 3, count):
        linked = graph.levels[0].of(position)
        assert len(linked)
        assert any(position in graph.levels[0].of(int(neighbor)) for neighbor in linked)
    before, after = load_memory(base.root / "model"), load_memory(added / "model")
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(after.items, before.items)
    assert after.item_counts[-3:].tolist() == [0, 0, 0]
    assert load_table(added / "converted_model" / "0", "catalogue_item_ids_by_row")[-3:].tolist() == NEW


def test_steps_read_what_it_wrote(base: Run, added: Path, tmp_path: Path) -> None:
    of_run = ["--output-root", added]
    run("evaluate", *of_run, "--evaluation", tmp_path / "evaluation", "--ks", "10", "--no-baselines", "--curve-users", 0, "--max-users", 20)
    assert "90002" in run("infer", *of_run, "--item-ids", f"{NEW[0]},{NEW[1]}", "--category", base.categories[0], "--top-k", 50)
    assert "training events  0" in run("show", "item", str(NEW[0]), *of_run)
    run("add-items", "--items", base.file(tmp_path), "--base", base.root, "--output-root", added)  # again: everything is there
    text = f"item_id,category_id,tags\n90009,{base.categories[0]},\n"
    more = base.file(tmp_path, text)
    run("add-items", "--items", more, "--base", added, "--output-root", tmp_path / "more")
    assert load_items(tmp_path / "more" / "dataset").item_ids[-4:].tolist() == [*NEW, 90009]


def publish(base: Run, service: Path, *, parts: tuple[str, ...] = ("dataset", "model", "index", "converted_model")) -> None:
    steps = {"dataset": "convert", "model": "train", "index": "build-index", "converted_model": "rewrite"}
    shelf = Shelf(service).require(create=True)
    shelf.publish({part: open_artifact(base.root / part, step=steps[part]) for part in parts}, expected=None, keep=5)


def test_a_version_with_them_takes_the_place_of_the_one_in_service(base: Run, small_log: Path, tmp_path: Path) -> None:
    service = tmp_path / "service"
    publish(base, service)
    told = run("add-items", "--items", base.file(tmp_path), "--service", service, "--output-root", tmp_path / "run")
    assert "version      2" in told
    known = load_items(base.root / "dataset").item_ids[1:4].tolist()
    recommend = {"k": 5, "categories": [base.categories[0]]}
    (tmp_path / "tables.csv").write_text(f"item_id,prior\n{NEW[1]},1000\n{known[0]},1\n")
    run("publish", "--service", service, "--item-tables", tmp_path / "tables.csv")
    assert nann.Retriever.load(service).recommend(known, **recommend).ids[0] == NEW[1]
    again = command("add-items", "--items", base.file(tmp_path), "--service", service, "--output-root", tmp_path / "again")
    assert again.exit_code == 1
    assert "3 of the 3 items of" in again.output
    assert "are in the catalogue already" in again.output
    assert not (tmp_path / "again").exists()
    run("rollback", "--service", service)
    assert nann.Retriever.load(service).recommend(known, **recommend).ids[0] != NEW[1]
    run("rollback", "--service", service, "--to", 2)
    # a retraining goes on from it
    run("in-service", "--service", service, "--in-service", tmp_path / "in_service")
    log = tmp_path / "log.csv"
    log.write_text("".join(f"{7 + n % 3},{NEW[n % 2]},{base.categories[0]},pv,{1600000000 + n}\n" for n in range(30)))
    every = tmp_path / "items.csv"
    every.write_text((base.root / "items.csv").read_text() + base.file(tmp_path).read_text().partition("\n")[2])
    places = ["--dataset", tmp_path / "dataset"]
    earlier = ["--base", tmp_path / "in_service" / "dataset", "--items", every, "--item-features", "tags=tags"]
    run("convert", "--input", log, *places, *earlier, "--test-users", 0, "--validate-users", 0)
    assert load_items(tmp_path / "dataset").train_counts[-3:].tolist() == [15, 15, 0]
    model = ["--model", tmp_path / "model", "--warm-start", tmp_path / "in_service" / "model"]
    run("train", *places, *model, *shlex.split(TRAIN), "--memory-users", 0)


def test_what_was_published_in_the_meantime_stays(base: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process adds items between the beginning of this one and its end."""
    service, first, second = tmp_path / "service", tmp_path / "first", tmp_path / "second"
    publish(base, service)
    first.mkdir()
    second.mkdir()
    other = base.file(second, f"item_id,category_id,tags\n90009,{base.categories[0]},\n")
    rewriting, arguments = add_items.rewrite, ["--service", service, "--output-root"]

    def rewrite_while_another_publishes(**given: Any) -> Any:
        monkeypatch.setattr(add_items, "rewrite", rewriting)
        run("add-items", "--items", other, *arguments, second)
        return rewriting(**given)

    monkeypatch.setattr(add_items, "rewrite", rewrite_while_another_publishes)
    refused = command("add-items", "--items", base.file(first), *arguments, first)
    assert refused.exit_code == 1
    assert "items were added to version 1, but 2 is in service" in refused.output
    assert Shelf(service).pointer().version == 2
    told = run("add-items", "--items", base.file(first), *arguments, first, "--overwrite")
    assert "version      3" in told
    assert load_items(service / "versions" / "000003" / "dataset").item_ids[-4:].tolist() == [90009, *NEW]


def test_a_version_of_before_is_told_what_it_lacks(base: Run, tmp_path: Path) -> None:
    publish(base, tmp_path / "service", parts=("dataset", "model", "converted_model"))
    arguments = ["--items", base.file(tmp_path), "--service", tmp_path / "service", "--output-root", tmp_path / "run"]
    refused = command("add-items", *arguments)
    assert refused.exit_code == 1
    assert "has no index/" in refused.output
    assert "publish one with `nann publish`" in refused.output
    assert not (tmp_path / "run").exists()


WRONG = {
    "empty": ("", "is not a table of items"),
    "no lines": ("item_id,category_id,tags\n", "holds no items, at least 1 is needed"),
    "another table": ("a,b\n1,2\n", "has no column item_id"),
    "no category": ("item_id,tags\n1,x1\n", "has no column category_id"),
    "no feature": ("item_id,category_id\n90001,{0}\n", "has no column tags, which the model reads"),
    "another column": ("item_id,category_id,tags,price\n90001,{0},,3\n", "has a column 'price', but the dataset has the features tags"),
    "unknown category": ("item_id,category_id,tags\n90001,999999,\n", "1 categories are not in the catalogue, such as '999999'"),
    "unknown value": ("item_id,category_id,tags\n90001,{0},x1|tea\n", "1 values of the feature tags are not in the dataset, such as 'tea'"),
    "there already": ("item_id,category_id,tags\n90001,{0},\n{1},{0},\n", "1 of the 2 items of"),
    "twice": ("item_id,category_id,tags\n90001,{0},\n90001,{0},\n", "names '90001' more than once"),
    "no id": ("item_id,category_id,tags\n90001,{0},\n,{0},\n", "item 2 of 2 has no item_id"),
    "no integer": ("item_id,category_id,tags\ntea,{0},\n", "item_id are 64-bit integers, but"),
    "too large": ("item_id,category_id,tags\n9223372036854775808,{0},\n", "item_id are 64-bit integers, but"),
    "no integer category": ("item_id,category_id,tags\n90001,tea,\n", "category_id are 64-bit integers, but"),
    "nothing known": ("item_id,category_id,tags\n90001,{0},\n90002,,\n", "names none for '90002'"),
    "ragged": ("item_id,category_id,tags\n90001,{0}\n", "is not a table of items"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_cannot_be_used_changes_nothing(base: Run, tmp_path: Path, case: str) -> None:
    text, message = WRONG[case]
    known = int(load_items(base.root / "dataset").item_ids[1])
    path = base.file(tmp_path, text.format(base.categories[0], known))
    refused = command("add-items", "--items", path, "--base", base.root, "--output-root", tmp_path / "run")
    assert refused.exit_code == 1
    assert message in refused.output
    assert ";" in refused.output.splitlines()[-1]  # what to do
    assert not (tmp_path / "run").exists()


def test_parquet_and_ids_of_text(untrained_string_run: Run, tmp_path: Path) -> None:
    items = load_items(untrained_string_run.root / "dataset")
    table = pa.table({"category_id": [items.category_ids[1], items.category_ids[2]], "item_id": ["007", "tea \u2615"]})
    pq.write_table(table, tmp_path / "new.parquet")
    root = untrained_string_run.root
    run("add-items", "--items", tmp_path / "new.parquet", "--base", root, "--output-root", tmp_path / "run")
    assert load_items(tmp_path / "run" / "dataset").item_ids[-2:].tolist() == ["007", "tea \u2615"]
    assert json.loads((tmp_path / "run" / "dataset" / "meta.json").read_text())["num_items"] == len(items.item_ids) + 1
    listed = run(
        "infer",
        "--output-root",
        tmp_path / "run",
        "--item-ids",
        "007",
        "--category",
        items.category_ids[2],
        "--top-k",
        20,
        "--exclude",
        ",".join(items.item_ids[1:]),
    )
    assert "tea \u2615" in listed


@pytest.mark.parametrize(("number", "read"), [(90001.0, True), (90001.5, False), (2.0**53, False)])
def test_integers_beside_missing_ones_come_as_floats(base: Run, tmp_path: Path, number: float, read: bool) -> None:
    """A table of pandas has floating point numbers where one of its integers is missing."""
    path, category = tmp_path / "new.parquet", float(base.categories[0])
    pq.write_table(pa.table({"item_id": [number, 90002.0], "category_id": [category, None], "tags": ["x1", "x2"]}), path)
    data = Dataset(base.root / "dataset")
    if read:
        added = read_added_items(path, data, read_by_model=["tags"])
        assert added.item_ids.tolist() == [90001, 90002]
        assert (added.category_rows > 0).tolist() == [True, False]
    else:
        with pytest.raises(ArtifactError, match="write ids as the log has them"):
            read_added_items(path, data, read_by_model=["tags"])


def test_one_source_and_another_place(base: Run, tmp_path: Path) -> None:
    path = base.file(tmp_path)
    assert command("add-items", "--items", path, "--output-root", tmp_path / "run").exit_code == 2
    both = command("add-items", "--items", path, "--output-root", tmp_path / "run", "--base", base.root, "--service", tmp_path)
    assert both.exit_code == 2
    onto = command("add-items", "--items", path, "--output-root", base.root, "--base", base.root)
    assert onto.exit_code == 1
    assert "give --output-root another path" in onto.output
