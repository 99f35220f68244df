"""A look at a version from its readers' side, right after it was put in service."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nann.artifacts import Artifact
from nann.dataset import Dataset, Samples
from nann.errors import ArtifactError, NannError
from nann.export import ConvertedModel
from nann.service.shelf import Shelf, directory_of, tables_of
from nann.serving.opened import OpenedModel, warm_up
from nann.serving.places import ModelPlace

logger = logging.getLogger(__name__)


class SmokeTest:
    """What a candidate answers some users, to compare a published version with.

    Args:
        candidate: a converted model.
        samples: users to ask for.
        allow_own_models: as for `nann serve`.

    Raises:
        ArtifactError: the candidate does not load.
    """

    def __init__(self, candidate: Path, samples: Samples, *, allow_own_models: bool = False) -> None:
        self._samples, self._allow = samples, allow_own_models
        own = OpenedModel(ModelPlace(candidate), allow_own_models=allow_own_models)
        self._form, self._expected = own.form, _lists(own, samples)

    def look_at(self, shelf: Shelf, version: int) -> None:
        """Opens the version that the pointer names as a server does, asks it what a server asks first, and then for the users' lists.

        Raises:
            ArtifactError: another version is in service, it does not load or answer, or its form or lists are others than the candidate's.
        """
        pointer = shelf.pointer()
        if pointer is None or pointer.version != version:
            raise ArtifactError(f"version {pointer.version if pointer else 'none'} is in service in {shelf.store.root}, not {version}")
        with _as_read(shelf, version) as place:
            served = OpenedModel(place, allow_own_models=self._allow)
            warm_up(served, 1)
            found = _lists(served, self._samples)
        if served.form != self._form:
            raise ArtifactError(f"version {version} loads as {served.form}, the candidate did as {self._form}")
        if not np.array_equal(found, self._expected):
            others = len(found) if found.shape != self._expected.shape else int((found != self._expected).any(axis=1).sum())
            raise ArtifactError(f"version {version} answers {others} of {len(found)} users with other lists than the candidate did")


def publish_tested(
    shelf: Shelf, artifacts: Mapping[str, Artifact], *, expected: int | None, keep: int, users: int, allow_own_models: bool = False
) -> int:
    """Puts a version in service, and takes it back if it does not answer its readers as the candidate does.

    Args:
        shelf, artifacts, expected, keep: as for `Shelf.publish`.
        users: validation users to ask for; 0: no test.
        allow_own_models: as for `nann serve`.

    Returns:
        The number of the version.

    Raises:
        ArtifactError: it was taken back, or as `Shelf.publish`.
    """
    if not users:
        return shelf.publish(artifacts, expected=expected, keep=keep)
    candidate = artifacts["converted_model"].path
    asked = tuple(ConvertedModel(candidate, allow_own_models=allow_own_models).inputs)
    samples = Dataset(artifacts["dataset"].path).samples("validate", inputs=asked).draw(users, seed=1)
    test = SmokeTest(candidate, samples, allow_own_models=allow_own_models)
    version = shelf.publish(artifacts, expected=expected, keep=keep)
    try:
        test.look_at(shelf, version)
    except Exception as error:  # whatever a reader meets, the version must not stay
        raise ArtifactError(_withdrawn(shelf, version, " ".join(str(error).split()))) from error
    logger.info("version %d answers %d users as the candidate does", version, len(samples.targets))
    return version


def _withdrawn(shelf: Shelf, version: int, reason: str) -> str:
    """What to say of a version that was taken out of service again, or could not be."""
    told = f"version {version} was published and does not work for its readers: {reason}"
    try:
        before = shelf.withdraw(version)
    except (NannError, OSError) as error:
        return f"{told}; it could not be withdrawn either: {error}; see to the storage, then go back with `nann rollback`"
    stays = "nothing" if before is None else f"version {before}"
    return f"{told}. It was withdrawn, {stays} is in service in {shelf.store.root}; see to the storage and publish again"


@contextmanager
def _as_read(shelf: Shelf, version: int) -> Iterator[ModelPlace]:
    """Where a reader finds the version and the tables of items; of an object store a copy."""
    tables, name = shelf.item_tables(), f"{directory_of(version)}/converted_model"
    if not shelf.store.remote:
        root = Path(shelf.store.root)
        yield ModelPlace(root / name, version, item_tables=None if tables is None else root / tables_of(tables))
        return
    with tempfile.TemporaryDirectory(prefix="nann-smoke-") as directory:
        place = ModelPlace(Path(directory) / "converted_model", version)
        shelf.store.get_tree(name, place.path)
        if tables is not None:
            place = replace(place, item_tables=Path(directory) / "item_tables.parquet")
            shelf.store.get_file(tables_of(tables), Path(directory) / "item_tables.parquet")
        yield place


def _lists(model: OpenedModel, samples: Samples) -> NDArray[np.int64]:
    """[S, K] item rows, by the signature that no tables of items change."""
    if not len(samples.targets):
        return np.zeros((0, 0), np.int64)
    histories = np.asarray(samples.histories, np.int64)
    inputs: dict[str, Any] = {name: np.asarray(samples.inputs[name], np.int64) for name in model.inputs}
    answer = model.retrieval.run("serving_default", item_ids=histories, cate_ids=model.category_rows[histories], **inputs)
    return np.asarray(answer["top_k_item_ids"])
