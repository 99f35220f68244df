"""Inputs of the log and of users from the log to the served graph: what they say is learned, and every way of asking answers alike."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from data_prep.config import ConvertConfig
from nann.config import (
    BenchmarkConfig,
    BuildIndexConfig,
    EvaluateConfig,
    ExtractConfig,
    GateConfig,
    InferConfig,
    InServiceConfig,
    RewriteConfig,
    TrainConfig,
    TuneConfig,
)
from nann.dataset import load_items, load_samples
from nann.errors import ArtifactError, NannError
from nann.evaluation.scan import exact_scan
from nann.export import load_corpus, load_frozen_scorer, open_graph, served_inputs
from nann.index import load_embeddings
from nann.models import load_max_length, load_model
from nann.retrieval import HistoryScorer, plan_walk
from nann.steps.benchmark import benchmark
from nann.steps.build_index import build_index
from nann.steps.convert import convert
from nann.steps.evaluate import evaluate
from nann.steps.extract import extract
from nann.steps.gate import gate
from nann.steps.in_service import in_service
from nann.steps.infer import infer
from nann.steps.rewrite import rewrite
from nann.steps.train import train
from nann.steps.tune import tune
from ops import retrieval as native_ops
from ops import scoring
from pipelines.cli import main

SMALL = {
    "memory": "none",
    "emb_dim": 8,
    "num_neg": 64,
    "batch_size": 64,
    "max_length": 6,
    "xla": False,
    "validations": 1,
    "validate_users": 100,
}
INPUTS = ("behavior", "time", "tags", "brand")
GROUPS, GROUP_SIZE, EVENTS = 6, 60, 6
SPANS = (5, 60, 600, 7_000, 80_000, 900_000)
SEARCH = {"ef": (40, 30), "rounds": (5, 1), "top_k": 20}


def write_log(root, signal, users=500):
    """Six categories of items; the last event's kind, the time before it, or the user's tags say which comes next, nothing else does."""
    rng = np.random.default_rng(0)
    with (root / "log.csv").open("w") as log, (root / "users.csv").open("w") as table:
        table.write("user_id,tags\n")
        for user in range(users):
            tags = rng.choice(GROUPS, 2, replace=False)
            table.write(f"{user},g{tags[0]}|g{tags[1]}|x{rng.integers(9)}\n")
            time, says = 1_511_600_000 + int(rng.integers(10**6)), int(rng.integers(GROUPS))
            for _ in range(2 if signal == "tags" else EVENTS):
                kind, gap = int(rng.integers(GROUPS)), int(rng.integers(GROUPS))
                group = int(rng.choice(tags)) if signal == "tags" else says
                log.write(f"{user},{GROUP_SIZE * group + rng.integers(GROUP_SIZE)},1,k{kind},{time + SPANS[gap]}\n")
                time += SPANS[gap]
                says = {"behavior": kind, "time": gap}.get(signal, says)
    with (root / "items.csv").open("w") as items:
        items.write("item_id,category_id,brand\n")
        items.writelines(f"{item},{item // GROUP_SIZE},b{item % 7}\n" for item in range(GROUPS * GROUP_SIZE))


def make_dataset(root, signal):
    write_log(root, signal)
    config = ConvertConfig(
        behaviors=tuple(f"k{kind}" for kind in range(GROUPS)),
        keep_behaviors=True,
        users=root / "users.csv",
        user_features={"tags": "tags"},
        items=root / "items.csv",
        item_features={"brand": "brand"},
        max_length=EVENTS,
        test_min_length=1,
        test_users=100,
        validate_users=100,
    )
    convert(inputs=[root / "log.csv"], dataset=root / "dataset", config=config)
    return root / "dataset"


@pytest.fixture(scope="module")
def dataset_of(tmp_path_factory):
    """The dataset of a signal, made once."""
    return functools.cache(lambda signal: make_dataset(tmp_path_factory.mktemp(signal), signal))


@pytest.mark.parametrize(
    ("signal", "scorer"),
    [
        *((signal, "two-sided") for signal in ("tags", "behavior", "time")),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("behavior", "nann"), ("time", "nann"))),
    ],
)
def test_what_an_input_says_is_learned(signal, scorer, dataset_of, tmp_path):
    """Of 360 items 60, or 120 of two categories, can come next; chance finds 50 / 360 of them."""
    dataset, recalls = dataset_of(signal), {}
    for inputs in ((), (signal,)):
        config = TrainConfig(scorer=scorer, inputs=inputs, epochs=30 if signal == "tags" else 8, **SMALL)
        recalls[inputs] = train(dataset=dataset, model=tmp_path / str(len(inputs)), config=config).metrics["recall_all@50"]
    assert recalls[()] < 0.25
    assert recalls[signal,] > recalls[()] + 0.12


@pytest.fixture(scope="module")
def dataset(dataset_of):
    return dataset_of("behavior")


@pytest.fixture(scope="module", params=["nann", "sequence", "two-sided"])
def run(request, dataset, tmp_path_factory):
    """A model that reads inputs of all sides, exported."""
    root = tmp_path_factory.mktemp(request.param)
    config = TrainConfig(scorer=request.param, inputs=INPUTS, max_steps=40, **{**SMALL, "validations": 0})
    paths = {name: root / name for name in ("model", "embeddings", "index")}
    train(dataset=dataset, model=paths["model"], config=config)
    extract(model=paths["model"], dataset=dataset, embeddings=paths["embeddings"], config=ExtractConfig())
    build_index(embeddings=paths["embeddings"], index=paths["index"], config=BuildIndexConfig(m=8))
    paths["converted_model"] = root / "converted_model"
    rewrite(**paths, dataset=dataset, config=RewriteConfig(**SEARCH))
    return paths


def requests(dataset, count=8):
    samples = load_samples(dataset, "test", inputs=("behavior", "time", "tags")).take(slice(count))
    rows = samples.histories.astype(np.int64)
    rows[-1] = 0  # a user without history
    return rows, load_items(dataset).category_rows[rows].astype(np.int64), dict(samples.inputs)


def test_every_form_answers_as_the_reference_in_python(reference_walk, dataset, run):
    rows, categories, inputs = requests(dataset)
    forms = ["portable", "meta", *(["native"] if native_ops.available() else []), *(["fused"] if scoring.available() else [])]
    graphs = {form: open_graph(run["converted_model"], form) for form in forms}
    answers = {form: graph.run("debug", item_ids=rows, cate_ids=categories, **inputs) for form, graph in graphs.items()}
    scorer = HistoryScorer(load_model(run["model"]), max_length=load_max_length(run["model"]))
    embeddings, graph = load_corpus(run["converted_model"] / "0.meta")
    for user in range(len(rows)):
        values = {name: tf.constant(value[user : user + 1]) for name, value in inputs.items()}
        state = scorer.user_state(tf.constant(rows[user : user + 1]), tf.constant(categories[user : user + 1]), **values)
        logits = np.asarray(scorer.score(state, embeddings.vectors[np.newaxis]))[0]
        positions, scores, scored = reference_walk(lambda some, logits=logits: logits[some].tolist(), graph, plan_walk(graph, **SEARCH))
        for form, answer in answers.items():
            np.testing.assert_allclose(answer["top_k_scores"][user], scores, rtol=1e-4, atol=1e-4, err_msg=form)
            assert answer["items_scored"][user] == scored
            if form != "fused":  # whose logits differ in the last bits
                assert answer["top_k_item_ids"][user].tolist() == embeddings.item_rows[positions].tolist()
    # they count: another kind, time or tag, another answer
    for name in inputs:
        other = {**inputs, name: np.where(inputs[name], inputs[name] * 2 % 5 + (inputs[name] > 10) * inputs[name] ** 2, 0)}
        again = graphs["portable"].run("debug", item_ids=rows, cate_ids=categories, **other)
        assert np.abs(again["top_k_scores"] - answers["portable"]["top_k_scores"]).max() > 1e-6


def test_the_exact_scan_finds_what_the_model_scores_best(dataset, run):
    rows, categories, inputs = requests(dataset)
    embeddings, _ = load_corpus(run["converted_model"] / "0.meta")
    frozen = load_frozen_scorer(run["converted_model"] / "frozen_graph.pb")
    assert frozen.inputs == ["behavior", "tags", "time"]
    found, _ = exact_scan(frozen, embeddings, top_k=10)(rows, categories, **inputs)
    scorer = HistoryScorer(load_model(run["model"]), max_length=load_max_length(run["model"]))
    state = scorer.user_state(tf.constant(rows), tf.constant(categories), **inputs)
    scores = np.asarray(scorer.score(state, embeddings.vectors[np.newaxis]))
    best = np.sort(scores, axis=1)[:, ::-1][:, :10]
    np.testing.assert_allclose(np.take_along_axis(scores, found - 1, axis=1), best, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="the scorer reads the input 'behavior', which is not given"):
        frozen.user_state(rows, categories)


def test_the_served_graph_names_them(dataset, run):
    described = served_inputs(run["converted_model"])
    assert list(described) == ["behavior", "tags", "time"]
    assert described["behavior"]["values"] == [f"k{kind}" for kind in range(GROUPS)]
    assert described["time"]["values"] is None
    assert sorted(described["tags"]["values"]) == sorted([*(f"g{group}" for group in range(GROUPS)), *(f"x{tag}" for tag in range(9))])
    signatures = tf.saved_model.load(str(run["converted_model"] / "saved_model" / "portable" / "1")).signatures
    for name in ("serving_default", "debug", "search", "by_catalogue_id"):
        taken = signatures[name].structured_input_signature[1]
        for key, entry in described.items():
            assert (taken[key].dtype.name, taken[key].shape.as_list()) == (entry["dtype"], entry["shape"])
    assert set(signatures["catalogue_rows"].structured_input_signature[1]) == {"item_ids"}


@pytest.mark.parametrize("run", ["nann"], indirect=True)
def test_the_other_steps_ask_with_them(dataset, run, tmp_path):
    """Evaluation against the exact lists of the model itself: with other inputs coverage would not be whole."""
    wide = tmp_path / "wide"
    rewrite(**{**run, "converted_model": wide}, dataset=dataset, config=RewriteConfig(ef=(400, 400), rounds=(9, 3), top_k=50))
    config = EvaluateConfig(ks=(50,), max_users=40, curve_users=10, decays=(0.8,), recent_hours=(24,), tune_users=10)
    figures = evaluate(converted_model=wide, dataset=dataset, evaluation=tmp_path / "evaluation", config=config).metrics
    assert figures["coverage@50"] > 0.99
    samples, items = load_samples(dataset, "test", inputs=INPUTS).draw(40, seed=1), load_items(dataset)
    scorer = HistoryScorer(load_model(run["model"]), max_length=load_max_length(run["model"]))
    rows = samples.histories.astype(np.int64)
    state = scorer.user_state(tf.constant(rows), tf.constant(items.category_rows[rows].astype(np.int64)), **samples.inputs)
    scores = np.asarray(scorer.score(state, load_embeddings(run["embeddings"]).vectors[np.newaxis]))
    ranks = (scores > scores[np.arange(40), samples.targets - 1][:, np.newaxis]).sum(axis=1)
    assert figures["recall_all@50"] == pytest.approx((ranks < 50).mean(), abs=0.026)
    searches = {"widths": (100,), "rounds": (3,), "upper_rounds": (1,), "k": 20, "users": 10, "latency_users": 2}
    tuned = tune(converted_model=wide, dataset=dataset, tuning=tmp_path / "tuning", config=TuneConfig(**searches))
    assert tuned.metrics["coverage@20"] > 0.5
    graphs = ("native" if native_ops.available() else "portable",)
    load = BenchmarkConfig(graphs=graphs, duration_seconds=0.3, warmup_seconds=0, traced_requests=1)
    timed = benchmark(converted_model=wide, dataset=dataset, benchmark=tmp_path / "benchmark", config=load)
    assert timed.metrics["errors"] == 0
    in_service(service=str(tmp_path / "service"), in_service=tmp_path / "in_service", config=InServiceConfig(create=True))
    judged = gate(
        converted_model=wide,
        dataset=dataset,
        in_service=tmp_path / "in_service",
        gate=tmp_path / "gate",
        config=GateConfig(k=50, max_users=20, latency_requests=2),
    )
    assert judged.metrics["candidate"]["coverage"] > 0.99


@pytest.mark.parametrize("run", ["two-sided"], indirect=True)
def test_infer_takes_them_as_text(dataset, run):
    items = load_items(dataset)
    served = served_inputs(run["converted_model"])
    ids, tags = items.item_ids[[3, 8]].tolist(), served["tags"]["values"]
    values = {"behavior": ["k2", "k4"], "time": ["1511600000", "1511600060"], "tags": [tags[4], "unheard of"]}
    found = infer(converted_model=run["converted_model"], item_ids=ids, config=InferConfig(top_k=5), values=values)
    inputs = {"behavior": np.array([[3, 5]]), "time": np.array([[1511600000, 1511600060]]), "tags": np.array([[5, 0]])}
    rows = np.array([[3, 8]])
    asked = open_graph(run["converted_model"], "portable").run(
        "serving_default", item_ids=rows, cate_ids=items.category_rows[rows].astype(np.int64), **inputs
    )
    assert [item_id for item_id, _ in found] == items.item_ids[asked["top_k_item_ids"][0, :5]].tolist()
    options = ["infer", "--converted-model", str(run["converted_model"]), "--item-ids", f"{ids[0]},{ids[1]}", "--json", "--top-k", "5"]
    texts = [part for name, listed in values.items() for part in ("--values", f"{name}={','.join(listed)}")]
    printed = CliRunner().invoke(main, [*options, *texts])
    assert [entry["item_id"] for entry in json.loads(printed.output)] == [item_id for item_id, _ in found]
    linked = infer(meta_path=run["converted_model"] / "0.meta", item_ids=ids, config=InferConfig(top_k=5), values=values)
    assert [item_id for item_id, _ in linked] == [item_id for item_id, _ in found]
    assert infer(converted_model=run["converted_model"], item_ids=ids, config=InferConfig(top_k=5))  # all of them unknown
    for wrong, message in (
        ({"behavior": ["k1"]}, "behavior has 1 values, the history 2 items; give one per item"),
        ({"time": ["now", "then"]}, "time takes unix seconds"),
        ({"size": ["1"]}, "the model reads no input 'size', it reads behavior, tags, time; leave it out"),
    ):
        with pytest.raises(NannError, match=message):
            infer(converted_model=run["converted_model"], item_ids=ids, config=InferConfig(top_k=5), values=wrong)


@pytest.mark.parametrize("run", ["nann"], indirect=True)
@pytest.mark.parametrize(
    "options",
    [{"precision": "int8"}, *(pytest.param(options, marks=pytest.mark.slow) for options in ({"precompute_mb": 64}, {"prune": 0.25}))],
)
def test_smaller_served_models_take_them(dataset, run, options, tmp_path):
    converted = tmp_path / "converted_model"
    rewrite(**{**run, "converted_model": converted}, dataset=dataset, config=RewriteConfig(**SEARCH, **options))
    rows, categories, inputs = requests(dataset)
    forms = ["portable", *(["native"] if native_ops.available() else [])]
    answers = [open_graph(converted, form).run("debug", item_ids=rows, cate_ids=categories, **inputs) for form in forms]
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer["top_k_item_ids"], answers[0]["top_k_item_ids"])
    whole = open_graph(run["converted_model"], "portable").run("debug", item_ids=rows, cate_ids=categories, **inputs)
    assert np.isfinite(answers[0]["top_k_scores"]).all()
    shared = [len(np.intersect1d(a, b)) for a, b in zip(answers[0]["top_k_item_ids"], whole["top_k_item_ids"], strict=True)]
    assert np.mean(shared) > 0.4 * SEARCH["top_k"]


@pytest.mark.parametrize("run", ["nann"], indirect=True)
def test_a_teacher_reads_what_its_student_does_not(dataset, run, tmp_path):
    config = TrainConfig(scorer="two-sided", inputs=("time",), teacher=run["model"], max_steps=5, **SMALL)
    assert np.isfinite(train(dataset=dataset, model=tmp_path / "model", config=config).metrics["loss"])
    assert list(load_model(tmp_path / "model").request_inputs) == ["time"]


@pytest.mark.parametrize("embedding", ["static", "adaptive"])
def test_a_warm_start_carries_their_tables_over(dataset, embedding, tmp_path):
    config = {"scorer": "two-sided", "inputs": INPUTS, "embedding": embedding, "promote_after": 2, **SMALL, "validations": 0}
    train(dataset=dataset, model=tmp_path / "first", config=TrainConfig(max_steps=8, **config))
    train(dataset=dataset, model=tmp_path / "second", config=TrainConfig(epochs=0, **config), warm_start=tmp_path / "first")
    first, second = (load_model(tmp_path / name) for name in ("first", "second"))
    assert len(first.item_embedding.small_tables) == 5  # brand, tags, behavior, and two spans of time
    for before, after in zip(first.item_embedding.small_tables, second.item_embedding.small_tables, strict=True):
        np.testing.assert_array_equal(before, after)
    fewer = TrainConfig(**{**config, "inputs": ("time",)})
    with pytest.raises(ArtifactError, match="was trained with --inputs"):
        train(dataset=dataset, model=tmp_path / "third", config=fewer, warm_start=tmp_path / "first")
