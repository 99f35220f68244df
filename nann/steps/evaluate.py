"""Step `evaluate`: what the exported graph finds for held-out users, against the exact scan and simple methods."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nann.artifacts import Artifact, ArtifactWriter, StepResult, open_artifact, require_same_ancestor
from nann.config import EvaluateConfig
from nann.errors import ArtifactError
from nann.evaluation.baselines import ItemCF, popular_list
from nann.evaluation.curve import measure_curve
from nann.evaluation.lists import collect_lists
from nann.evaluation.scan import exact_scan, exported_graph
from nann.evaluation.summary import summarize, users_table
from nann.export import load_corpus, load_frozen_scorer
from nann.reporting.evaluation_page import evaluation_page
from nann.reporting.page import render
from nann.samples import Items, Samples, load_histories, load_items, load_samples

logger = logging.getLogger(__name__)
USERS_SEED = 1


def evaluate(*, converted_model: Path, dataset: Path, evaluation: Path, config: EvaluateConfig, overwrite: bool = False) -> StepResult:
    """Evaluates the exported graph on held-out users and writes the figures, the users behind them, and a report.

    The graph is asked through its signature, as a server would; the exact scan scores the whole corpus with the frozen scorer; the
    baselines answer for the same users. Definitions and protocol: `docs/evaluation.md`.

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
    model, data = open_artifact(converted_model, step="rewrite"), open_artifact(dataset, step="convert")
    require_same_ancestor("dataset", data, model)
    _require_width(model, config)
    writer = ArtifactWriter(
        evaluation,
        step="evaluate",
        params=config.model_dump(),
        inputs={"converted_model": model, "dataset": data},
        overwrite=overwrite,
    )
    if writer.is_current:
        return writer.current()
    items, samples = load_items(dataset), load_samples(dataset, config.split)
    samples = _some_users(samples, config.max_users or len(samples.targets))
    if not len(samples.targets):
        raise ArtifactError(f"{dataset} has no {config.split} users; convert a longer log, or with a smaller --test-min-length")

    with writer as directory:
        width, batch_size = max(config.ks), config.batch_size
        embeddings, graph = load_corpus(converted_model / "0.meta")
        scorer = load_frozen_scorer(converted_model / "frozen_graph.pb")
        histories, categories = samples.histories, items.category_rows
        exported = exported_graph(converted_model, config.graph)
        retrieved = collect_lists(exported, histories, categories, width=width, batch_size=batch_size, label="exported graph")
        scan = exact_scan(scorer, embeddings, top_k=width)
        exact = collect_lists(scan, histories, categories, width=width, batch_size=batch_size, label="exact scan")
        baselines = _baseline_lists(dataset, items, samples, width) if config.baselines else {}
        common: dict[str, Any] = {
            "targets": samples.targets,
            "exact": exact,
            "retrieved": retrieved,
            "baselines": baselines,
            "ks": sorted(config.ks),
        }
        metrics = {**summarize(**common, num_items=len(embeddings)), "split": config.split}
        table = users_table(user_ids=samples.user_ids, item_ids=items.item_ids, histories=histories, **common)

        others = _some_users(load_samples(dataset, "validate"), config.curve_users)
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
            )
            _write_json(directory / "curve.json", curve)
        _write_json(directory / "metrics.json", metrics)
        pq.write_table(table, directory / "users.parquet", compression="zstd")
        (directory / "report.html").write_text(render(evaluation_page(metrics, curve)), encoding="utf-8")
        writer.metrics.update({name: value for name, value in metrics.items() if name != "standard_errors" and value is not None})
    return writer.result()


def _require_width(model: Artifact, config: EvaluateConfig) -> None:
    top_k = int(model.params["top_k"])
    if max(config.ks) > top_k:
        raise ArtifactError(
            f"{model.path} returns {top_k} items, but metrics at K = {max(config.ks)} are asked for; "
            f"give --ks up to {top_k}, or run `nann rewrite` with --top-k {max(config.ks)}"
        )


def _some_users(samples: Samples, count: int) -> Samples:
    """``count`` users drawn at random with a fixed seed, in the order of the split; all where there are no more than that."""
    if count >= len(samples.targets):
        return samples
    kept = np.sort(np.random.default_rng(USERS_SEED).choice(len(samples.targets), count, replace=False))
    return samples.take(kept)


def _baseline_lists(dataset: Path, items: Items, samples: Samples, width: int) -> dict[str, NDArray[np.int64]]:
    """Popularity and item CF for the same users, from the training users' events."""
    popular = popular_list(items.train_counts, width)
    train = load_histories(dataset)
    item_cf = ItemCF(train.item_rows, train.row_splits, num_items=len(items.item_ids) - 1)
    return {
        "popularity": np.tile(popular, (len(samples.targets), 1)),
        "item_cf": item_cf.recommend(samples.histories, width, fill=popular),
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
