"""Side features from the log to the served graph: what the items file says is learned, and every exported form answers alike."""

import csv
import json

import numpy as np
import pytest

from data_prep.config import ConvertConfig
from nann.config import BuildIndexConfig, ExtractConfig, RewriteConfig, TrainConfig
from nann.dataset import Dataset, load_items, load_samples
from nann.errors import ArtifactError
from nann.export import load_corpus, load_frozen_scorer, open_graph
from nann.steps.build_index import build_index
from nann.steps.convert import convert
from nann.steps.extract import extract
from nann.steps.rewrite import rewrite
from nann.steps.train import train
from ops import retrieval as native_ops

SMALL = {
    "memory": "none",
    "emb_dim": 8,
    "num_neg": 64,
    "batch_size": 64,
    "max_length": 10,
    "xla": False,
    "validations": 1,
    "validate_users": 60,
}


@pytest.fixture(scope="module")
def dataset(small_log, tmp_path_factory):
    """The log without its categories; an items file has them as values of a feature, beside random ones, and as another feature."""
    root = tmp_path_factory.mktemp("features")
    rng = np.random.default_rng(0)
    with small_log.open() as log:
        category_of = {item: category for _, item, category, _, _ in csv.reader(log)}
    with (root / "items.csv").open("w") as items:
        items.write("item_id,category_id,kind,tags\n")
        items.writelines(f"{item},1,k{kind},t{kind}|x{rng.integers(20)}|x{rng.integers(20)}\n" for item, kind in category_of.items())
    config = ConvertConfig(items=root / "items.csv", item_features={"kind": "kind", "tags": "tags"}, max_length=20)
    convert(inputs=[small_log], dataset=root / "dataset", config=config)
    return root / "dataset"


def test_the_schema_names_them(dataset):
    meta = json.loads((dataset / "meta.json").read_text())
    features = Dataset(dataset).features(("kind", "tags"))
    described = {name: {"side": "item", "num_values": lists.num_values} for name, lists in features.items()}
    assert meta["inputs"] == {"time": {"side": "history"}, **described}
    assert features["tags"].num_values == features["kind"].num_values + 20
    lengths = np.diff(features["tags"].row_splits)
    assert lengths[0] == 0
    assert set(lengths[1:].tolist()) <= {2, 3}


def test_what_they_say_is_learned(dataset, tmp_path):
    recalls = {}
    for inputs in ((), ("kind", "tags")):
        config = TrainConfig(scorer="two-sided", inputs=inputs, max_steps=250, **SMALL)
        recalls[inputs] = train(dataset=dataset, model=tmp_path / str(len(inputs)), config=config).metrics["recall_all@50"]
    assert recalls["kind", "tags"] > 1.2 * recalls[()]


@pytest.fixture(scope="module")
def indexed(dataset, tmp_path_factory):
    """A model that reads them, its item vectors and their graph."""
    root = tmp_path_factory.mktemp("indexed")
    paths = {name: root / name for name in ("model", "embeddings", "index")}
    config = TrainConfig(inputs=("kind", "tags"), max_steps=20, **{**SMALL, "validations": 0})
    train(dataset=dataset, model=paths["model"], config=config)
    extract(model=paths["model"], dataset=dataset, embeddings=paths["embeddings"], config=ExtractConfig())
    build_index(embeddings=paths["embeddings"], index=paths["index"], config=BuildIndexConfig(m=8))
    return paths


@pytest.mark.parametrize("table_precision", ["float32", pytest.param("int8", marks=pytest.mark.slow)])
def test_every_exported_form_serves_them(dataset, indexed, tmp_path, table_precision):
    converted = tmp_path / "converted_model"
    search = RewriteConfig(ef=(60, 40), rounds=(6, 1), top_k=20, table_precision=table_precision)
    rewrite(**indexed, dataset=dataset, converted_model=converted, config=search)
    rows = load_samples(dataset, "test").histories[:6].astype(np.int64)
    categories = load_items(dataset).category_rows[rows].astype(np.int64)
    forms = ["portable", "meta", *(["native"] if native_ops.available() else [])]
    answers = [open_graph(converted, form).run("debug", item_ids=rows, cate_ids=categories) for form in forms]
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer["top_k_item_ids"], answers[0]["top_k_item_ids"])
    scorer, (corpus, _) = load_frozen_scorer(converted / "frozen_graph.pb"), load_corpus(converted / "0.meta")
    exact = np.asarray(scorer.score(scorer.user_state(rows, categories), corpus.vectors[np.newaxis]))
    served = np.take_along_axis(exact, answers[0]["top_k_item_ids"] - 1, axis=1)
    np.testing.assert_allclose(served, answers[0]["top_k_scores"], rtol=1e-4, atol=1e-4)


def test_an_unknown_feature_is_refused(dataset, tmp_path):
    with pytest.raises(
        ArtifactError, match="has no input 'size', it has kind, tags, time; run `nann convert` with --item-features or --user-f"
    ):
        train(dataset=dataset, model=tmp_path / "model", config=TrainConfig(inputs=("size",), **SMALL))
