"""Where a model to be served lies: in a run directory, in a service, as a converted model, or as one SavedModel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nann.artifacts import MANIFEST_NAME
from nann.errors import ArtifactError

SAVED_MODEL = "saved_model.pb"


@dataclass(frozen=True)
class ModelPlace:
    """A model that can be opened.

    Attributes:
        path: a converted model, or a directory with ``saved_model.pb``.
        version: its number in a service or in a directory of versions; 1 elsewhere.
        alone: it is one SavedModel, of whatever form, without the files of a converted model around it.
        item_tables: the file of the tables of items that count in a service; None: there is none.
    """

    path: Path
    version: int = 1
    alone: bool = False
    item_tables: Path | None = None


def find_model(path: str | Path) -> ModelPlace:
    """The model of a directory.

    Args:
        path: of a run (``converted_model/`` in it), a service (the version in service), a converted model, a SavedModel, or a directory
            of numbered SavedModels as TensorFlow Serving reads them (the highest).

    Raises:
        ArtifactError: it is none of these, or nothing is in service.
    """
    path = Path(path)
    if (path / SAVED_MODEL).is_file():
        return ModelPlace(path, _number(path) or 1, alone=True)
    if is_service(path):
        return version_in_service(path)
    for directory in (path, path / "converted_model"):
        if (directory / MANIFEST_NAME).is_file():
            return ModelPlace(directory)
    numbers = [_number(child) for child in path.iterdir() if (child / SAVED_MODEL).is_file()] if path.is_dir() else []
    if any(numbers):
        return ModelPlace(path / str(max(numbers)), max(numbers), alone=True)
    raise ArtifactError(
        f"{path} {'holds' if path.is_dir() else 'is'} no model; give the directory of a run, a service, a converted model or a SavedModel"
    )


def is_service(path: Path) -> bool:
    """Whether a directory is a service, with or without a version in it."""
    return any((path / name).is_file() for name in ("service.json", "current.json"))


def version_in_service(service: Path) -> ModelPlace:
    """The converted model that is in service.

    Raises:
        ArtifactError: there is no such service, nothing is in service, or its version is not whole.
    """
    from nann.service.shelf import Shelf, directory_of, tables_of  # brings TensorFlow

    shelf = Shelf(service).require()
    pointer, tables = shelf.pointer(), shelf.item_tables()
    if pointer is None:
        raise ArtifactError(f"nothing is in service in {service}; publish a first version with `nann publish`")
    item_tables = None if tables is None else service / tables_of(tables)
    return ModelPlace(service / directory_of(pointer.version) / "converted_model", pointer.version, item_tables=item_tables)


def _number(path: Path) -> int:
    return int(path.name) if path.name.isdecimal() else 0
