"""Step `publish`: a candidate that passed the gate is put in service, one that did not is kept with its report."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.json_text import write_json
from nann.artifacts import StepResult
from nann.config import PublishConfig
from nann.contents import read_json
from nann.export import load_table
from nann.forms import Verdict
from nann.item_tables import ItemTables, read_item_tables
from nann.option_types import stored_params
from nann.service.shelf import Shelf
from nann.service.smoke import publish_tested
from nann.serving.places import version_in_service
from nann.steps.opening import open_step

logger = logging.getLogger(__name__)


def publish(
    *,
    service: str,
    gate: Path,
    data_check: Path,
    dataset: Path,
    model: Path,
    index: Path,
    converted_model: Path,
    publication: Path,
    config: PublishConfig,
    overwrite: bool = False,
) -> StepResult:
    """Switches the service to a candidate and looks at it as its readers do, or keeps it among the refused. Killed at any point, it ends
    the same when it is run again.

    Args:
        service: directory or URL of the service.
        gate: artifact of `gate`, about ``converted_model``.
        data_check: artifact of `check-data`, about ``dataset``: the series of windows that the next one is compared with.
        dataset: the artifact of `convert` the model was trained on.
        model: artifact of `train`.
        index: artifact of `build-index`, which `add-items` inserts into.
        converted_model: artifact of `rewrite`.
        publication: directory to write: ``publication.json`` (``published``, ``version`` or the directory of the ``refused``).
        config: the options.
        overwrite: replace a differing artifact; the service is not touched for a candidate that is in service.

    Raises:
        ArtifactError: there is no service, the inputs are not of one run, another version than the one compared with is in service,
            another process is publishing, the version did not work for its readers and was withdrawn, or ``publication`` holds something
            else.
    """
    shelf = Shelf(service).require(create=config.create)
    writer = open_step("publish", locals(), params=stored_params(config, "create"))
    if writer.is_current:
        return writer.current()
    verdict = read_json(gate / "gate.json", Verdict, "the verdict of a gate", step="gate")
    artifacts = writer.artifacts
    with writer as directory:
        found: dict[str, object] = {"published": verdict["passed"], "version": None, "refused": None}
        if verdict["passed"]:
            limits: dict[str, Any] = {"keep": config.keep, "users": config.smoke_users, "allow_own_models": config.allow_own_models}
            found["version"] = publish_tested(shelf, artifacts, expected=verdict["version_in_service"], **limits)
            logger.info("version %d is in service", found["version"])
        else:
            kept = {name: artifact for name, artifact in artifacts.items() if name not in ("data_check", "dataset", "index")}
            found["refused"] = shelf.refuse(kept, keep=config.keep)
            logger.warning("the candidate did not pass the gate; it is kept in %s", shelf.store.place(str(found["refused"])))
        write_json(directory / "publication.json", found)
        writer.metrics.update({"published": int(verdict["passed"]), "version": found["version"] or 0})
    return writer.result()


def publish_item_tables(*, service: str, item_tables: Path, config: PublishConfig) -> str:
    """Puts tables of items in service: servers that follow it use them from now on, with the version in service and with later ones.

    Args:
        service: directory or URL of the service.
        item_tables: a file as `nann.item_tables` reads it.
        config: the options; as many tables are kept as versions.

    Returns:
        A sentence about what was done.

    Raises:
        ArtifactError: there is no service, the file is no such table, it names no item of the version in service, or another process is
            publishing.
    """
    shelf, tables = Shelf(service).require(create=config.create), read_item_tables(item_tables)
    _require_items_of_the_service(tables, shelf, service)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "item_tables.parquet"
        tables.write(path)
        number = shelf.publish_item_tables(path, keep=config.keep)
    blocked = int((~tables.available).sum())
    return f"tables {number} of {len(tables.item_ids):,} items, {blocked:,} of them not available, are in service in {service}"


def _require_items_of_the_service(tables: ItemTables, shelf: Shelf, service: str) -> None:
    """Refuses tables that no server of the version in service could use; a service that is no directory here is not looked at."""
    if shelf.pointer() is None or not Path(service).is_dir():
        logger.warning("the tables were not compared with a catalogue: no version is in service, or %s is no directory here", service)
        return
    converted = version_in_service(Path(service)).path
    catalogue = load_table(converted / "0", "catalogue_item_ids_by_row")[1:]
    ids = tables.ids_as(integers=catalogue.dtype.kind == "i")
    in_catalogue = set(catalogue.tolist())
    tables.require_known(np.array([item_id in in_catalogue for item_id in ids.tolist()], bool), converted)
