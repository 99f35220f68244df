"""The versions that are or were in service, and the pointer to the one that is.

::

    SERVICE/service.json             {"schema_version": 1}: says that this is a service
    SERVICE/current.json             {"version": 7, "before": [6, 4], "last": 7}: the pointer, replaced as a whole
    SERVICE/versions/000007/         dataset/, data_check/, model/, index/, converted_model/, gate/, and version.json, last
    SERVICE/item_tables.json         {"version": 3}: the tables of items that count now, replaced as a whole
    SERVICE/item_tables/000003.parquet
    SERVICE/refused/DIGEST/          model/, converted_model/, gate/ of a candidate that did not pass, and version.json

A version without ``version.json`` is not there; one that is being written or removed has ``unfinished``, and goes when a process was killed
at that. What has neither is not ours, and stays. ``before`` are the versions that were in service before this one, newest first, and
``last`` is the highest number ever given. A publication that is killed leaves the pointer at the old version or at the new one.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.json_text import json_text
from data_prep.opening import parse_json
from nann import forms
from nann.artifacts import Artifact
from nann.errors import ArtifactError
from nann.service.store import LOCK_NAME, Store
from nann.steps.table import GATE

POINTER_NAME = "current.json"
VERSION_NAME = "version.json"
SERVICE_NAME = "service.json"
TABLES_NAME = "item_tables.json"
UNFINISHED_NAME = "unfinished"
SERVICE_SCHEMA = 1
_OF_CREATION = {LOCK_NAME, f".{SERVICE_NAME}.partial"}
_DIGEST = re.compile(r"[0-9a-f]{12}")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pointer:
    """Which version is in service.

    Attributes:
        version: its number, from 1.
        before: earlier ones, newest first, as far as they are kept.
        last: the highest number given so far.
    """

    version: int
    before: tuple[int, ...]
    last: int


class Shelf:
    """The versions of one service.

    Args:
        root: directory or URL.
    """

    def __init__(self, root: str | Path) -> None:
        self.store = Store(root)

    def require(self, *, create: bool = False) -> Shelf:
        """This shelf, after it was seen that a service is there: a path that is mistyped, or a disk that is not mounted, is none.

        Args:
            create: make a service where nothing is.

        Raises:
            ArtifactError: no service is there, or something else is.
        """
        there = self.store.require_directory()
        if there and any(self._has(name) for name in (SERVICE_NAME, POINTER_NAME, "versions", "refused")):
            return self
        root = self.store.root
        if not create:
            raise ArtifactError(
                f"there is no service in {root}; give the path of one, or make one there with --create (in a pipeline "
                "--set in-service.create=true)"
            )
        others = set() if self.store.remote or not there else set(os.listdir(root)) - _OF_CREATION
        if others:
            raise ArtifactError(f"{root} is not empty and holds no service ({min(others)}); give --create another path")
        self.store.write(SERVICE_NAME, json_text({"schema_version": SERVICE_SCHEMA}))
        logger.info("%s is a service now, with nothing in it", root)
        return self

    def _has(self, name: str) -> bool:
        return bool(self.store.names(name)) or (name.endswith(".json") and self.store.read(name) is not None)

    def pointer(self) -> Pointer | None:
        """The pointer; None while nothing is in service.

        Raises:
            ArtifactError: it cannot be read, or its version is not there.
        """
        pointer = self._stored_pointer()
        if pointer is not None:
            self.description(pointer.version)
        return pointer

    def _stored_pointer(self) -> Pointer | None:
        """As it is written, whether or not its version can be read."""
        text = self.store.read(POINTER_NAME)
        if text is None:
            return None
        remedy = "write it anew with `nann rollback --to`"
        content = parse_json(text, forms.StoredPointer, self.store.place(POINTER_NAME), "a pointer", remedy=remedy, error=ArtifactError)
        return Pointer(content["version"], tuple(content["before"]), content["last"])

    def description(self, version: int) -> dict[str, Any]:
        """The ``version.json`` of a version: ``version``, and ``artifacts``, the digest of each.

        Raises:
            ArtifactError: the version is not there.
        """
        text = self.store.read(f"{directory_of(version)}/{VERSION_NAME}")
        if text is None:
            raise ArtifactError(
                f"{self.store.place(directory_of(version))} is not whole, there is no {VERSION_NAME}; versions that are: "
                f"{', '.join(map(str, self.versions())) or 'none'}; choose one with `nann rollback --to`"
            )
        return self._description(f"{directory_of(version)}/{VERSION_NAME}", text)

    def _description(self, name: str, text: str) -> dict[str, Any]:
        remedy = "choose another version with `nann rollback --to`, and remove this one"
        found: dict[str, Any] = parse_json(
            text, forms.Version, self.store.place(name), "the description of a version", remedy=remedy, error=ArtifactError
        )
        return found

    def versions(self) -> list[int]:
        """Numbers of the versions that are whole, ascending."""
        return [number for number in self._numbers() if self.store.read(f"{directory_of(number)}/{VERSION_NAME}") is not None]

    def publish(self, artifacts: Mapping[str, Artifact], *, expected: int | None, keep: int) -> int:
        """Copies a candidate and switches the pointer to it; returns its number. Again with the same candidate: changes nothing.

        Args:
            artifacts: name -> artifact.
            expected: version the candidate was compared with, None for none; another one in service now is refused.
            keep: versions to keep, the one in service among them.

        Raises:
            ArtifactError: another version is in service than expected, or another process is publishing.
        """
        digests = {name: artifact.digest for name, artifact in artifacts.items()}
        with self._changing():
            pointer = self.pointer()
            if pointer is not None and self.description(pointer.version)["artifacts"] == digests:
                if pointer.version == pointer.last:  # a publication that was killed before it had removed the oldest
                    self._prune({*self._after(pointer.version), pointer.version, *pointer.before})
                logger.info("version %d is in service already", pointer.version)
                return pointer.version
            found = None if pointer is None else pointer.version
            if found != expected:
                raise ArtifactError(
                    f"the candidate was compared with version {expected or 'none'}, but {found or 'none'} is in service in "
                    f"{self.store.root} now; run the pipeline again, in a new run directory"
                )
            number = self._put(artifacts, digests, 1 + max([0, *self._numbers(), *([pointer.last] if pointer else [])]))
            before = () if pointer is None else (pointer.version, *pointer.before)
            self._switch(Pointer(number, before[: keep - 1], number))
            self._prune({number, *before[: keep - 1]})
        return number

    def item_tables(self) -> int | None:
        """Number of the tables of items that count now; None where there are none.

        Raises:
            ArtifactError: what says so cannot be read.
        """
        text = self.store.read(TABLES_NAME)
        if text is None:
            return None
        remedy = "publish the tables anew with `nann publish --item-tables`"
        where = self.store.place(TABLES_NAME)
        return int(
            parse_json(text, forms.StoredTables, where, "a pointer to tables of items", remedy=remedy, error=ArtifactError)["version"]
        )

    def publish_item_tables(self, path: Path, *, keep: int) -> int:
        """Copies tables of items and has servers use them from now on, whatever version is in service; returns their number.

        Args:
            path: a Parquet file, see `nann.item_tables`.
            keep: tables to keep.
        """
        with self._changing():
            number = 1 + max([0, *self._tables()])
            self.store.put_file(path, tables_of(number))
            self.store.write(TABLES_NAME, json.dumps({"version": number}) + "\n")
            for old in sorted(self._tables())[:-keep]:
                self.store.remove(tables_of(old))
        return number

    def _tables(self) -> list[int]:
        names = self.store.names("item_tables")
        return [int(name.removesuffix(".parquet")) for name in names if name.removesuffix(".parquet").isdecimal()]

    def refuse(self, artifacts: Mapping[str, Artifact], *, keep: int) -> str:
        """Keeps a candidate that did not pass, the newest ``keep`` of such; returns the name of its directory."""
        digests = {name: artifact.digest for name, artifact in artifacts.items()}
        with self._changing():
            name = f"refused/{digests[GATE.writes][:12]}"
            number = 1 + max([0, *(self._refusal(other) for other in self.store.names("refused"))])
            if self.store.read(f"{name}/{VERSION_NAME}") is None:
                self._copy(artifacts, name, {"number": number, "artifacts": digests})
            ours = sorted((other for other in self.store.names("refused") if self._refusal(other)), key=self._refusal)
            for other in ours[:-keep]:
                self._remove(f"refused/{other}")
        return name

    def rollback(self, to: int | None = None) -> Pointer:
        """Switches to the version that was in service before, or to a version that is kept; returns the new pointer.

        Raises:
            ArtifactError: there is none to go back to, or not the one asked for.
        """
        with self._changing():
            try:
                pointer = self.pointer()
            except ArtifactError:
                if to is None:
                    raise
                pointer = Pointer(0, (), 0)
            if pointer is None:
                raise ArtifactError(f"nothing is in service in {self.store.root}; publish a first version")
            if to is None and not pointer.before:
                raise ArtifactError(
                    f"version {pointer.version} is the first in {self.store.root}, there is none before it; publish another"
                )
            target = pointer.before[0] if to is None else to
            self.description(target)
            before = pointer.before[pointer.before.index(target) + 1 :] if target in pointer.before else pointer.before
            found = Pointer(target, before, max(pointer.last, *self.versions()))
            self._switch(found)
        logger.info("version %d is in service instead of %d", target, pointer.version)
        return found

    def withdraw(self, version: int) -> int | None:
        """Takes a version that does not work for its readers out of service and removes it.

        Returns:
            The version before, which is in service again; None: there is none, and nothing is.

        Raises:
            ArtifactError: another version is in service, or another process is publishing.
        """
        with self._changing():
            pointer = self._stored_pointer()
            if pointer is None or pointer.version != version:
                raise ArtifactError(f"version {version} is not in service in {self.store.root} any more; look at `nann health`")
            if pointer.before:
                self._switch(Pointer(pointer.before[0], pointer.before[1:], pointer.last))
            else:
                self.store.remove(POINTER_NAME)
            self._remove(directory_of(version))
        return pointer.before[0] if pointer.before else None

    def _refusal(self, name: str) -> int:
        place = f"refused/{name}/{VERSION_NAME}"
        text = self.store.read(place)
        return 0 if text is None else int(self._description(place, text).get("number") or 0)

    def _put(self, artifacts: Mapping[str, Artifact], digests: dict[str, str], number: int) -> int:
        for whole in self.versions():  # a publication that was killed before its switch
            if self.description(whole)["artifacts"] == digests:
                return whole
        self._copy(artifacts, directory_of(number), {"version": number, "artifacts": digests})
        return number

    def _copy(self, artifacts: Mapping[str, Artifact], name: str, description: dict[str, Any]) -> None:
        if not self.store.is_free(name):
            raise ArtifactError(f"{self.store.place(name)} is in the way, and is no version of ours; move it away")
        self.store.write(f"{name}/{UNFINISHED_NAME}", "")
        for part, artifact in artifacts.items():
            self.store.put_tree(artifact.path, f"{name}/{part}")
        self.store.sync(name)
        self.store.write(f"{name}/{VERSION_NAME}", json_text({**description, "time": int(time.time())}))
        self.store.remove(f"{name}/{UNFINISHED_NAME}")

    def _remove(self, name: str) -> None:
        self.store.write(f"{name}/{UNFINISHED_NAME}", "")
        self.store.remove(f"{name}/{VERSION_NAME}")  # from now on it is not there
        self.store.remove(name, last=UNFINISHED_NAME)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Keeps others out, and removes first what a process that was killed has left."""
        with self.store.locked():
            numbered = [directory_of(number) for number in self._numbers()]
            for name in [*numbered, *(f"refused/{name}" for name in self.store.names("refused") if _DIGEST.fullmatch(name))]:
                if not self.store.is_directory(name):
                    continue
                there = set(self.store.names(name))
                if VERSION_NAME in there and UNFINISHED_NAME in there:
                    self.store.remove(f"{name}/{UNFINISHED_NAME}")
                elif VERSION_NAME not in there and (UNFINISHED_NAME in there or there <= {f".{UNFINISHED_NAME}.partial"}):
                    logger.warning("%s is removed, at which a process was killed", self.store.place(name))
                    self.store.remove(name, last=UNFINISHED_NAME)
            yield

    def _numbers(self) -> list[int]:
        """Numbers that are taken, by versions that are whole or by what is not ours."""
        return [int(name) for name in self.store.names("versions") if name.isdecimal()]

    def _after(self, version: int) -> list[int]:
        return [number for number in self._numbers() if number > version]

    def _switch(self, pointer: Pointer) -> None:
        content = {"version": pointer.version, "before": list(pointer.before), "last": pointer.last}
        self.store.write(POINTER_NAME, json.dumps(content, sort_keys=True) + "\n")

    def _prune(self, kept: set[int]) -> None:
        """Removes versions that are not kept; what is no version of ours stays where it is."""
        for number in self.versions():
            if number not in kept and self.store.is_directory(directory_of(number)):
                self._remove(directory_of(number))


def directory_of(version: int) -> str:
    """``versions/000007``."""
    return f"versions/{version:06d}"


def tables_of(version: int) -> str:
    """``item_tables/000003.parquet``."""
    return f"item_tables/{version:06d}.parquet"
