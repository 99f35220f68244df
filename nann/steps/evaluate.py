"""Step `evaluate`: what the exported graph finds for held-out users, against the exact scan and simple methods."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from data_prep.json_text import write_json
from nann.artifacts import Artifact, StepResult
from nann.config import EvaluateConfig
from nann.dataset import Dataset, Items, Samples
from nann.errors import ArtifactError
from nann.evaluation.best_baseline import OWN_SEARCH
from nann.evaluation.curve import measure_curve
from nann.evaluation.lists import Lists, Retrieve, collect_lists
from nann.evaluation.scan import exact_scan, exported_graph
from nann.evaluation.simple_methods import Known, SimpleLists, simple_lists
from nann.evaluation.summary import summarize, users_table
from nann.evaluation.verdict import evaluation_warnings
from nann.evaluation.without_history import without_history
from nann.export import ConvertedModel, ExportedRetrieval
from nann.option_types import stored_params
from nann.reporting.evaluation_page import evaluation_page
from nann.reporting.frame import write_page
from nann.retrieval.inner_product import InnerProductSearch, is_inner_product
from nann.steps.opening import open_step

logger = logging.getLogger(__name__)
USERS_SEED = 1
# For the files, too long for a table of numbers.
DETAILS = ("standard_errors", "intervals", "groups", "baseline_options", "baseline_bounds", "warnings", "without_history")


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
    exported, data = ConvertedModel(converted_model, allow_own_models=config.allow_own_models), Dataset(dataset)
    samples = data.samples(config.split, inputs=tuple(exported.inputs))
    samples = samples.draw(config.max_users or len(samples.targets), seed=USERS_SEED)
    if not len(samples.targets):
        raise ArtifactError(f"{dataset} has no {config.split} users; convert a longer log, or with a smaller --test-min-length")

    with writer as directory:
        items = data.items()
        exact, retrieved, simple = _answers(exported, data, items, samples, config)
        common: dict[str, Any] = {
            "targets": samples.targets,
            "histories": samples.histories,
            "train_counts": items.train_counts,
            "exact": exact,
            "retrieved": retrieved,
            "baselines": simple.lists,
            "ks": sorted(config.ks),
        }
        num_items = len(exported.corpus[0])
        metrics = {**summarize(**common, num_items=num_items), "split": config.split}
        metrics |= {"baseline_options": simple.options, "baseline_bounds": simple.bounds}
        if config.exclude_history:
            asked: dict[str, Any] = {"ks": sorted(config.ks), "batch_size": config.batch_size}
            metrics["without_history"] = without_history(exported, _filtering_graph(exported, config), items, samples, retrieved, **asked)
        metrics["warnings"] = evaluation_warnings(metrics)
        table = users_table(user_ids=samples.user_ids, item_ids=items.item_ids, **common)
        curve = _curve(exported, data, items, model.params, config)
        if curve is not None:
            write_json(directory / "curve.json", curve)
        write_json(directory / "metrics.json", metrics)
        pq.write_table(table, directory / "users.parquet", compression="zstd")
        write_page(directory, evaluation_page(metrics, curve), writer.artifacts, {"evaluate": stored_params(config)})
        writer.metrics.update({name: value for name, value in metrics.items() if name not in DETAILS and value is not None})
    for sentence in metrics["warnings"]:
        logger.warning("%s", sentence)
    return writer.result()


def _answers(
    exported: ConvertedModel, data: Dataset, items: Items, samples: Samples, config: EvaluateConfig
) -> tuple[Lists, Lists, SimpleLists]:
    """Lists for the samples of the exact scan, of the exported graph, and of the baselines, whose parameters validation users choose."""
    width, embeddings = max(config.ks), exported.corpus[0]
    users = samples.histories, items.category_rows
    asking: dict[str, Any] = {"width": width, "batch_size": config.batch_size, "inputs": samples.inputs}
    retrieved = collect_lists(exported_graph(exported.open(config.graph)), *users, **asking, label="exported graph")
    scan = exact_scan(exported.scorer, embeddings, top_k=width, memory=exported.memory)
    exact = collect_lists(scan, *users, **asking, label="exact scan")
    if not config.baselines:
        return exact, retrieved, SimpleLists({}, {}, {})
    validation = data.samples("validate").draw(config.tune_users, seed=USERS_SEED)
    simple = simple_lists(Known.of(data, items, config), validation, samples, sorted(config.ks))
    if exported.memory is None and is_inner_product(exported.scorer, embeddings, tuple(exported.inputs)):
        search = InnerProductSearch(exported.scorer, embeddings, top_k=width)
        simple.lists[OWN_SEARCH] = collect_lists(_without_counts(search), *users, **asking, label="hnswlib").item_rows
    return exact, retrieved, simple


def _filtering_graph(exported: ConvertedModel, config: EvaluateConfig) -> ExportedRetrieval:
    retrieval = exported.open(config.graph)
    if not retrieval.input_types("filtered"):
        raise ArtifactError(f"{exported.path} was exported without filters, by an earlier version; run `nann rewrite` again")
    return retrieval


def _curve(exported: ConvertedModel, data: Dataset, items: Items, search: dict[str, Any], config: EvaluateConfig) -> dict[str, Any] | None:
    """Coverage and recall over the items scored, on validation users; None without any."""
    others = data.samples("validate", inputs=tuple(exported.inputs)).draw(config.curve_users, seed=USERS_SEED)
    if not len(others.targets):
        return None
    return measure_curve(
        exported.scorer,
        *exported.corpus,
        histories=others.histories,
        targets=others.targets,
        category_rows=items.category_rows,
        ef=search["ef"],
        rounds=search["rounds"],
        ks=sorted(config.ks),
        batch_size=config.batch_size,
        inputs=others.inputs,
        memory=exported.memory,
    )


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
