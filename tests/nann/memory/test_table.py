"""The memory of a model: its files, the numbers between knots, and its form over a corpus."""

import dataclasses
import json

import numpy as np
import pytest

from nann.errors import ArtifactError
from nann.memory.rules import RuleOptions
from nann.memory.table import AGE_KNOTS, COUNT_KNOTS, Calibration, CorpusMemory, MemoryTable, between_knots, load_memory
from nann.training.memory import add_earlier

CATEGORY_ROWS = np.array([0, 1, 1, 2, 0, 2])


def some_table(**changes) -> MemoryTable:
    table = MemoryTable(
        row_splits=np.array([0, 0, 2, 3, 3, 3, 4]),
        items=np.array([2, 3, 1, 5], np.int32),
        counts=np.array([2.0, 1.0, 4.0, 0.5], np.float32),
        totals=np.array([0, 3.0, 4.0, 0, 0, 2.0]),
        item_counts=np.array([0, 9, 4, 1, 0, 16]),
        options=RuleOptions(popularity=0.5, shrink=1.0, decay=0.5, category=2.0),
        calibration=Calibration(log_tau=tuple(np.linspace(-1, 0, len(COUNT_KNOTS))), own=tuple(np.arange(len(AGE_KNOTS)) * 1.0)),
        max_length=7,
    )
    return dataclasses.replace(table, **changes)


def test_it_reads_what_it_wrote(tmp_path) -> None:
    table = some_table()
    table.save(tmp_path)
    read = load_memory(tmp_path)
    for field in dataclasses.fields(table):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(table, field.name))
    first = (tmp_path / "memory.npz").read_bytes()
    table.save(tmp_path)
    assert (tmp_path / "memory.npz").read_bytes() == first


def test_a_model_without_one_has_none(tmp_path) -> None:
    assert load_memory(tmp_path) is None


@pytest.mark.parametrize("damage", ["cut", "no json", "no array"])
def test_damage_is_named(tmp_path, damage) -> None:
    some_table().save(tmp_path)
    if damage == "cut":
        (tmp_path / "memory.npz").write_bytes((tmp_path / "memory.npz").read_bytes()[:40])
    elif damage == "no json":
        (tmp_path / "memory.json").write_text("{")
    else:
        np.savez(tmp_path / "memory.npz", row_splits=np.zeros(1))
    with pytest.raises(ArtifactError, match="run `nann train` again"):
        load_memory(tmp_path)


def test_between_knots_is_linear_in_the_logarithm() -> None:
    weights = between_knots(np.array([0, 1, 4, 2, 10**9]), (0.0, 1.0, 4.0))
    share = (np.log(3) - np.log(2)) / (np.log(5) - np.log(2))
    np.testing.assert_allclose(weights, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1 - share, share], [0, 0, 1]], atol=1e-6)


def test_the_memory_of_a_corpus_names_positions() -> None:
    memory = CorpusMemory.of(some_table(), item_rows=np.array([5, 2, 1]), category_rows=CATEGORY_ROWS, num_categories=2, entries=3)
    assert memory.position_of_row.tolist() == [-1, 2, 1, -1, -1, 0]

    def entries(source: int) -> dict[int, float]:
        places = slice(memory.row_splits[source], memory.row_splits[source + 1])
        return dict(zip(memory.positions[places].tolist(), memory.values[places].tolist(), strict=True))

    assert entries(0) == {}
    assert entries(1) == pytest.approx({1: 2 / (4 * 2)})  # item 3 is not in the corpus
    assert entries(2) == pytest.approx({2: 4 / (5 * 3)})
    assert entries(5) == pytest.approx({0: 0.5 / (3 * 4)})
    assert entries(5 + 1) == pytest.approx({2: 9.5 / 13, 1: 4.5 / 13})
    assert entries(5 + 2) == pytest.approx({0: 16.5 / 17})
    assert len(memory.row_splits) == 5 + 2 + 2
    weights = between_knots(np.array([16, 4, 9]), COUNT_KNOTS)
    np.testing.assert_allclose(memory.item_scale, np.exp(weights @ np.array(some_table().calibration.log_tau)), rtol=1e-5)
    assert memory.own[0] == 0
    assert memory.own[-1] == len(AGE_KNOTS) - 1
    np.testing.assert_allclose(memory.numbers, [0.5, np.exp(6.9078), 2.0, np.exp(10.0), 0.0], rtol=1e-5)


def test_without_categories_their_sources_are_empty() -> None:
    table = some_table(options=RuleOptions(category=0.0))
    memory = CorpusMemory.of(table, item_rows=np.arange(1, 6), category_rows=CATEGORY_ROWS, num_categories=2, entries=3)
    assert memory.row_splits[5 + 1 :].tolist() == [4, 4, 4]
    table = dataclasses.replace(table, calibration=Calibration(category_gain=0.5))
    memory = CorpusMemory.of(table, item_rows=np.arange(1, 6), category_rows=CATEGORY_ROWS, num_categories=2, entries=3)
    assert memory.row_splits[5 + 1 :].tolist() == [4, 6, 8]


def test_the_share_of_a_category() -> None:
    histories = np.array([[0, 1, 2, 3], [0, 0, 4, 4], [0, 0, 0, 0]])
    found = some_table().category_score(histories, CATEGORY_ROWS, 2).toarray()
    first = [0, 2 / 3 * 9.5 / 13, 2 / 3 * 4.5 / 13, 1 / 3 * 1.5 / 17, 0, 1 / 3 * 16.5 / 17]
    np.testing.assert_allclose(found, [first, [0] * 6, [0] * 6], rtol=1e-6)


def test_numbers_of_an_earlier_version_have_no_term_of_categories(tmp_path) -> None:
    some_table().save(tmp_path)
    numbers = json.loads((tmp_path / "memory.json").read_text())
    del numbers["calibration"]["category_gain"], numbers["calibration"]["log_d"]
    (tmp_path / "memory.json").write_text(json.dumps(numbers))
    assert load_memory(tmp_path).calibration == some_table().calibration


def test_an_earlier_memory_is_added_to() -> None:
    """The earlier model knew three items; the new one has two more."""
    earlier = some_table(
        row_splits=np.array([0, 0, 1, 2, 3]),
        items=np.array([2, 3, 1], np.int32),
        counts=np.array([5.0, 1.0, 1.0], np.float32),
        totals=np.array([0, 6.0, 1.0, 1.0]),
        item_counts=np.array([0, 1, 2, 3]),
    )
    table = add_earlier(some_table(), earlier, keep=1)
    assert table.row_splits.tolist() == [0, 0, 1, 2, 3, 3, 4]
    assert table.items.tolist() == [2, 1, 1, 5]
    assert table.counts.tolist() == [7.0, 4.0, 1.0, 0.5]
    assert table.totals.tolist() == [0, 9.0, 5.0, 1.0, 0, 2.0]
    assert table.item_counts.tolist() == [0, 10, 6, 4, 0, 16]
