"""The exported graph in its forms against the walk in Python."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from nann.errors import ArtifactError
from nann.export import load_corpus, open_linked, open_portable
from nann.retrieval import BeamRetriever
from ops import retrieval as native_ops


@pytest.fixture(params=["native", "fused", "portable", "meta", "alone"])
def retrieval(request: pytest.FixtureRequest, exported: Any) -> Any:
    return exported.opened(request.param)


@pytest.mark.parametrize(("users", "length"), [(1, 12), (4, 12), (3, 1), (2, 0), (0, 5)])
def test_equals_the_walk_in_python(exported: Any, retrieval: Any, users: int, length: int) -> None:
    rows, cates = exported.histories(users, length)
    expected = exported.retriever()(rows, cates)
    outputs = retrieval.run("debug", item_ids=rows, cate_ids=cates)
    np.testing.assert_array_equal(outputs["top_k_item_ids"], expected.item_rows)
    np.testing.assert_allclose(outputs["top_k_scores"], expected.scores, atol=1e-5)
    np.testing.assert_array_equal(outputs["items_scored"], expected.items_scored)
    assert [outputs[name].dtype for name in ("top_k_item_ids", "top_k_scores", "items_scored")] == [np.int64, np.float32, np.int64]
    served = retrieval.run("serving_default", item_ids=rows, cate_ids=cates)
    assert set(served) == {"top_k_item_ids", "top_k_scores"}
    np.testing.assert_array_equal(served["top_k_item_ids"], outputs["top_k_item_ids"])


def test_native_and_portable_are_equal_in_every_bit(exported: Any) -> None:
    rows, cates = exported.histories(5)
    outputs = [exported.opened(form).run("debug", item_ids=rows, cate_ids=cates) for form in ("native", "portable")]
    for name in outputs[0]:
        np.testing.assert_array_equal(outputs[0][name], outputs[1][name])


@pytest.mark.parametrize(
    "search",
    [
        {"ef": (5, 5, 5), "rounds": (2, 0, 0), "top_k": 40, "start_level": -1},
        {"ef": (40, 5, 5), "rounds": (1, 1, 1), "top_k": 3, "start_level": 1},
    ],
)
def test_the_search_is_an_input(exported: Any, retrieval: Any, search: dict[str, Any]) -> None:
    rows, cates = exported.histories(3)
    expected = BeamRetriever(exported.scorer, exported.embeddings, exported.graph, **search)(rows, cates)
    inputs = {name: np.array(value, np.int64) for name, value in search.items()}
    outputs = retrieval.run("search", item_ids=rows, cate_ids=cates, **inputs)
    np.testing.assert_array_equal(outputs["top_k_item_ids"], expected.item_rows)
    np.testing.assert_array_equal(outputs["items_scored"], expected.items_scored)


@pytest.mark.parametrize(
    ("wild", "allowed"),
    [
        ({"ef": (2**40, 60, 60)}, {"ef": (300, 60, 60)}),
        ({"ef": (2**62, -(2**63), 0)}, {"ef": (300, 1, 1)}),
        ({"rounds": (2**62, 2**62, 2**62)}, {"rounds": (300, 300, 300)}),
        ({"top_k": 2**62}, {"top_k": 65536}),
        ({"top_k": 2**34, "ef": (2**34, 2**34, 2**34)}, {"top_k": 65536, "ef": (300, 300, 300)}),
        ({"start_level": 2**62}, {"start_level": 2**30}),
    ],
)
def test_sizes_of_a_request_are_bounded_by_the_corpus(exported: Any, retrieval: Any, wild: dict[str, Any], allowed: dict[str, Any]) -> None:
    rows, cates = exported.histories(2)
    usual = {"ef": (30, 20, 20), "rounds": (3, 1, 1), "top_k": 15, "start_level": -1}
    answers = []
    for search in (usual | wild, usual | allowed):
        inputs = {name: np.array(value, np.int64) for name, value in search.items()}
        answers.append(retrieval.run("search", item_ids=rows, cate_ids=cates, **inputs))
    for name, answer in answers[0].items():
        np.testing.assert_array_equal(answer, answers[1][name])


@pytest.mark.parametrize("form", ["native", "fused", "portable"])
@pytest.mark.parametrize(("table", "value"), [("neighbors_level_0_values", -1), ("neighbors_level_0_values", 300), ("item_rows", 301)])
def test_a_damaged_table_is_an_error(exported: Any, form: str, table: str, value: int) -> None:
    exported.opened(form)  # skips where the form is not there
    rows, cates = exported.histories(2)
    model = tf.saved_model.load(str(exported.directory / "saved_model" / form / "1"))
    variable = next(variable for variable in model.variables if variable.name == f"{table}:0")
    variable.assign(tf.fill(variable.shape, tf.constant(value, variable.dtype)))
    with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError)):
        model.signatures["debug"](item_ids=tf.constant(rows), cate_ids=tf.constant(cates))


def test_portable_forms_name_no_native_op(exported: Any) -> None:
    for name in ("0.meta", "frozen_graph.pb", "saved_model/portable/1/saved_model.pb"):
        assert b"Nann>" not in (exported.directory / name).read_bytes(), name


@pytest.mark.parametrize("form", ["native", "portable"])
def test_no_table_that_is_read_as_a_whole_is_also_gathered_from(exported: Any, form: str) -> None:
    if form == "native" and not native_ops.available():
        pytest.skip("the native library is not built; run `make install`")
    saved_model = saved_model_pb2.SavedModel.FromString((exported.directory / "saved_model" / form / "1" / "saved_model.pb").read_bytes())
    nodes = saved_model.meta_graphs[0].graph_def.node
    reads, gathers = ({node.input[0] for node in nodes if node.op == op} for op in ("ReadVariableOp", "ResourceGather"))
    # Each read of such a variable would copy it; savers read every variable.
    walked = {node.input[0] for node in nodes if node.op == "ReadVariableOp" and not node.name.endswith("Read/ReadVariableOp")}
    assert walked <= reads
    assert not walked & gathers


def test_compiled_scoring_gives_the_same(exporter: Any, exported: Any, tmp_path: Path) -> None:
    compiled = exporter(tmp_path / "compiled", compiled=True)
    rows, cates = exported.histories(2)
    expected = exported.retriever()(rows, cates)
    for form in ("native", "portable"):
        graph_def = (compiled.directory / "saved_model" / form / "1" / "saved_model.pb").read_bytes()
        assert b"_XlaMustCompile" in graph_def
        outputs = compiled.opened(form).run("debug", item_ids=rows, cate_ids=cates)
        np.testing.assert_array_equal(outputs["top_k_item_ids"], expected.item_rows)
        np.testing.assert_allclose(outputs["top_k_scores"], expected.scores, atol=1e-5)
        nothing, asked = np.zeros((2, 0), np.int64), {"item_ids": rows, "cate_ids": cates, "exclude_history": np.ones(2, bool)}
        filtered = compiled.opened(form).run("filtered", **asked, exclude_item_ids=nothing, category_ids=nothing)
        assert not np.isin(filtered["top_k_item_ids"][0], rows[0]).any()
        assert np.isfinite(filtered["top_k_scores"]).all()
    assert b"_XlaMustCompile" not in (compiled.directory / "0.meta").read_bytes()


def test_wild_input_is_treated_as_missing(exported: Any, retrieval: Any) -> None:
    wild = retrieval.run("serving_default", item_ids=np.array([[-7, 4, 2**62, 9]]), cate_ids=np.array([[1, -(2**62), 3, 8]]))
    tame = retrieval.run("serving_default", item_ids=np.array([[4, 9, 0, 0]]), cate_ids=np.array([[0, 8, 0, 0]]))
    for name in wild:
        np.testing.assert_array_equal(wild[name], tame[name])
    assert np.isfinite(wild["top_k_scores"]).all()


def test_categories_are_looked_up_where_none_are_given(exported: Any) -> None:
    retrieval = exported.opened("meta")
    rows, cates = exported.histories(3)
    given = retrieval.run("serving_default", item_ids=rows, cate_ids=cates)
    looked_up = retrieval.run("serving_default", item_ids=rows)
    np.testing.assert_array_equal(given["top_k_scores"], looked_up["top_k_scores"])


@pytest.mark.parametrize("kind", ["exported", "exported_strings"])
@pytest.mark.parametrize("form", ["native", "fused", "portable", "meta"])
def test_catalogue_ids_in_and_out(request: pytest.FixtureRequest, kind: str, form: str) -> None:
    exported = request.getfixturevalue(kind)
    retrieval = exported.opened(form)
    rows, cates = exported.histories(4)
    strings = kind == "exported_strings"
    unknown: Any = "no such item" if strings else -1
    ids = [[exported.catalogue.item_ids[row] if row else unknown for row in user] for user in rows]
    ids_array = np.array([[i.encode() for i in user] for user in ids], object) if strings else np.array(ids, np.int64)
    found = retrieval.run("catalogue_rows", item_ids=ids_array)
    np.testing.assert_array_equal(found["item_rows"], rows)
    np.testing.assert_array_equal(found["cate_rows"], cates)
    by_row = retrieval.run("serving_default", item_ids=rows, cate_ids=cates)
    by_id = retrieval.run("by_catalogue_id", item_ids=ids_array)
    expected = exported.catalogue.item_ids[by_row["top_k_item_ids"]]
    returned = [[i.decode() if strings else i for i in user] for user in by_id["top_k_item_ids"].tolist()]
    assert returned == expected.tolist()
    np.testing.assert_array_equal(by_id["top_k_scores"], by_row["top_k_scores"])


def test_tables_are_no_constants(exporter: Any, tmp_path: Path) -> None:
    sizes = []
    for num_items in (300, 6000):
        directory = exporter(tmp_path / f"{num_items}", scorer="two-sided", num_items=num_items).directory
        sizes.append([(directory / name).stat().st_size for name in ("0.meta", "saved_model/portable/1/saved_model.pb")])
    growth = np.array(sizes[1]) - np.array(sizes[0])
    assert (np.abs(growth) < 20_000).all()
    assert (directory / "0.data-00000-of-00001").stat().st_size > 6000 * 64 * 4


def test_a_corpus_smaller_than_k_is_padded(exporter: Any, tmp_path: Path) -> None:
    exported = exporter(tmp_path / "small", num_items=2)
    for retrieval in (exported.opened("portable"), exported.opened("meta")):
        rows, cates = np.array([[1, 2]]), np.array([[1, 2]])
        outputs = retrieval.run("serving_default", item_ids=rows, cate_ids=cates)
        assert sorted(outputs["top_k_item_ids"][0, :2].tolist()) == [1, 2]
        assert outputs["top_k_item_ids"][0, 2:].tolist() == [0] * 13
        assert (outputs["top_k_scores"][0, 2:] == -np.inf).all()


@pytest.mark.parametrize("form", ["portable", "native", "fused"])
def test_a_search_of_one_level(exporter: Any, tmp_path: Path, form: str) -> None:
    search = {"ef": (30,), "rounds": (3,), "top_k": 15}
    exported = exporter(tmp_path / "one", search=search)
    rows, cates = exported.histories(2)
    retriever = BeamRetriever(exported.scorer, exported.embeddings, exported.graph, **search)
    opened = exported.opened(form)
    found = opened.run("serving_default", item_ids=rows, cate_ids=cates)
    np.testing.assert_array_equal(found["top_k_item_ids"], retriever(rows, cates).item_rows)
    inputs = {name: np.array(value, np.int64) for name, value in {**search, "ef": (30, 20), "start_level": -1}.items()}
    with pytest.raises(tf.errors.InvalidArgumentError):
        opened.run("search", item_ids=rows, cate_ids=cates, **inputs)


def test_the_corpus_comes_back(exported: Any) -> None:
    embeddings, graph = load_corpus(exported.directory / "0.meta")
    np.testing.assert_array_equal(embeddings.vectors, exported.embeddings.vectors)
    rows, cates = exported.histories(2)
    expected = exported.retriever()(rows, cates)
    found = BeamRetriever(exported.scorer, embeddings, graph, ef=(30, 20, 20), rounds=(3, 1, 1), top_k=15)(rows, cates)
    np.testing.assert_array_equal(found.item_rows, expected.item_rows)


def test_linking_another_model_is_refused(exporter: Any, exported: Any, tmp_path: Path) -> None:
    other = exporter(tmp_path / "other", seed=2).directory
    with pytest.raises(ArtifactError, match=r"has sha256 .*made from a frozen graph with sha256"):
        open_linked(exported.directory / "0.meta", other / "frozen_graph.pb")


def test_broken_files_are_refused(exported: Any, tmp_path: Path) -> None:
    (tmp_path / "0.meta").write_bytes((exported.directory / "0.meta").read_bytes())
    for call in (lambda: open_linked(tmp_path / "0.meta"), lambda: load_corpus(tmp_path / "0.meta")):
        with pytest.raises(ArtifactError, match="run `nann rewrite` again"):
            call()
    (tmp_path / "0.meta").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "0.meta", tmp_path / "none.meta"):
        with pytest.raises(ArtifactError, match=r"is not a 0\.meta"):
            open_linked(path)
    with pytest.raises(ArtifactError, match="there is no such file"):
        open_portable(tmp_path)
