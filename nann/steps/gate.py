"""Step `gate`: a candidate against the models that are and were in service and the simple methods, on the same users."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.json_text import write_json
from nann.artifacts import StepResult, open_artifact
from nann.config import EvaluateConfig, GateConfig
from nann.dataset import Dataset, Samples, load_items
from nann.errors import ArtifactError
from nann.evaluation import metrics as m
from nann.evaluation.best_baseline import best_names
from nann.evaluation.contestants import USERS_SEED, Contestant, contestant, measure
from nann.evaluation.gate import check_candidate
from nann.evaluation.simple_methods import Known, simple_lists
from nann.export import ConvertedModel, ExportedRetrieval, load_table
from nann.export.retrieval_graph import SAVED_MODELS
from nann.option_types import stored_params
from nann.reporting.frame import write_page
from nann.reporting.gate_page import gate_page
from nann.serving.opened import OpenedModel
from nann.serving.places import ModelPlace
from nann.steps.in_service import earlier_versions, read_version
from nann.steps.opening import open_step

logger = logging.getLogger(__name__)
SPLIT = "validate"  # test users choose nothing


def gate(*, converted_model: Path, dataset: Path, in_service: Path, gate: Path, config: GateConfig, overwrite: bool = False) -> StepResult:
    """Measures a candidate, what is in service and the versions before it on the same users; says whether the candidate may take its place.

    All answer for validation users of the candidate's dataset. Earlier models do not know items that are new in it: they are left out of
    the histories these are asked with, and targets among them they miss, as they do in service. Latencies are taken in turns.

    Args:
        converted_model: artifact of `rewrite`, the candidate.
        dataset: the artifact of `convert` the candidate was trained on; converted with ``--base`` of the one in service.
        in_service: artifact of `in-service`.
        gate: directory to write: ``gate.json`` (``passed``, ``checks``, figures of all models, ``version_in_service``), ``report.html``.
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
        models |= {f"version {number}": path for number, path in earlier_versions(in_service).items()}
    for name, model in models.items():
        with _remedy_of_earlier(name):
            _require_width(model, config.k)
    if writer.is_current:
        return writer.current()
    data = Dataset(dataset)
    exported = {name: ConvertedModel(model, allow_own_models=config.allow_own_models) for name, model in models.items()}
    samples = data.samples(SPLIT, inputs=tuple(dict.fromkeys(name for model in exported.values() for name in model.inputs)))
    if not len(samples.targets):
        raise ArtifactError(f"{dataset} has no validation users to compare on; convert a longer window, or with --validate-users")
    samples = samples.draw(config.max_users, seed=USERS_SEED)
    with writer as directory:
        contestants = {name: _contestant(name, model, samples, config) for name, model in exported.items()}
        asked: dict[str, Any] = {"k": config.k, "batch_size": config.batch_size, "exact_users": config.exact_users}
        measured = measure(contestants, samples.targets, **asked, requests=config.latency_requests)
        baseline = _best_baseline(data, samples, config) if config.min_baseline_ratio else None
        published = {name: found for name, found in measured.items() if name != "candidate"}
        checks = [check.as_dict() for check in check_candidate(measured["candidate"], published, baseline, config)]
        result: dict[str, Any] = {
            "passed": all(check["passed"] for check in checks),
            "version_in_service": version,
            "split": SPLIT,
            "users": len(samples.targets),
            "k": config.k,
            "error": config.error,
            "checks": checks,
            "figures": {name: found.figures() for name, found in measured.items()},
            "best_baseline": None if baseline is None else {"name": baseline[0], "recall": float(baseline[1].mean())},
        }
        write_json(directory / "gate.json", result)
        write_page(directory, gate_page(result), writer.artifacts, {"gate": stored_params(config)})
        writer.metrics.update({"passed": int(result["passed"]), "users": result["users"], **result["figures"]})
    for check in checks:
        against = f" against {check['against']}" if check["against"] else ""
        told = f"{check['name']}{against} {check['candidate']:.4g}, bound {check['bound']:.4g}: {check['outcome']}"
        (logger.info if check["passed"] else logger.warning)("%s%s", told, f", {check['detail']}" if check["detail"] else "")
    return writer.result()


def _require_continuation(earlier: Path, dataset: Path) -> None:
    """The rows of the model in service must be the first rows of the candidate's."""
    old, new = load_items(earlier).item_ids, load_items(dataset).item_ids
    if len(old) > len(new) or not np.array_equal(old, new[: len(old)]):
        raise ArtifactError(
            f"{dataset} does not keep the item rows of the model in service ({len(old) - 1:,} items), so the two cannot be compared row by "
            "row; run `nann convert` again with --base the dataset in service"
        )


def _require_width(model: Path, k: int) -> None:
    if (top_k := int(open_artifact(model, step="rewrite").params["top_k"])) < k:
        raise ArtifactError(f"{model} returns {top_k} items, but the gate asks for K = {k}; give --k up to {top_k}")


@contextmanager
def _remedy_of_earlier(name: str) -> Iterator[None]:
    """Says what to do about a version that was in service before and cannot be compared with."""
    try:
        yield
    except ArtifactError as error:
        if name in ("candidate", "in_service"):
            raise
        raise ArtifactError(
            f"{name}, which was in service before, cannot be compared with: {error}. Or leave earlier versions out with `nann in-service "
            "--earlier 0` (in a pipeline --overwrite --set in-service.earlier=0)"
        ) from error


def _contestant(name: str, model: ConvertedModel, samples: Samples, config: GateConfig) -> Contestant:
    with _remedy_of_earlier(name):
        graph, size_bytes = _open_graph(model, config)
        return contestant(model, graph, size_bytes, samples, load_table(model.path / "0", "item_categories"))


def _open_graph(model: ConvertedModel, config: GateConfig) -> tuple[ExportedRetrieval, int]:
    """The form to ask and its size in bytes."""
    if config.graph == "served":
        opened = OpenedModel(ModelPlace(model.path), allow_own_models=config.allow_own_models)
        return opened.retrieval, _bytes_below(opened.directory)
    place = model.path / SAVED_MODELS[config.graph] if config.graph in SAVED_MODELS else model.path
    return model.open(config.graph), _bytes_below(place)


def _bytes_below(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _best_baseline(data: Dataset, samples: Samples, config: GateConfig) -> tuple[str, NDArray[np.float64]] | None:
    """Name of the simple method of the highest recall on these users, which flatters it, and its hits."""
    defaults = EvaluateConfig.model_validate({})
    known = Known.of(data, data.items(), defaults)
    lists = simple_lists(known, samples.draw(defaults.tune_users, seed=USERS_SEED), samples, [config.k]).lists
    hits = {name: m.recall(rows, samples.targets[:, np.newaxis], config.k) for name, rows in lists.items()}
    names = best_names({name: {f"recall@{config.k}": float(found.mean())} for name, found in hits.items()}, [config.k])
    return (names[config.k], hits[names[config.k]]) if names else None
