"""`nann explain` and `nann show item`: the parts of a score add up to that of the exported graph, and facts are those of the artifacts."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import nann
from nann.export import load_corpus
from nann.memory.table import load_memory
from pipelines.cli import main


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def explained(run: Any, item: Any, history: list) -> Any:
    done = command("explain", "--item", item, "--history", ",".join(map(str, history)), "--output-root", run.root, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def history(trained_run: Any) -> list:
    return trained_run.history(5)


def test_the_parts_add_up_to_the_score_of_the_exported_graph(trained_run: Any, history: list) -> None:
    """A new term of the formula that `nann/explanation/score_parts.py` does not know of fails here."""
    found = nann.Retriever.load(trained_run.root, form="portable").recommend(history, k=50)
    score_of = dict(zip(found.ids, found.scores, strict=True))
    own = next(item_id for item_id in history if item_id in score_of)
    told = {item_id: explained(trained_run, item_id, history) for item_id in dict.fromkeys((found.ids[0], own))}
    for item_id, reasons in told.items():
        parts = reasons["parts"]
        total = parts["scorer"] + parts["prior"] + parts["memory"] + parts["category"] + parts["own"]
        assert total == pytest.approx(score_of[item_id], abs=2e-4)
        assert abs(reasons["rest"]) < 2e-4
        assert parts["scorer"] == pytest.approx(parts["logit"] * parts["scale"])
        assert (reasons["found"], reasons["walk_rank"], reasons["top_k"]) == (True, found.ids.index(item_id) + 1, 50)
        assert sum(pair["share"] for pair in parts["evidence"]) == pytest.approx(1 if parts["evidence"] else 0)
        assert {pair["item_id"] for pair in parts["evidence"]} <= set(history)
    assert told[own]["parts"]["own"] != 0
    assert told[own]["nearest"] == {"item_id": own, "row": told[own]["row"], "distance": 0}
    assert told[found.ids[0]]["parts"]["evidence"]
    assert told[found.ids[0]]["exact_rank"] <= 5


def test_an_item_far_from_the_answer(trained_run: Any, history: list) -> None:
    """The last of the exact scan is not found, and the sum holds there, too."""
    answer = set(nann.Retriever.load(trained_run.root).recommend(history, k=50).ids)
    rare = trained_run.items.train_counts[1:].argmin() + 1
    item_id = trained_run.items.item_ids[rare].item()
    reasons = explained(trained_run, item_id, history)
    assert reasons["found"] == (item_id in answer)
    assert (reasons["row"], reasons["num_items"]) == (rare, len(trained_run.items.item_ids) - 1)
    assert abs(reasons["rest"]) < 2e-4
    assert reasons["walk_rank"] is None or reasons["walk_rank"] <= reasons["items_scored"]
    assert 1 <= reasons["exact_rank"] <= reasons["num_items"]


def test_the_text_names_parts_and_titles(trained_run: Any, history: list, tmp_path: Path) -> None:
    names = tmp_path / "names.csv"
    names.write_text(f'id,title\n{history[-1]},"A lamp, red",more\n')
    done = command(
        "explain", "--item", history[-1], "--history", *[",".join(map(str, history))], "--output-root", trained_run.root, "--names", names
    )
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == f"item {history[-1]} A lamp, red, for a history of 5"
    assert [line.split()[0] for line in lines[1:9]] == ["exact", "walk", "score", "scorer", "prior", "memory", "category", "own"]
    assert not any(line.split()[0] == "rest" for line in lines)
    assert lines[-1] == f"nearest of the history: {history[-1]} A lamp, red, squared distance 0"


def test_what_a_model_knows_of_an_item(trained_run: Any) -> None:
    items, row = trained_run.items, int(trained_run.items.train_counts.argmax())
    item_id = items.item_ids[row].item()
    done = command("show", "item", item_id, "--output-root", trained_run.root, "--most", 6, "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (facts["item_id"], facts["row"], facts["train_count"]) == (item_id, row, items.train_counts[row])
    column = pq.read_table(trained_run.root / "dataset" / "items.parquet")["category_id"].to_pylist()
    assert facts["category_id"] == column[row - 1]
    assert facts["items_in_category"] == column.count(column[row - 1])

    embeddings, graph = load_corpus(trained_run.root / "converted_model" / "0.meta")
    position = int(np.searchsorted(embeddings.item_rows, row))
    distances = ((embeddings.vectors - embeddings.vectors[position]) ** 2).sum(axis=1)
    assert {entry["row"] for entry in facts["neighbors"]} <= set(embeddings.item_rows[graph.levels[0].of(position)].tolist())
    shown = [entry["distance"] for entry in facts["neighbors"]]
    assert shown == sorted(shown)
    assert shown == pytest.approx([distances[np.searchsorted(embeddings.item_rows, entry["row"])] for entry in facts["neighbors"]])

    table = load_memory(trained_run.root / "model")
    pairs, sources = table.values(), np.repeat(np.arange(len(table.item_counts)), np.diff(table.row_splits))
    after = {int(item): value for item, value in zip(table.items[sources == row], pairs[sources == row], strict=True)}
    before = {int(source): value for source, value in zip(sources[table.items == row], pairs[table.items == row], strict=True)}
    for entries, expected in ((facts["successors"], after), (facts["predecessors"], before)):
        assert len(entries) == min(6, len(expected)) > 0
        assert [entry["value"] for entry in entries] == pytest.approx(sorted(expected.values(), reverse=True)[:6])
        assert all(entry["value"] == pytest.approx(expected[entry["row"]]) for entry in entries)
    text = command("show", "item", item_id, "--output-root", trained_run.root).stdout
    assert text.startswith(f"item {item_id}\nrow              {row}\n")
    assert "follow it in the memory, value:\n" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("explain", "--item", 7, "--history", ","), 2, "--history names no item"),
        (("explain", "--item", 7, "--history", "1"), 2, "Missing option '--converted-model'"),
        (("show", "item", 7), 2, "Missing option '--converted-model'"),
        (("explain", "--item", -7, "--history", "RUN"), 1, "error: 1 of 1 item ids are not in the catalogue (-7)"),
        (("explain", "--item", "shoe", "--history", "RUN"), 1, "error: the catalogue's ids are 64-bit integers"),
        (("show", "item", 2**40, "RUN"), 1, "error: 1 of 1 item ids are not in the catalogue"),
    ],
)
def test_what_cannot_be_explained_is_said(trained_run: Any, history: list, arguments: tuple, code: int, message: str) -> None:
    given = [part for argument in arguments for part in ([argument] if argument != "RUN" else [])]
    if "RUN" in arguments:
        given += [*([history[0]] if "--history" in arguments else []), "--output-root", trained_run.root]
    done = command(*given)
    assert done.exit_code == code, done.output
    assert message in done.output


def test_names_that_are_no_table(trained_run: Any, history: list, tmp_path: Path) -> None:
    for content, message in ((b"1\n", "line 1 has one column; give id,title in each"), (b"\xff\xfe1,a\n", "is no CSV file in UTF-8")):
        (tmp_path / "names.csv").write_bytes(content)
        done = command("show", "item", history[0], "--output-root", trained_run.root, "--names", tmp_path / "names.csv")
        assert done.exit_code == 1
        assert message in done.output


def test_the_commands_of_the_page_run_and_print_what_it_shows(trained_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Line by line the same words, as far as no number stands among them: those of a training differ from machine to machine."""
    page = (Path(nann.__file__).parents[1] / "docs" / "explaining.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?ms)^```bash\nnann (.*?)\n```\n```text\n(.*?)^```", page)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(trained_run.root)
    (tmp_path / "titles.csv").write_text("142,A lamp\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def words(text: str) -> list[str]:
        lines = [re.split(r"[-+\d]", line.strip())[0].strip() for line in text.splitlines()]
        return list(dict.fromkeys(line for line in lines if line))

    assert len(blocks) == 2
    for line, shown in blocks:
        done = command(*shlex.split(line))
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[0] == shown.splitlines()[0]
        assert words(done.stdout) == words(shown)
