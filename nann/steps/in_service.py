"""Step `in-service`: the version in service, taken into a run, so that all of the run goes by the same one."""

from __future__ import annotations

import logging
from pathlib import Path

from data_prep.json_text import read_json, write_json
from nann.artifacts import StepResult, open_artifact
from nann.config import InServiceConfig
from nann.errors import ArtifactError
from nann.service.shelf import Shelf, directory_of
from nann.steps.opening import open_step
from nann.steps.table import MAKER_OF

logger = logging.getLogger(__name__)
PARTS = ("dataset", "model", "converted_model")


def in_service(*, service: str, in_service: Path, config: InServiceConfig, overwrite: bool = False) -> StepResult:
    """Takes the dataset, the model and the converted model that are in service; nothing when nothing is.

    What was taken once is kept, whatever is published in the meantime: a run that is resumed goes on against the version it began with.

    Args:
        service: directory or URL of the service.
        in_service: directory to write: ``version.json`` (``version``: its number or null, ``artifacts``: digests), and the artifacts.
        config: whether to make the service.
        overwrite: take what is in service now.

    Raises:
        ArtifactError: there is no service, a version is in service but not whole, or ``in_service`` holds something else.
    """
    shelf = Shelf(service).require(create=config.create)
    writer = open_step("in-service", locals(), params={})
    if writer.is_current and not overwrite:
        return writer.current()
    pointer = shelf.pointer()
    with writer as directory:
        description = {"version": None, "artifacts": {}} if pointer is None else shelf.description(pointer.version)
        if pointer is not None:
            for part in PARTS:
                shelf.store.get_tree(f"{directory_of(pointer.version)}/{part}", directory / part)
                taken, said = open_artifact(directory / part, step=MAKER_OF[part]), description["artifacts"][part]
                if taken.digest != said:
                    raise ArtifactError(
                        f"{part} of version {pointer.version} in {service} is {taken.digest[:12]}, but its version.json says {said[:12]}; "
                        "go back to a whole version with `nann rollback`"
                    )
        write_json(directory / "version.json", description)
        writer.metrics["version"] = description["version"]
    logger.info("in service: %s", "nothing" if pointer is None else f"version {pointer.version}")
    return writer.result()


def read_version(in_service: Path) -> int | None:
    """The number of the version in the artifact of `in-service`; None when nothing was in service."""
    version = read_json(in_service / "version.json")["version"]
    return None if version is None else int(version)
