"""The step `rewrite`: the exported walk is the walk of the artifacts it was made from, and what does not belong together is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nann.artifacts import ArtifactWriter, open_artifact
from nann.config import BuildIndexConfig, EvaluateConfig, ExtractConfig, RewriteConfig, TrainConfig
from nann.dataset import load_histories, load_items, load_samples
from nann.errors import ArtifactError
from nann.export import load_corpus, load_frozen_scorer, open_portable
from nann.index import enter_at_untrained, load_embeddings, load_graph
from nann.models import build_model, load_max_length, load_model, save_model
from nann.retrieval import BeamRetriever, HistoryScorer
from nann.steps.build_index import build_index
from nann.steps.evaluate import evaluate
from nann.steps.extract import extract
from nann.steps.rewrite import rewrite
from ops import retrieval as native_ops


def test_the_exported_walk_is_the_walk_of_the_artifacts(untrained_run: Any) -> None:
    paths = untrained_run.artifacts
    scorer = HistoryScorer(load_model(paths["model"]), max_length=load_max_length(paths["model"]))
    embeddings, items = load_embeddings(paths["embeddings"]), load_items(paths["dataset"])
    rows = embeddings.item_rows
    graph = enter_at_untrained(load_graph(paths["index"]), items.train_counts[rows], items.category_rows[rows])
    walk = BeamRetriever(scorer, embeddings, graph, ef=(30, 20), rounds=(4, 1), top_k=20)
    histories = load_samples(paths["dataset"], "test").histories[:6].astype(np.int64)
    categories = load_items(paths["dataset"]).category_rows[histories].astype(np.int64)
    expected = walk(histories, categories)
    outputs = open_portable(untrained_run.converted_model).run("debug", item_ids=histories, cate_ids=categories)
    np.testing.assert_array_equal(outputs["top_k_item_ids"], expected.item_rows)
    np.testing.assert_array_equal(outputs["items_scored"], expected.items_scored)


def test_walks_start_at_items_without_a_training_event_too(untrained_run: Any) -> None:
    paths = untrained_run.artifacts
    corpus, exported = load_corpus(untrained_run.converted_model / "0.meta")
    untrained = np.flatnonzero(load_items(paths["dataset"]).train_counts[corpus.item_rows] == 0)
    added = np.setdiff1d(exported.enter_points, load_graph(paths["index"]).enter_points)
    assert len(added)
    assert np.isin(added, untrained).all()


def test_the_artifact_names_its_inputs_and_is_not_made_twice(untrained_run: Any) -> None:
    artifact = open_artifact(untrained_run.converted_model, step="rewrite")
    assert set(artifact.manifest["inputs"]) == {"model", "dataset", "embeddings", "index"}
    assert {"frozen_graph.pb", "0.meta", "0.index", "0.data-00000-of-00001", "saved_model/portable/1/saved_model.pb"} <= set(
        artifact.manifest["files"]
    )
    result = rewrite(
        **untrained_run.artifacts,
        converted_model=untrained_run.converted_model,
        config=RewriteConfig(ef=(30, 20), rounds=(4, 1), top_k=20),
    )
    assert result.reused


def test_what_does_not_belong_together_is_refused(untrained_run: Any, run_maker: Any, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = run_maker(tmp_path / "other", seed=2, exported=False).artifacts
    paths = untrained_run.artifacts

    def refused(match: str, **mixed: Path) -> None:
        with pytest.raises(ArtifactError, match=match):
            rewrite(**{**paths, **mixed}, converted_model=tmp_path / "out", config=RewriteConfig())

    refused("belongs to dataset .*run `nann train` again on the same dataset", model=other["model"])
    refused("belongs to model .*run `nann extract` again on the same model", embeddings=other["embeddings"])
    refused("belongs to embeddings .*run `nann build-index` again on the same embeddings", index=other["index"])
    refused("was made by `nann train`", index=paths["model"])
    assert not (tmp_path / "out").exists()


def test_a_search_that_cannot_be_is_refused(untrained_run: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be exported: ef and rounds need one entry per level"):
        rewrite(**untrained_run.artifacts, converted_model=tmp_path / "out", config=RewriteConfig(ef=(30, 20), rounds=(4,)))
    assert not list(tmp_path.iterdir())


def test_two_runs_give_equal_bytes(untrained_run: Any, tmp_path: Path) -> None:
    config = RewriteConfig(ef=(30, 20), rounds=(4, 1), top_k=20)
    rewrite(**untrained_run.artifacts, converted_model=tmp_path / "again", config=config)
    for name in ("frozen_graph.pb", "0.data-00000-of-00001"):
        assert (tmp_path / "again" / name).read_bytes() == (untrained_run.converted_model / name).read_bytes()


def test_another_scorer_goes_the_same_way(untrained_run: Any, tmp_path: Path) -> None:
    dataset = untrained_run.artifacts["dataset"]
    items = load_items(dataset)
    config = TrainConfig(scorer="two-sided", emb_dim=4)
    model = build_model(config, num_items=len(items.item_ids) - 1, num_categories=items.num_categories)
    inputs = {"dataset": open_artifact(dataset, step="convert")}
    with ArtifactWriter(tmp_path / "model", step="train", params=config.model_dump(), inputs=inputs) as directory:
        save_model(model, directory, config=config, max_length=5)
    paths = {"model": tmp_path / "model", "dataset": dataset, "embeddings": tmp_path / "embeddings"}
    extract(**paths, config=ExtractConfig())
    build_index(embeddings=paths["embeddings"], index=tmp_path / "index", config=BuildIndexConfig(m=4))
    rewrite(**paths, index=tmp_path / "index", converted_model=tmp_path / "converted_model", config=RewriteConfig(top_k=7))
    rows = np.array([[1, 2, 3]])
    outputs = open_portable(tmp_path / "converted_model").run(
        "serving_default", item_ids=rows, cate_ids=items.category_rows[rows].astype(int)
    )
    assert outputs["top_k_item_ids"].shape == (1, 7)
    assert np.isfinite(outputs["top_k_scores"]).all()


def test_the_passes_are_reported_and_the_scores_stay(untrained_run: Any) -> None:
    report = json.loads((untrained_run.converted_model / "rewrite_report.json").read_text())
    names = [entry["pass"] for entry in report["passes"]]
    assert names == ["remove_identities", "fold_constants", "fold_batch_norms", "shorten_prelu", "merge_common_subexpressions"]
    assert all(entry["nodes"]["after"] < entry["nodes"]["before"] for entry in report["passes"])
    assert max(entry["max_difference"] for entry in report["passes"]) < 1e-4
    model = load_model(untrained_run.artifacts["model"])
    frozen = load_frozen_scorer(untrained_run.converted_model / "frozen_graph.pb")
    rows = np.array([[1, 2, 3, 0]])
    categories = load_items(untrained_run.artifacts["dataset"]).category_rows[rows].astype(np.int64)
    items = load_embeddings(untrained_run.artifacts["embeddings"]).vectors[np.newaxis]
    expected = model.score(model.encode_user(*model.history(rows, categories)), items)
    np.testing.assert_allclose(frozen.score(frozen.user_state(rows, categories), items), expected, rtol=1e-5, atol=1e-5)


def test_half_precision_is_exported_with_its_cost(untrained_run: Any, tmp_path: Path) -> None:
    config = RewriteConfig(ef=(30, 20), rounds=(4, 1), top_k=20, precision="bfloat16")
    rewrite(**untrained_run.artifacts, converted_model=tmp_path / "half", config=config)
    report = json.loads((tmp_path / "half" / "rewrite_report.json").read_text())
    assert report["passes"][-1]["pass"] == "half_precision"
    assert 0.8 < report["kept_of_the_best"] <= 1.0
    for name in ("frozen_graph.pb", "0.data-00000-of-00001"):
        sizes = [(path / name).stat().st_size for path in (tmp_path / "half", untrained_run.converted_model)]
        assert sizes[0] < 0.8 * sizes[1], name


def test_less_is_served_with_its_cost(untrained_run: Any, tmp_path: Path) -> None:
    """int8 tables, half-precision weights and fewer units at once, evaluated as any other graph."""
    config = RewriteConfig(ef=(30, 20), rounds=(4, 1), top_k=20, precision="bfloat16", table_precision="int8", prune=0.25)
    rewrite(**untrained_run.artifacts, converted_model=tmp_path / "less", config=config)
    report = json.loads((tmp_path / "less" / "rewrite_report.json").read_text())
    assert [entry["pass"] for entry in report["passes"][-2:]] == ["int8_precision", "half_precision"]
    assert report["pruned"]["units"] == [96, 48, 24]
    assert report["pruned"]["fitted_on"] > 0
    assert 0.5 < report["kept_of_the_best"] < 1.0
    dataset = untrained_run.artifacts["dataset"]
    figures = evaluate(
        converted_model=tmp_path / "less",
        dataset=dataset,
        evaluation=tmp_path / "evaluation",
        config=EvaluateConfig(ks=(20,), baselines=False, curve_users=0, max_users=10),
    ).metrics
    assert figures["coverage@20"] > 0.5
    histories = load_samples(dataset, "test").histories[:6].astype(np.int64)
    categories = load_items(dataset).category_rows[histories].astype(np.int64)
    frozen = load_frozen_scorer(tmp_path / "less" / "frozen_graph.pb")
    embeddings, _ = load_corpus(tmp_path / "less" / "0.meta")
    served = open_portable(tmp_path / "less").run("debug", item_ids=histories, cate_ids=categories)
    scores = np.asarray(frozen.score(frozen.user_state(histories, categories), embeddings.vectors[np.newaxis]))
    found = np.take_along_axis(scores, served["top_k_item_ids"] - 1, axis=1)
    np.testing.assert_allclose(found, served["top_k_scores"], rtol=1e-4, atol=1e-4)


def test_the_items_part_can_be_computed_ahead(untrained_run: Any, tmp_path: Path) -> None:
    config = RewriteConfig(ef=(30, 20), rounds=(4, 1), top_k=20, precompute_mb=64)
    rewrite(**untrained_run.artifacts, converted_model=tmp_path / "wide", config=config)
    made = json.loads((tmp_path / "wide" / "rewrite_report.json").read_text())["precompute"]
    assert made["applied"]
    assert made["flops_per_item"][1] < 0.6 * made["flops_per_item"][0]
    assert made["bytes_per_item"][1] > made["bytes_per_item"][0] == 256
    histories = load_samples(untrained_run.artifacts["dataset"], "test").histories[:6].astype(np.int64)
    categories = load_items(untrained_run.artifacts["dataset"]).category_rows[histories].astype(np.int64)
    wide, narrow = (
        open_portable(path).run("debug", item_ids=histories, cate_ids=categories)
        for path in (tmp_path / "wide", untrained_run.converted_model)
    )
    np.testing.assert_array_equal(wide["top_k_item_ids"], narrow["top_k_item_ids"])
    np.testing.assert_allclose(wide["top_k_scores"], narrow["top_k_scores"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", ["native", "portable"])
def test_a_server_finds_warm_up_requests(untrained_run: Any, form: str) -> None:
    if form == "native" and not native_ops.available():
        pytest.skip("the native library is not built; run `make install`")
    file = untrained_run.converted_model / "saved_model" / form / "1" / "assets.extra" / "tf_serving_warmup_requests"
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(file))]
    assert len(records) == 3
    assert all(form.encode() in record and b"serving_default" in record for record in records)


def test_warm_up_requests_hold_no_users_history(untrained_run: Any) -> None:
    dataset = untrained_run.artifacts["dataset"]
    histories = [history for split in ("test", "validate") for history in load_samples(dataset, split).histories]
    users = load_histories(dataset)
    histories += np.split(users.item_rows, users.row_splits[1:-1])
    own = [history[history > 0].astype("<i8") for history in histories]
    files = list(untrained_run.converted_model.rglob("tf_serving_warmup_requests"))
    assert files
    for path in files:
        content = path.read_bytes()  # tensors lie in it as they are, number by number
        assert not [items for items in own if len(items) >= 3 and items.tobytes() in content]
        assert len(list(tf.data.TFRecordDataset(str(path)))) == 3
