"""Step `item-prior`: tables of items whose prior is what is read now and what is new."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.json_text import write_json
from data_prep.option_values import unix_seconds
from nann.artifacts import Artifact, StepResult, open_artifact
from nann.config import ItemPriorConfig
from nann.dataset import Dataset, Histories
from nann.digests import sha256_file
from nann.errors import ArtifactError
from nann.evaluation.contestants import USERS_SEED, Contestant, contestant
from nann.evaluation.non_inferiority import ratio_test
from nann.export import ConvertedModel
from nann.export.filter_graph import SET_TABLES
from nann.item_tables import ItemTables, read_item_tables
from nann.replay.log import number_by_time, rows_by_time
from nann.replay.prior import HOUR, log_prior
from nann.serving.opened import OpenedModel
from nann.serving.places import ModelPlace
from nann.steps.opening import open_step

logger = logging.getLogger(__name__)
TABLES_NAME = "item_tables.parquet"
Floats = NDArray[np.float64]


def item_prior(
    *,
    converted_model: Path,
    dataset: Path,
    item_prior: Path,
    config: ItemPriorConfig,
    recent: Path | None = None,
    available: Path | None = None,
    overwrite: bool = False,
) -> StepResult:
    """Makes tables of items whose prior makes the exported graph prefer what is read now, and what is new, as far as that is shown to help.

    The share that each item will have of the coming window's events is foreseen as `nann replay` does (`nann.replay.prior`). The prior is a
    multiple of its logarithm, 0 for the least one, as for items that are not named. Which multiple is best say validation users whose
    held-out event is of the last window, asked with the shares that were foreseen at its begin; none, where none is shown to help.

    Args:
        converted_model: artifact of `rewrite`.
        dataset: the artifact of `convert` the model was trained on.
        item_prior: directory to write: ``item_tables.parquet``, see `nann.item_tables`, and ``prior.json``.
        config: the options.
        recent: another dataset, of the last days, whose events and users count instead; items are known by their ids.
        available: tables of items whose availability is taken over.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: an input is unusable, the graph returns fewer than K items or was exported without
            filters; or ``item_prior`` holds something else.
    """
    more: dict[str, Artifact | str] = {} if recent is None else {"recent": open_artifact(recent, step="convert")}
    if available is not None:
        more["available"] = sha256_file(available)
    writer = open_step("item-prior", locals(), more_inputs=more)
    if (top_k := int(writer.artifacts["converted_model"].params["top_k"])) < config.k:
        raise ArtifactError(f"{converted_model} returns {top_k} items, but K = {config.k} is asked for; give --k up to {top_k}")
    if writer.is_current:
        return writer.current()
    data = Dataset(recent or dataset)
    events = data.histories(times=True)
    opened = OpenedModel(ModelPlace(converted_model), allow_own_models=config.allow_own_models)
    if not opened.retrieval.input_types(SET_TABLES):
        raise ArtifactError(f"{converted_model} was exported without filters, by an earlier version; run `nann rewrite` again")
    with writer as directory:
        chosen, prior = _chosen(opened, data, events, config)
        tables = _with_availability(_tables(data, prior), available)
        tables.write(directory / TABLES_NAME)
        found = {**chosen, "num_items": len(tables.item_ids), "largest": float(tables.prior.max(initial=0.0))}
        write_json(directory / "prior.json", found)
        writer.metrics.update({name: value for name, value in found.items() if name != "recalls" and value is not None})
    if chosen["users"]:
        told = "strength %g: recall@%d %.4f with the prior, %.4f without, of %d users"
        logger.info(told, chosen["strength"], config.k, chosen["recall_with"], chosen["recall_without"], chosen["users"])
    return writer.result()


def _chosen(opened: OpenedModel, data: Dataset, events: Histories, config: ItemPriorConfig) -> tuple[dict[str, Any], Floats]:
    """What was chosen, and the prior [N + 1] by item row of the dataset."""
    count = len(data.items().item_ids)
    if events.times is None:
        logger.warning("%s holds no times of events, so nothing says what is read now: the tables have no prior", data.path)
        return _no_strength(0), np.zeros(count)
    now = int(events.times.max()) + 1 if config.moment is None else unix_seconds(config.moment)
    chosen = _strength(opened, data, events, now, config)
    return {**chosen, "moment": now}, chosen["strength"] * _raised(_log_shares(events, count, now, config))


def _no_strength(users: int) -> dict[str, Any]:
    return {"strength": 0.0, "users": users, "recall_with": None, "recall_without": None, "recalls": {}}


def _log_shares(events: Histories, count: int, moment: int, config: ItemPriorConfig) -> Floats:
    """[N + 1] log share by item row, known at a moment; -inf for what was not seen."""
    assert events.times is not None
    if not (events.times < moment).any():
        return np.full(count, -np.inf)
    no_categories = np.zeros(count, np.int32)
    log = number_by_time(events.item_rows, events.times, np.diff(events.row_splits), no_categories)
    order, _ = rows_by_time(events.item_rows, events.times, count)
    shares = np.full(count, -np.inf)
    shares[order] = log_prior(log, moment, round(config.window_hours * HOUR))[1:]
    return shares


def _raised(log_shares: Floats) -> Floats:
    """Above the least share that there is; what has none is as the least."""
    seen = np.isfinite(log_shares)
    least = log_shares[seen].min() if seen.any() else 0.0
    return np.where(seen, log_shares, least) - least


def _strength(opened: OpenedModel, data: Dataset, events: Histories, now: int, config: ItemPriorConfig) -> dict[str, Any]:
    """The multiple of the log share under which most users of the last window are served, and the recalls by multiple."""
    model = ConvertedModel(opened.place.path, allow_own_models=config.allow_own_models)
    samples = data.samples("validate", inputs=tuple(model.inputs))
    begin = now - round(config.window_hours * HOUR)
    times = samples.last_times if samples.last_times is not None else np.zeros(len(samples.targets), np.int64)
    late = np.flatnonzero((times >= begin) & (times < now))
    samples = samples.take(late).draw(config.max_users, seed=USERS_SEED)
    if len(samples.targets) < 2:
        logger.warning("%d validation users have their held-out event in the last window: too few to say whether a prior helps", len(late))
        return _no_strength(0)
    rows = _rows_of_model(opened, data)
    mapped = replace(samples, histories=rows[samples.histories], targets=rows[samples.targets])
    users = contestant(model, opened.retrieval, 0, mapped, opened.category_rows)
    raised = _raised(_log_shares(events, len(rows), begin, config))
    prior = np.zeros(opened.num_items + 1)
    np.maximum.at(prior, rows, raised)
    prior[0] = 0
    hits = {strength: _hits(users, strength * prior, mapped.targets, config) for strength in sorted({0.0, *config.strengths})}
    best = max(hits, key=lambda strength: hits[strength].mean())
    if best and not ratio_test(hits[best], hits[0.0], least=1.0, error=config.error).passed:
        best = 0.0
    return {
        "strength": best,
        "users": len(samples.targets),
        "recall_with": float(hits[best].mean()),
        "recall_without": float(hits[0.0].mean()),
        "recalls": {f"{strength:g}": float(found.mean()) for strength, found in hits.items()},
    }


def _rows_of_model(opened: OpenedModel, data: Dataset) -> NDArray[np.int32]:
    """[N + 1] item row of the model by item row of a dataset, 0 for what it does not know."""
    item_ids = data.items().item_ids[1:]
    ids = ItemTables(item_ids, np.ones(len(item_ids), bool), np.zeros(len(item_ids), np.float32)).ids_as(integers=opened.id_type.is_integer)
    rows = opened.retrieval.run("catalogue_rows", item_ids=ids[np.newaxis])["item_rows"][0]
    return np.concatenate([[0], np.maximum(rows, 0)]).astype(np.int32)


def _hits(users: Contestant, prior: Floats, targets: NDArray[np.integer], config: ItemPriorConfig) -> Floats:
    """[S] recall@K of the graph with a prior [R + 1]; 0 for a target that the model does not know."""
    users.graph.run(SET_TABLES, available=np.ones(len(prior), bool), prior=prior.astype(np.float32))
    found = np.concatenate(list(_answers(users, config.batch_size)))
    return np.asarray(((found[:, : config.k] == targets[:, np.newaxis]) & (targets[:, np.newaxis] > 0)).any(axis=1), np.float64)


def _answers(users: Contestant, batch_size: int) -> Iterator[NDArray[np.int64]]:
    types = users.graph.input_types("filtered")
    for first in range(0, len(users.histories), batch_size):
        part = slice(first, first + batch_size)
        histories = users.histories[part]
        nothing = {name: np.zeros((len(histories), 0), types[name].as_numpy_dtype) for name in ("exclude_item_ids", "category_ids")}
        more = {name: values[part] for name, values in users.inputs.items()}
        asked = {"item_ids": histories, "cate_ids": users.category_rows[histories].astype(np.int64), **nothing, **more}
        yield users.graph.run("filtered", **asked, exclude_history=np.zeros(len(histories), bool))["top_k_item_ids"]


def _tables(data: Dataset, prior: Floats) -> ItemTables:
    """Of the items that have a prior."""
    named = np.flatnonzero(prior > 0)
    return ItemTables(data.items().item_ids[named], np.ones(len(named), bool), prior[named].astype(np.float32))


def _with_availability(tables: ItemTables, path: Path | None) -> ItemTables:
    """The tables with what a file says of availability; its priors are left out."""
    if path is None:
        return tables
    given = read_item_tables(path)
    blocked = {str(item_id) for item_id in given.item_ids[~given.available].tolist()}
    own = np.array([str(item_id) not in blocked for item_id in tables.item_ids.tolist()], bool)
    further = sorted(blocked - {str(item_id) for item_id in tables.item_ids.tolist()})
    return ItemTables(
        np.concatenate([tables.item_ids, np.array(further, object).astype(tables.item_ids.dtype)]) if further else tables.item_ids,
        np.concatenate([own, np.zeros(len(further), bool)]),
        np.concatenate([tables.prior, np.zeros(len(further), np.float32)]),
    )
