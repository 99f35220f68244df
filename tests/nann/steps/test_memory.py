"""A model that remembers, from training to what is served, in every form; and the same model without its memory."""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from click.testing import CliRunner
from tensorflow.core.protobuf import saved_model_pb2

from nann.artifacts import open_artifact
from nann.dataset import load_histories, load_items, load_samples
from nann.evaluation.scan import exact_scan, trained_lists
from nann.export import load_corpus, load_corpus_memory, load_frozen_scorer, open_graph
from nann.export.load import SAVED_MODELS
from nann.index import load_embeddings
from nann.memory.table import load_memory
from nann.models import load_model
from nann.retrieval import HistoryScorer
from nann.training import memory_examples
from nann.training.memory import divide_users, held_out_positions
from nann.training.memory_examples import ExampleMaker
from ops import retrieval, scoring
from pipelines.cli import main

FORMS = ("portable", "meta", *(("native", "fused") if retrieval.available() and scoring.available() else ()))
TRAIN = shlex.split("--emb-dim 8 --num-neg 64 --batch-size 64 --max-length 8 --epochs 1 --no-xla --validate-users 100 --validations 2")


def nann(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def run_steps(root: Path, dataset: Path, *train: str) -> None:
    paths = {name: str(root / name) for name in ("model", "embeddings", "index", "converted_model", "evaluation")}
    nann("train", "--dataset", str(dataset), "--model", paths["model"], *TRAIN, *train)
    nann("extract", "--dataset", str(dataset), "--model", paths["model"], "--embeddings", paths["embeddings"])
    nann("build-index", "--embeddings", paths["embeddings"], "--index", paths["index"], "--m", "8", "--ef-construction", "60")
    of_rewrite = [f"--{name.replace('_', '-')}={paths[name]}" for name in ("model", "embeddings", "index", "converted_model")]
    nann("rewrite", "--dataset", str(dataset), *of_rewrite, "--ef", "60,40", "--rounds", "6,1", "--top-k", "50", "--memory-entries", "40")
    nann("evaluate", "--dataset", str(dataset), "--converted-model", paths["converted_model"], "--evaluation", paths["evaluation"],
         "--ks", "10,50", "--curve-users", "20", "--tune-users", "50")  # fmt: skip


def served_graphs(converted: Path, form: str) -> list[tf.compat.v1.GraphDef]:
    model = saved_model_pb2.SavedModel.FromString((converted / SAVED_MODELS[form] / "saved_model.pb").read_bytes())
    return [meta.graph_def for meta in model.meta_graphs]


def nodes_of(graph: tf.compat.v1.GraphDef) -> list[tf.compat.v1.NodeDef]:
    return [node for nodes in [graph.node, *(f.node_def for f in graph.library.function)] for node in nodes]


@pytest.fixture(scope="module")
def remembering(small_dataset, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("remembering")
    run_steps(root, small_dataset)
    return root


@pytest.fixture(scope="module")
def forgetful(small_dataset, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("forgetful")
    run_steps(root, small_dataset, "--memory", "none")
    return root


def test_the_model_holds_a_memory_fitted_to_held_out_users(remembering, small_dataset) -> None:
    table, report = load_memory(remembering / "model"), json.loads((remembering / "model" / "memory_report.json").read_text())
    assert table is not None
    everyone = load_histories(small_dataset)
    np.testing.assert_array_equal(table.item_counts, np.bincount(everyone.item_rows, minlength=len(table.item_counts)))
    assert report["entries"] == len(table.items) > 0
    assert report["calibration"]["examples"] > 50
    fitted, alone = (report["calibration"][name]["recall@20"] for name in ("fitted", "scorer"))
    assert fitted >= alone
    assert open_artifact(remembering / "model", step="train").metrics["memory_entries"] == report["entries"]


def test_the_fit_sees_what_its_numbers_put_first(remembering, small_dataset, monkeypatch) -> None:
    """Candidates by scorer, rules and category alone leave out items that only the fitted numbers prefer: a flood of them goes unseen."""
    for name in ("BEST_BY_SCORE", "BEST_BY_RULES", "BEST_BY_CATEGORY", "BEST_JOINED"):
        monkeypatch.setattr(memory_examples, name, 4)
    model, items = remembering / "model", load_items(small_dataset)
    moments = load_samples(small_dataset, "test").take(slice(0, 40))
    table = load_memory(model)
    maker = ExampleMaker(load_model(model), table, moments, items, encoder_length=8, seed=1)
    odd = replace(table.calibration, prior=tuple(3.0 * (-1) ** place for place in range(8)), log_tau=(-2.0,) * 8)
    first, second = maker.examples(), maker.examples(odd)
    lists = trained_lists(
        HistoryScorer(load_model(model), max_length=8),
        load_embeddings(remembering / "embeddings"),
        items,
        moments,
        width=4,
        label="exact",
        memory=replace(table, calibration=odd),
    ).item_rows
    assert not all(np.isin(row, rows).all() for row, rows in zip(lists, first.item_rows, strict=True))
    for row, rows, target in zip(lists, second.item_rows, moments.targets, strict=True):
        assert np.isin(row, rows).all()
        assert rows[0] == target
        assert len(set(rows[rows > 0])) == np.count_nonzero(rows)
    by_rules = table.score(moments.histories, items.category_rows, items.num_categories).toarray()
    by_category = table.category_score(moments.histories, items.category_rows, items.num_categories).toarray()
    for place, rows in enumerate(second.item_rows):
        np.testing.assert_allclose(second.rules[place], by_rules[place, rows], rtol=1e-6)
        np.testing.assert_allclose(second.shares[place], by_category[place, rows], rtol=1e-6)


def test_users_are_held_out_whole_and_the_same_for_a_seed(small_dataset) -> None:
    histories = load_histories(small_dataset)
    users, again, other = (divide_users(histories, share=0.1, seed=seed) for seed in (1, 1, 2))
    assert len(users.held_out.row_splits) - 1 == int(0.1 * (len(histories.row_splits) - 1))
    assert len(users.trained.item_rows) + len(users.held_out.item_rows) == len(histories.item_rows)
    np.testing.assert_array_equal(users.held_out.item_rows, again.held_out.item_rows)
    assert not np.array_equal(users.held_out.item_rows, other.held_out.item_rows)
    positions = held_out_positions(users.held_out, seed=1)
    starts = users.held_out.row_splits[np.searchsorted(users.held_out.row_splits, positions, side="right") - 1]
    assert np.all(positions - starts >= histories.first_target)
    assert len(np.unique(positions)) == len(positions)
    assert divide_users(histories, share=0.0, seed=1).held_out is None


def test_all_forms_give_equal_answers(remembering, small_dataset) -> None:
    samples, items = load_samples(small_dataset, "test"), load_items(small_dataset)
    rows = samples.histories[:24].astype(np.int64)
    cates = items.category_rows[rows].astype(np.int64)
    found = {form: open_graph(remembering / "converted_model", form).run("debug", item_ids=rows, cate_ids=cates) for form in FORMS}
    for form in FORMS[1:]:
        np.testing.assert_allclose(found[form]["top_k_scores"], found["portable"]["top_k_scores"], rtol=1e-4, atol=1e-4)
        same = found[form]["top_k_item_ids"] == found["portable"]["top_k_item_ids"]
        # the fused form's scores differ in the last bits, so that close neighbours may change places
        assert same.all() if form in ("meta",) else same.mean() > 0.99
        np.testing.assert_allclose(found[form]["items_scored"], found["portable"]["items_scored"], atol=3)


def test_what_is_served_is_the_best_of_the_joined_score(remembering, small_dataset) -> None:
    metrics = json.loads((remembering / "evaluation" / "metrics.json").read_text())
    assert metrics["coverage@50"] > 0.97
    converted, samples = remembering / "converted_model", load_samples(small_dataset, "test")
    embeddings, _ = load_corpus(converted / "0.meta")
    memory, rows = load_corpus_memory(converted / "0.meta"), samples.histories[:8].astype(np.int64)
    cates = load_items(small_dataset).category_rows[rows].astype(np.int64)
    scorer = load_frozen_scorer(converted / "frozen_graph.pb")
    with_memory, _ = exact_scan(scorer, embeddings, top_k=50, memory=memory)(rows, cates)
    table = pq.read_table(remembering / "evaluation" / "users.parquet")
    assert [lists.as_py() for lists in table["exact"][:8]] == with_memory.tolist()
    without, _ = exact_scan(scorer, embeddings, top_k=50)(rows, cates)
    assert not np.array_equal(with_memory, without)


def test_the_table_lies_in_the_checkpoint_once_and_in_no_graph(remembering) -> None:
    converted = remembering / "converted_model"
    names = dict(tf.train.list_variables(str(converted / "0")))
    table = load_memory(remembering / "model")
    assert len(names["memory_values"]) == 1
    assert names["memory_position_of_row"] == [len(table.item_counts)]
    frozen = tf.compat.v1.GraphDef.FromString((converted / "frozen_graph.pb").read_bytes())
    graphs = [frozen, *(graph for form in SAVED_MODELS for graph in served_graphs(converted, form))]
    constants = [node.attr["value"].tensor.ByteSize() for graph in graphs for node in nodes_of(graph) if node.op == "Const"]
    assert 0 < max(constants) < table.counts.nbytes // 2


def test_memory_none_trains_on_everyone_and_serves_as_before(forgetful, remembering, small_dataset) -> None:
    assert load_memory(forgetful / "model") is None
    assert load_corpus_memory(forgetful / "converted_model" / "0.meta") is None
    metrics = {root: open_artifact(root / "model", step="train").metrics for root in (forgetful, remembering)}
    assert metrics[forgetful]["samples_per_epoch"] > metrics[remembering]["samples_per_epoch"]
    served = json.loads((forgetful / "evaluation" / "metrics.json").read_text())
    assert served["coverage@50"] > 0.9


def test_a_training_killed_while_it_makes_the_memory_goes_on_to_that_of_its_seed(remembering, small_dataset, tmp_path, monkeypatch) -> None:
    arguments = ["train", "--dataset", str(small_dataset), "--model", str(tmp_path / "model"), *TRAIN]
    with monkeypatch.context() as patch:
        patch.setattr("nann.steps.train.make_memory", lambda *_, **__: sys.exit("killed"))
        assert CliRunner().invoke(main, arguments).exit_code == 1
    assert not (tmp_path / "model").exists()
    nann(*arguments)
    for name in ("memory.json", "memory.npz", "memory_report.json"):
        assert (tmp_path / "model" / name).read_bytes() == (remembering / "model" / name).read_bytes()
    assert load_memory(tmp_path / "model").calibration == load_memory(remembering / "model").calibration


def test_a_warm_start_on_the_same_events_counts_them_once(remembering, small_dataset, tmp_path) -> None:
    arguments = ("--dataset", str(small_dataset), "--model", str(tmp_path / "model"), "--warm-start", str(remembering / "model"))
    nann("train", *arguments, *TRAIN)
    before, after = load_memory(remembering / "model"), load_memory(tmp_path / "model")
    np.testing.assert_array_equal(after.item_counts, before.item_counts)


@pytest.mark.parametrize("scorer", ["two-sided", pytest.param("nann", marks=pytest.mark.slow)])
def test_other_families_remember_too(small_dataset, tmp_path, scorer) -> None:
    run_steps(tmp_path, small_dataset, "--scorer", scorer, "--max-steps", "40")
    assert load_corpus_memory(tmp_path / "converted_model" / "0.meta") is not None
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert metrics["coverage@50"] > 0.95
    assert "hnswlib" not in metrics["baselines"]  # it finds the scorer's best, not the joined score's


def test_infer_asks_the_remembering_graph(remembering) -> None:
    converted = str(remembering / "converted_model")
    history = ("--item-ids", "1,2,3", "--unknown", "drop")
    one = nann("infer", "--converted-model", converted, *history)
    other = nann("infer", "--graph-file", f"{converted}/frozen_graph.pb", "--meta-path", f"{converted}/0.meta", *history)
    assert one == other


HOST_OPS = {
    "portable": {"RaggedGather", "RaggedTensorToTensor"},
    "native": {
        *("Nann>ExpandFrontier", "Nann>FilterItems", "Nann>GatherCandidates", "Nann>ListItems", "Nann>MergeFiltered", "Nann>MergeTopEf"),
        *("Nann>StartWalk", "RaggedGather", "RaggedTensorToTensor"),
    },
    "fused": {"Nann>BeamSearchMemory", "Nann>FilterItems", "Nann>FilteredSearch", "Nann>PairAndCategoryMemory"},
}


@pytest.mark.parametrize("form", [form for form in FORMS if form in HOST_OPS])
def test_what_a_served_model_with_a_memory_does_on_the_host(remembering, host_ops, form) -> None:
    ops = {node.op for graph in served_graphs(remembering / "converted_model", form) for node in nodes_of(graph)}
    assert host_ops(ops) == {"RestoreV2", "SaveV2"} | HOST_OPS[form]
