"""Step `in-service`: the version in service, taken into a run, so that all of the run goes by the same one."""

from __future__ import annotations

import logging
from pathlib import Path

from data_prep.json_text import write_json
from nann.artifacts import StepResult, open_artifact
from nann.config import InServiceConfig
from nann.contents import read_json
from nann.errors import ArtifactError
from nann.forms import Version
from nann.service.shelf import Shelf, directory_of
from nann.steps.opening import open_step
from nann.steps.table import MAKER_OF

logger = logging.getLogger(__name__)
PARTS = ("dataset", "model", "converted_model")
EARLIER = "earlier"
NEWER_PARTS = ("data_check",)  # which versions that were published before there was one do not have


def in_service(*, service: str, in_service: Path, config: InServiceConfig, overwrite: bool = False) -> StepResult:
    """Takes the dataset, its check, the model and the converted model that are in service; nothing when nothing is.

    What was taken once is kept, whatever is published in the meantime: a run that is resumed goes on against the version it began with.

    Args:
        service: directory or URL of the service.
        in_service: directory to write: ``version.json`` (``version``: its number or null, ``artifacts``: digests), and the artifacts; below
            ``earlier/NNNNNN/`` the converted models that were in service before.
        config: whether to make the service, and how many earlier versions to take.
        overwrite: take what is in service now.

    Raises:
        ArtifactError: there is no service, a version is in service but not whole, or ``in_service`` holds something else.
    """
    shelf = Shelf(service).require(create=config.create)
    writer = open_step("in-service", locals(), params={"earlier": config.earlier})
    if writer.is_current and not overwrite:
        return writer.current()
    pointer = shelf.pointer()
    with writer as directory:
        description = {"version": None, "artifacts": {}} if pointer is None else shelf.description(pointer.version)
        if pointer is not None:
            for part in (*PARTS, *(part for part in NEWER_PARTS if part in description["artifacts"])):
                _take(shelf, pointer.version, part, directory / part)
            for number in pointer.before[: config.earlier]:
                _take_earlier(shelf, number, directory)
        write_json(directory / "version.json", description)
        writer.metrics["version"] = description["version"]
    logger.info("in service: %s", "nothing" if pointer is None else f"version {pointer.version}")
    return writer.result()


def _take(shelf: Shelf, version: int, part: str, target: Path) -> None:
    """Copies an artifact of a version, and sees that it is the one that was published."""
    shelf.store.get_tree(f"{directory_of(version)}/{part}", target)
    taken, said = open_artifact(target, step=MAKER_OF[part]), shelf.description(version)["artifacts"].get(part, "none")
    if taken.digest != said:
        raise ArtifactError(
            f"{part} of version {version} in {shelf.store.root} is {taken.digest[:12]}, but its version.json says {said[:12]}; "
            "go back to a whole version with `nann rollback`"
        )


def _take_earlier(shelf: Shelf, version: int, directory: Path) -> None:
    try:
        _take(shelf, version, "converted_model", directory / EARLIER / f"{version:06d}" / "converted_model")
    except ArtifactError as error:
        raise ArtifactError(
            f"version {version}, which was in service before, cannot be taken: {error}. Or leave earlier versions out with --earlier 0 "
            "(in a pipeline --set in-service.earlier=0)"
        ) from error


def earlier_versions(in_service: Path) -> dict[int, Path]:
    """Converted models by number that were in service before the one in the artifact of `in-service`, newest first."""
    found = [path for path in (in_service / EARLIER).glob("*/converted_model") if path.parent.name.isdecimal()]
    return {int(path.parent.name): path for path in sorted(found, reverse=True)}


def taken_parts(in_service: Path) -> dict[str, Path]:
    """What the artifact of `in-service` holds of the version in service, by name; nothing when nothing was in service."""
    if read_version(in_service) is None:
        return {}
    return {part: in_service / part for part in (*PARTS, *NEWER_PARTS) if (in_service / part).is_dir()}


def read_version(in_service: Path) -> int | None:
    """The number of the version in the artifact of `in-service`; None when nothing was in service."""
    version = read_json(in_service / "version.json", Version, "the version in service", step="in-service").get("version")
    return None if version is None else int(version)
