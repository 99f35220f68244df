"""Graphs with tables in lower precision against the walk in Python over the numbers those tables stand for."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nann.export import load_corpus
from nann.index import Embeddings
from nann.retrieval import BeamRetriever
from ops.packed_table import pack, unpack

PRECISIONS = ["bfloat16", "float16", "int8"]


@pytest.fixture(scope="module", params=PRECISIONS)
def lower(request: pytest.FixtureRequest, exporter: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    return request.param, exporter(tmp_path_factory.mktemp("lower") / "converted_model", table_precision=request.param)


def test_every_form_walks_over_what_the_tables_stand_for(lower: tuple[str, Any]) -> None:
    precision, exported = lower
    vectors = unpack(pack(exported.embeddings.vectors, precision))
    stored, graph = load_corpus(exported.directory / "0.meta")
    np.testing.assert_array_equal(stored.vectors, vectors)
    scorer = exported.scorer.scorer
    for table in scorer.item_embedding.tables:
        table.assign(unpack(pack(table.numpy(), precision)))
    walk = BeamRetriever(exported.scorer, Embeddings(stored.item_rows, vectors), graph, **vars(exported.retriever().parameters))
    rows, cates = exported.histories(5)
    expected = walk(rows, cates)
    outputs = {form: exported.opened(form).run("debug", item_ids=rows, cate_ids=cates) for form in ("native", "portable", "meta")}
    for form, found in outputs.items():
        np.testing.assert_array_equal(found["top_k_item_ids"], expected.item_rows, err_msg=form)
        np.testing.assert_allclose(found["top_k_scores"], expected.scores, atol=1e-5)
        for name, value in outputs["portable"].items():
            np.testing.assert_array_equal(found[name], value)


def test_the_tables_take_fewer_bytes(lower: tuple[str, Any], exported: Any) -> None:
    precision, packed = lower
    reader = tf.train.load_checkpoint(str(packed.directory / "0"))
    types = reader.get_variable_to_dtype_map()
    for name in ("item_embs", "scorer_item_table", "scorer_category_table"):
        assert types[name] == tf.as_dtype(precision)
        assert (f"{name}_scales" in types) == (precision == "int8")
    sizes = [(directory / "0.data-00000-of-00001").stat().st_size for directory in (packed.directory, exported.directory)]
    assert sizes[0] < sizes[1]
