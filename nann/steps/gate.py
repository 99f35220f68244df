"""Step `gate`: a candidate against the model in service, on the same users."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.json_text import write_json
from nann.artifacts import StepResult, open_artifact
from nann.config import GateConfig
from nann.dataset import Dataset, Samples, load_items
from nann.errors import ArtifactError
from nann.evaluation import metrics as m
from nann.evaluation.gate import check_candidate
from nann.evaluation.lists import chosen_users, collect_lists
from nann.evaluation.scan import exact_scan, exported_graph
from nann.export import ConvertedModel, ExportedRetrieval
from nann.option_types import stored_params
from nann.reporting.frame import write_page
from nann.reporting.gate_page import gate_page
from nann.steps.in_service import read_version
from nann.steps.opening import open_step

logger = logging.getLogger(__name__)
USERS_SEED = 1


@dataclass(frozen=True)
class Contestant:
    """An exported model and the users as it sees them.

    Attributes:
        model: of `rewrite`.
        histories: [S, L] int64 item rows; those the model does not know are left out.
        category_rows: [N + 1] int32 category row by item row.
        inputs: by name [S, *] int64 what else the model reads, of the history moved as its items.
    """

    model: ConvertedModel
    histories: NDArray[np.int64]
    category_rows: NDArray[np.int32]
    inputs: dict[str, NDArray[np.int64]]


def gate(*, converted_model: Path, dataset: Path, in_service: Path, gate: Path, config: GateConfig, overwrite: bool = False) -> StepResult:
    """Measures a candidate and the model in service on the same users and says whether the candidate may take its place.

    Both answer for held-out users of the candidate's dataset. The model in service does not know items that are new in it: they are left
    out of the histories it is asked with, and targets among them it misses, as it does in service. Latencies are taken in turns.

    Args:
        converted_model: artifact of `rewrite`, the candidate.
        dataset: the artifact of `convert` the candidate was trained on; converted with ``--base`` of the one in service.
        in_service: artifact of `in-service`.
        gate: directory to write: ``gate.json`` (``passed``, ``checks``, the figures of both, ``version_in_service``), ``report.html``.
        config: the bounds.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: an input is unusable, the candidate is of another dataset, this is no continuation of the one in service, there are
            no users, or K is more than a graph returns; or ``gate`` holds something else.
    """
    writer = open_step("gate", locals())
    version = read_version(in_service)
    models = {"candidate": converted_model}
    if version is not None:
        _require_continuation(in_service / "dataset", dataset)
        models["in_service"] = in_service / "converted_model"
    for model in models.values():
        if (top_k := int(open_artifact(model, step="rewrite").params["top_k"])) < config.k:
            raise ArtifactError(f"{model} returns {top_k} items, but the gate asks for K = {config.k}; give --k up to {top_k}")
    if writer.is_current:
        return writer.current()
    exported = {name: ConvertedModel(model, allow_own_models=config.allow_own_models) for name, model in models.items()}
    asked = tuple(dict.fromkeys(name for model in exported.values() for name in model.inputs))
    samples = Dataset(dataset).samples(config.split, inputs=asked)
    if not len(samples.targets):
        raise ArtifactError(f"{dataset} has no {config.split} users to compare on; convert a longer window, or with --test-users")
    samples = samples.take(chosen_users(len(samples.targets), config.max_users, seed=USERS_SEED))
    contestants = {
        name: _contestant(model, samples, dataset if name == "candidate" else in_service / "dataset") for name, model in exported.items()
    }
    with writer as directory:
        figures = {name: _quality(name, contestant, samples.targets, config) for name, contestant in contestants.items()}
        for name, latency in _latencies(contestants, config).items():
            figures[name]["latency_ms"] = latency
        checks = [check.as_dict() for check in check_candidate(figures["candidate"], figures.get("in_service"), config)]
        result: dict[str, Any] = {
            "passed": all(check["passed"] for check in checks),
            "version_in_service": version,
            "users": len(samples.targets),
            "k": config.k,
            "checks": checks,
            "figures": figures,
        }
        write_json(directory / "gate.json", result)
        write_page(directory, gate_page(result), writer.artifacts, {"gate": stored_params(config)})
        writer.metrics.update({"passed": int(result["passed"]), "users": result["users"], **figures})
    for check in checks:
        logger.info("%s %.4g, bound %.4g: %s", check["name"], check["candidate"], check["bound"], "kept" if check["passed"] else "BROKEN")
    return writer.result()


def _require_continuation(earlier: Path, dataset: Path) -> None:
    """The rows of the model in service must be the first rows of the candidate's."""
    old, new = load_items(earlier).item_ids, load_items(dataset).item_ids
    if len(old) > len(new) or not np.array_equal(old, new[: len(old)]):
        raise ArtifactError(
            f"{dataset} does not keep the item rows of the model in service ({len(old) - 1:,} items), so the two cannot be compared row by "
            "row; run `nann convert` again with --base the dataset in service"
        )


def _contestant(model: ConvertedModel, samples: Samples, dataset: Path) -> Contestant:
    category_rows = load_items(dataset).category_rows
    known = np.where(samples.histories < len(category_rows), samples.histories, 0)
    # Zeros pad at the end only, so what is left moves up, in its order.
    order = np.argsort(known == 0, axis=1, kind="stable")
    inputs = {
        name: np.take_along_axis(samples.inputs[name], order, axis=1) if entry["side"] == "history" else samples.inputs[name]
        for name, entry in model.inputs.items()
    }
    return Contestant(model, np.take_along_axis(known, order, axis=1).astype(np.int64), category_rows, inputs)


def _quality(name: str, contestant: Contestant, targets: NDArray[np.int32], config: GateConfig) -> dict[str, float]:
    model = contestant.model
    scan = exact_scan(model.scorer, model.corpus[0], top_k=config.k, memory=model.memory)
    common: dict[str, Any] = {"width": config.k, "batch_size": config.batch_size, "inputs": contestant.inputs}
    users = (contestant.histories, contestant.category_rows)
    found = collect_lists(exported_graph(model.open(config.graph)), *users, **common, label=f"{name}, exported graph")
    exact = collect_lists(scan, *users, **common, label=f"{name}, exact scan")
    recall = m.recall(found.item_rows, targets[:, np.newaxis], config.k)
    coverage = m.coverage(found.item_rows, exact.item_rows, config.k)
    return {"recall": float(recall.mean()), "recall_standard_error": m.standard_error(recall), "coverage": float(coverage.mean())}


def _latencies(contestants: dict[str, Contestant], config: GateConfig) -> dict[str, float]:
    """Median milliseconds of one user's call, the models taking turns so that both meet the same machine."""
    graphs: dict[str, ExportedRetrieval] = {name: one.model.open(config.graph) for name, one in contestants.items()}
    taken: dict[str, list[float]] = {name: [] for name in graphs}
    for number in range(-1, config.latency_requests):  # the first call of a graph prepares it and is not counted
        for name, graph in graphs.items():
            one = contestants[name]
            user = [number % len(one.histories)]
            history, inputs = one.histories[user], {key: values[user] for key, values in one.inputs.items()}
            categories = one.category_rows[history].astype(np.int64)
            begin = time.perf_counter()
            graph.run("serving_default", item_ids=history, cate_ids=categories, **inputs)
            if number >= 0:
                taken[name].append(1000 * (time.perf_counter() - begin))
    return {name: float(np.median(values)) for name, values in taken.items()}
