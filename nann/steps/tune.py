"""Step `tune`: the cheapest search, and graph, that reaches a target on validation users."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.json_text import write_json
from nann.artifacts import StepResult
from nann.config import TuneConfig
from nann.config_file import config_text
from nann.dataset import Dataset, Items
from nann.errors import ArtifactError
from nann.evaluation import metrics as m
from nann.evaluation.lists import collect_lists
from nann.evaluation.scan import exact_scan
from nann.export import ConvertedModel
from nann.index import Embeddings, Graph, build_hnsw, build_threads, decode_hnsw, enter_at_untrained
from nann.option_types import stored_params
from nann.reporting.frame import write_page
from nann.reporting.tuning_page import tuning_page
from nann.steps.opening import open_step
from nann.steps.table import BUILD_INDEX, REWRITE
from nann.tuning.candidates import GraphSettings, candidate_searches, choose, reaches
from nann.tuning.measurement import TuningUsers, measure_searches

logger = logging.getLogger(__name__)
USERS_SEED = 1


def tune(*, converted_model: Path, dataset: Path, tuning: Path, config: TuneConfig, overwrite: bool = False) -> StepResult:
    """Tries searches on validation users and chooses the one with the fewest items scored that reaches the targets.

    Args:
        converted_model: artifact of `rewrite`; its graph is tried, and those of ``config.graphs`` built over the same vectors.
        dataset: the artifact of `convert` that the model was trained on.
        tuning: directory to write: ``tuning.json`` (all points, and the number of the chosen one), ``chosen.yaml`` (sections for
            `--config`), ``report.html``.
        config: the options.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: an input is unusable, the model belongs to another dataset, or there are no validation users; or ``tuning`` holds
            something else.
        ValueError: a graph is not given as M:EF_CONSTRUCTION.
    """
    writer = open_step("tune", locals())
    model = writer.artifacts["converted_model"]
    settings = [GraphSettings.parse(text) for text in config.graphs]
    if settings and model.params.get("precompute_mb"):
        raise ArtifactError(
            f"{converted_model} holds items' parts computed ahead instead of their vectors, over which graphs are built; run "
            "`nann rewrite` with --precompute-mb 0, tune, and rewrite again"
        )
    if writer.is_current:
        return writer.current()
    with writer as directory:
        exported, data = ConvertedModel(converted_model, allow_own_models=config.allow_own_models), Dataset(dataset)
        embeddings, graph = exported.corpus
        users = _users(exported, data, config)
        searches = candidate_searches(
            num_levels=len(model.params["ef"]),
            widths=config.widths,
            rounds=config.rounds,
            upper_rounds=config.upper_rounds,
            start_levels=config.start_levels,
            top_k=config.k,
        )
        graphs = {"exported": graph, **_graphs(embeddings, data.items(), settings, config)}
        measure: dict[str, Any] = {name: getattr(config, name) for name in ("k", "batch_size", "latency_users")}
        points = [
            {"graph": name, **point}
            for name, graph in graphs.items()
            for point in measure_searches(exported.scorer, embeddings, graph, users, searches, **measure, memory=exported.memory)
        ]
        target: dict[str, Any] = {
            "k": config.k,
            "target_coverage": config.target_coverage,
            "target_recall_delta": config.target_recall_delta,
        }
        chosen = choose(points, **target, latency_budget_ms=config.latency_budget_ms)
        affordable = not config.latency_budget_ms or points[chosen]["p50_ms"] <= config.latency_budget_ms
        result = {
            "k": config.k,
            "num_users": len(users.targets),
            "num_items": len(embeddings),
            "exact_recall": float(m.recall(users.exact.item_rows, np.asarray(users.targets)[:, None], config.k).mean()),
            "points": points,
            "chosen": chosen,
            "reached": bool(affordable and reaches(points[chosen], **target)),
        }
        write_json(directory / "tuning.json", result)
        (directory / "chosen.yaml").write_text(config_text(_chosen(points[chosen])), encoding="utf-8")
        write_page(directory, tuning_page(result), writer.artifacts, {"tune": stored_params(config)})
        writer.metrics.update({**points[chosen], "reached": result["reached"], "num_users": result["num_users"]})
    if not result["reached"]:
        logger.warning(
            "no search reaches the targets within the budget; the chosen one comes closest. Give wider --widths or more --rounds"
        )
    return writer.result()


def _graphs(embeddings: Embeddings, items: Items, settings: list[GraphSettings], config: TuneConfig) -> dict[str, Graph]:
    """Graphs over the item vectors, by the text of their settings."""
    graphs, rows = {}, embeddings.item_rows
    threads = build_threads(config.threads, len(rows))
    for setting in settings:
        hnsw = build_hnsw(embeddings.vectors, m=setting.m, ef_construction=setting.ef_construction, threads=threads)
        built = decode_hnsw(hnsw, start_level=2)
        built = enter_at_untrained(built, items.train_counts[rows], items.category_rows[rows])
        graphs[f"{setting.m}:{setting.ef_construction}"] = built
    return graphs


def _users(exported: ConvertedModel, data: Dataset, config: TuneConfig) -> TuningUsers:
    """Validation users drawn at random, and their exact lists."""
    samples = data.samples("validate", inputs=tuple(exported.inputs))
    if not len(samples.targets):
        raise ArtifactError(f"{data.path} has no validation users; convert a longer log, or with a smaller --test-min-length")
    samples, categories = samples.draw(config.users, seed=USERS_SEED), data.items().category_rows
    scan = exact_scan(exported.scorer, exported.corpus[0], top_k=config.k, memory=exported.memory)
    exact = collect_lists(
        scan, samples.histories, categories, width=config.k, batch_size=config.batch_size, label="exact scan", inputs=samples.inputs
    )
    return TuningUsers(samples.histories, samples.targets, categories, exact, samples.inputs)


def _chosen(point: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The chosen search, and graph where it is not the exported one, as sections of a config file."""
    search = {name: point[name] for name in ("ef", "rounds", "top_k", "start_level")}
    if point["graph"] == "exported":
        return {REWRITE.name: search}
    setting = GraphSettings.parse(point["graph"])
    return {BUILD_INDEX.name: {"m": setting.m, "ef_construction": setting.ef_construction}, REWRITE.name: search}
