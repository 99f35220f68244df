"""Step `evaluate`: what the exported graph finds for held-out users, against the exact scan and simple methods."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_prep.json_text import write_json
from nann.artifacts import Artifact, StepResult
from nann.config import EvaluateConfig
from nann.dataset import Items, Samples, load_histories, load_items, load_meta, load_samples
from nann.errors import ArtifactError
from nann.evaluation.best_baseline import OWN_SEARCH
from nann.evaluation.curve import measure_curve
from nann.evaluation.lists import Retrieve, collect_lists
from nann.evaluation.scan import exact_scan, exported_graph
from nann.evaluation.simple_methods import Known, simple_lists
from nann.evaluation.summary import summarize, users_table
from nann.export import load_corpus, load_corpus_memory, load_frozen_scorer, served_inputs
from nann.reporting.evaluation_page import evaluation_page
from nann.reporting.page import render
from nann.retrieval.inner_product import InnerProductSearch, is_inner_product
from nann.steps.opening import open_step

logger = logging.getLogger(__name__)
USERS_SEED = 1
DETAILS = ("standard_errors", "intervals", "groups", "baseline_options")  # for the files, too long for a table of numbers


def evaluate(*, converted_model: Path, dataset: Path, evaluation: Path, config: EvaluateConfig, overwrite: bool = False) -> StepResult:
    """Evaluates the exported graph on held-out users and writes the figures, the users behind them, and a report.

    The graph is asked through its signature, as a server would; the exact scan scores the whole corpus with the frozen scorer; the
    baselines answer for the same users, and for a two-sided scorer hnswlib's own search is one of them. Definitions and protocol:
    `docs/evaluation.md`.

    Args:
        converted_model: artifact of `rewrite`.
        dataset: the artifact of `convert` that the model was trained on.
        evaluation: directory to write: ``metrics.json``, ``curve.json`` (if measured), ``users.parquet``, ``report.html``.
        config: the options.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: an input is unusable, the model belongs to another dataset, the split is empty, or the graph returns fewer
            items than the largest K; or ``evaluation`` holds something else.
    """
    writer = open_step("evaluate", locals())
    model = writer.artifacts["converted_model"]
    _require_width(model, config)
    if writer.is_current:
        return writer.current()
    inputs = tuple(served_inputs(converted_model))
    items, samples = load_items(dataset), load_samples(dataset, config.split, inputs=inputs)
    samples = samples.draw(config.max_users or len(samples.targets), seed=USERS_SEED)
    if not len(samples.targets):
        raise ArtifactError(f"{dataset} has no {config.split} users; convert a longer log, or with a smaller --test-min-length")

    with writer as directory:
        width, batch_size = max(config.ks), config.batch_size
        embeddings, graph = load_corpus(converted_model / "0.meta")
        scorer = load_frozen_scorer(converted_model / "frozen_graph.pb", allow_own_models=config.allow_own_models)
        histories, categories = samples.histories, items.category_rows
        asking: dict[str, Any] = {"width": width, "batch_size": batch_size, "inputs": samples.inputs}
        exported = exported_graph(converted_model, config.graph, allow_own_models=config.allow_own_models)
        retrieved = collect_lists(exported, histories, categories, **asking, label="exported graph")
        memory = load_corpus_memory(converted_model / "0.meta")
        scan = exact_scan(scorer, embeddings, top_k=width, memory=memory)
        exact = collect_lists(scan, histories, categories, **asking, label="exact scan")
        baselines, options = _baseline_lists(dataset, items, samples, config) if config.baselines else ({}, {})
        if config.baselines and memory is None and is_inner_product(scorer, embeddings, inputs):
            search = InnerProductSearch(scorer, embeddings, top_k=width)
            lists = collect_lists(_without_counts(search), histories, categories, **asking, label="hnswlib")
            baselines[OWN_SEARCH] = lists.item_rows
        common: dict[str, Any] = {
            "targets": samples.targets,
            "histories": histories,
            "train_counts": items.train_counts,
            "exact": exact,
            "retrieved": retrieved,
            "baselines": baselines,
            "ks": sorted(config.ks),
        }
        metrics = {**summarize(**common, num_items=len(embeddings)), "split": config.split, "baseline_options": options}
        table = users_table(user_ids=samples.user_ids, item_ids=items.item_ids, **common)

        others = load_samples(dataset, "validate", inputs=inputs).draw(config.curve_users, seed=USERS_SEED)
        curve = None
        if len(others.targets):
            curve = measure_curve(
                scorer,
                embeddings,
                graph,
                histories=others.histories,
                targets=others.targets,
                category_rows=categories,
                ef=model.params["ef"],
                rounds=model.params["rounds"],
                ks=sorted(config.ks),
                batch_size=batch_size,
                inputs=others.inputs,
                memory=memory,
            )
            write_json(directory / "curve.json", curve)
        write_json(directory / "metrics.json", metrics)
        pq.write_table(table, directory / "users.parquet", compression="zstd")
        (directory / "report.html").write_text(render(evaluation_page(metrics, curve)), encoding="utf-8")
        writer.metrics.update({name: value for name, value in metrics.items() if name not in DETAILS and value is not None})
    return writer.result()


def _without_counts(search: InnerProductSearch) -> Retrieve:
    """hnswlib does not say how many items it compared."""
    return lambda item_rows, cate_rows, **inputs: (search(item_rows, cate_rows, **inputs), np.zeros(len(item_rows), np.int64))


def _require_width(model: Artifact, config: EvaluateConfig) -> None:
    top_k = int(model.params["top_k"])
    if max(config.ks) > top_k:
        raise ArtifactError(
            f"{model.path} returns {top_k} items, but metrics at K = {max(config.ks)} are asked for; "
            f"give --ks up to {top_k}, or run `nann rewrite` with --top-k {max(config.ks)}"
        )


def _baseline_lists(
    dataset: Path, items: Items, samples: Samples, config: EvaluateConfig
) -> tuple[dict[str, NDArray[np.int64]], dict[str, dict[str, Any]]]:
    """The lists of the simple methods for the same users, and how their parameters were chosen: on validation users."""
    known = Known(
        load_histories(dataset, times=True),
        items,
        moment=load_meta(dataset).get("split_time"),  # when all training events are known, so lists are made then
        decays=config.decays,
        hours=config.recent_hours,
    )
    validation = load_samples(dataset, "validate").draw(config.tune_users, seed=USERS_SEED)
    return simple_lists(known, validation, samples, sorted(config.ks))
