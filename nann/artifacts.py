"""Artifacts: directories that are complete when they exist, with a manifest that says what they are and what they were made from.

A step writes into a hidden sibling directory, which `nann.placing` puts in place at the end, so a reader never sees a half-written
artifact. ``manifest.json`` (UTF-8 JSON, sorted keys, no timestamps, no absolute paths: equal work gives equal bytes) holds

- ``schema_version``, ``step``, ``params``: what made it,
- ``code_version``, ``code_digest``: the package version and a digest of the sources of ``nann``, ``data_prep`` and ``ops``,
- ``inputs``: per input its digest (of the input artifact's manifest, or of a raw file's bytes),
- ``lineage``: the same for all ancestors, so that a far-away mismatch (an index of another dataset) is still found,
- ``files``: per file its ``size_bytes`` and ``sha256``; those that hold times are not listed (`nann.manifests`),
- ``metrics``: the step's own numbers.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import nann
from data_prep.durable import remove_leftover, write_file
from data_prep.json_text import json_text
from data_prep.opening import parse_json
from nann.differences import difference_text
from nann.digests import code_digest, sha256_files
from nann.disk_errors import disk_failure
from nann.errors import ArtifactError
from nann.forms import Manifest
from nann.manifests import listed_files, read_manifest
from nann.placing import MANIFEST_NAME as MANIFEST_NAME
from nann.placing import STAMP_NAME, Place, is_anew, put_back
from nann.steps.table import MAKER_OF

SCHEMA_VERSION = 1
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Artifact:
    """A complete artifact on disk.

    Attributes:
        path: its directory.
        manifest: the parsed ``manifest.json``.
        digest: sha256 (hex) of the manifest's bytes; identifies content, parameters and ancestry together.
    """

    path: Path
    manifest: dict[str, Any]
    digest: str

    @property
    def step(self) -> str:
        """Name of the step that made it, as on the command line."""
        return str(self.manifest["step"])

    @property
    def params(self) -> dict[str, Any]:
        """Parameters of the step that made it."""
        return dict(self.manifest["params"])

    @property
    def metrics(self) -> dict[str, Any]:
        """The step's own numbers."""
        return dict(self.manifest["metrics"])

    @property
    def lineage(self) -> dict[str, str]:
        """Digest per ancestor artifact name, the direct inputs included."""
        return dict(self.manifest["lineage"])

    @property
    def size_bytes(self) -> int:
        """Sum of the sizes of its files."""
        return sum(int(entry["size_bytes"]) for entry in self.manifest["files"].values())


@dataclass(frozen=True)
class StepResult:
    """What every step function returns: where its artifact lies, its numbers, and whether an equal artifact was already there."""

    path: Path
    metrics: dict[str, Any] = field(default_factory=dict)
    reused: bool = False


def open_artifact(path: Path, *, step: str) -> Artifact:
    """Opens an artifact and verifies it completely: manifest, schema, producing step, every file's size and sha256.

    Args:
        path: the artifact's directory.
        step: name of the step that must have made it.

    Raises:
        ArtifactError: it does not exist, is no artifact, was made by another step or schema version, or a file is missing or changed.
    """
    path = Path(path)
    manifest_path = path / MANIFEST_NAME
    if not path.is_dir():
        put_back(path, step)
    if not path.is_dir():
        raise ArtifactError(f"{path} does not exist; run `nann {step}` first")
    if not manifest_path.is_file():
        raise ArtifactError(
            f"{path} has no {MANIFEST_NAME}, so it is no artifact of `nann {step}`; run that step, or name its output directory"
        )
    raw = manifest_path.read_bytes()
    manifest = parse_json(raw, Manifest, manifest_path, "a manifest", remedy=f"run `nann {step}` again", error=ArtifactError)
    found_schema, found_step, files = manifest["schema_version"], manifest["step"], manifest["files"]
    if found_schema != SCHEMA_VERSION:
        raise ArtifactError(f"{path} has schema version {found_schema}, this code reads {SCHEMA_VERSION}; run `nann {step}` again")
    if found_step != step:
        raise ArtifactError(f"{path} was made by `nann {found_step}`, but an artifact of `nann {step}` is needed here")
    for name, entry in files.items():
        file = path / name
        if not file.is_file():
            raise ArtifactError(f"{file} is listed in the manifest but missing; run `nann {step}` again")
        if file.stat().st_size != entry["size_bytes"]:
            raise ArtifactError(f"{file} has {file.stat().st_size} bytes, its manifest says {entry['size_bytes']}; run `nann {step}` again")
    for (name, entry), digest in zip(files.items(), sha256_files([path / name for name in files]), strict=True):
        if digest != entry["sha256"]:
            raise ArtifactError(f"{path / name} was changed after `nann {step}` wrote it (its sha256 differs); run that step again")
    if unlisted := sorted(listed_files(path) - set(files)):
        raise ArtifactError(
            f"{path / unlisted[0]} is not listed in the manifest, so nothing says who wrote it; remove it, or run `nann {step}` again"
        )
    return Artifact(path=path, manifest=manifest, digest=hashlib.sha256(raw).hexdigest())


def require_same_ancestor(ancestor: str, *artifacts: Artifact) -> None:
    """Refuses artifacts that were not made from one and the same ancestor.

    Args:
        ancestor: name of the ancestor ("dataset", "model", "embeddings", ...).
        *artifacts: artifacts made by that step themselves, or with it in their lineage.

    Raises:
        ArtifactError: two of them disagree; the message names both and the digests.
    """
    maker = MAKER_OF[ancestor]
    digests = [(each, each.digest if each.step == maker else each.lineage.get(ancestor, "none")) for each in artifacts]
    first, expected = digests[0]
    for other, found in digests[1:]:
        if found != expected:
            raise ArtifactError(
                f"{other.path} (from `nann {other.step}`) belongs to {ancestor} {found[:12]}, but {first.path} "
                f"(from `nann {first.step}`) belongs to {ancestor} {expected[:12]}; "
                f"run `nann {other.step}` again on the same {ancestor}"
            )


Inputs: TypeAlias = Mapping[str, Artifact | str]


class ArtifactWriter:
    """Writes one artifact: a context manager that yields the partial directory and publishes it on a clean exit.

    An artifact that is already there and was made by the same step, parameters, inputs and code is kept: ``is_current`` is then
    true and nothing needs to be written. One that differs is only replaced with ``overwrite``.

    Attributes:
        metrics: the step's own numbers, for the manifest.
        digests: path within the artifact -> hex sha256 of files that were hashed while they were written; all others are read at the end.

    Args:
        path: where the artifact will lie.
        step: name of the step, as on the command line.
        params: the step's parameters, JSON-able.
        inputs: name -> input artifact, or the sha256 of a raw input file; or a function that returns this, which is called in a thread
            beside the work where nothing is there that must be compared first.
        resumable: keep what a killed run with the same fingerprint left in the partial directory.
        overwrite: replace a differing artifact at ``path``.

    Raises:
        ArtifactError: ``path`` holds something else and ``overwrite`` is false, or another process is writing it.
    """

    def __init__(
        self,
        path: Path,
        *,
        step: str,
        params: Mapping[str, Any],
        inputs: Inputs | Callable[[], Inputs],
        resumable: bool = False,
        overwrite: bool = False,
    ) -> None:
        self._place = Place(path, step)
        self.path, self._partial = self._place.path, self._place.partial
        self.metrics: dict[str, Any] = {}
        self.digests: dict[str, str] = {}
        self._resumable = resumable
        self._step, self._params, self._inputs = step, json.loads(json.dumps(dict(params))), inputs
        self._stamping: ThreadPoolExecutor | None = None
        self.is_current = False
        self._place.require_ours()
        self._place.recover()
        difference = self._difference(self.path) if self._is_there() else None
        if self._place.has_finished():
            difference = self._finish_earlier(difference, overwrite=overwrite)
        self.is_current = self._is_there() and difference is None
        if not self.is_current:
            self._place.require_writable()
            if difference is not None and not overwrite:
                raise ArtifactError(f"{path} exists already ({difference}); give --overwrite to replace it, or another path")

    def _is_there(self) -> bool:
        return self.path.is_dir() and any(self.path.iterdir())

    def _finish_earlier(self, difference: str | None, *, overwrite: bool) -> str | None:
        """Puts in place, or removes, what a process left that was killed when its work was done; what differs in ``path`` after that."""
        wanted = overwrite if self._is_there() else True
        try:
            self._place.claim()
        except (ArtifactError, OSError):  # another process is at it, or it may only be read
            return difference
        try:
            (self._partial / STAMP_NAME).unlink()
            if wanted and (difference is not None or not self._is_there()) and self._difference(self._partial) is None:
                logger.info("%s is put in place, which a killed process had made", self.path)
                self._place.put()
                return None
            self._place.remove_partial()
        finally:
            self._place.release()
        return difference

    @functools.cached_property
    def _head(self) -> dict[str, Any]:
        inputs = self._inputs() if callable(self._inputs) else self._inputs
        lineage: dict[str, str] = {}
        for name, source in inputs.items():
            if isinstance(source, Artifact):
                lineage.update(source.lineage)
                lineage[name] = source.digest
            else:
                lineage[name] = source
        return {
            "schema_version": SCHEMA_VERSION,
            "step": self._step,
            "params": self._params,
            "code_version": nann.__version__,
            "code_digest": code_digest(),
            "inputs": {name: source.digest if isinstance(source, Artifact) else source for name, source in inputs.items()},
            "lineage": lineage,
        }

    def current(self) -> StepResult:
        """The result of the artifact that is already there (valid while ``is_current``)."""
        logger.info("%s is up to date", self.path)
        return StepResult(path=self.path, metrics=read_manifest(self.path, step=self._step)["metrics"], reused=True)

    def _difference(self, path: Path) -> str | None:
        if is_anew():
            return "it is to be made anew"
        try:
            existing = open_artifact(path, step=self._step)
        except ArtifactError as error:
            return f"not usable: {error}"
        for key, expected in self._head.items():
            if existing.manifest.get(key) != expected:
                differing = difference_text(existing.manifest.get(key), expected) if key in ("params", "inputs") else ""
                return f"made with another {key.replace('_', ' ')}" + (f": {differing}" if differing else "")
        return None

    def __enter__(self) -> Path:
        with self._disk_told():
            self._place.claim()
            try:
                self._resume_or_empty()
            except BaseException:
                self._place.release()
                raise
        self._stamping = ThreadPoolExecutor(1)
        self._stamped = self._stamping.submit(self._stamp)
        return self._partial

    def _resume_or_empty(self) -> None:
        stamp = self._partial / STAMP_NAME
        left = any(entry != stamp for entry in self._partial.iterdir())
        if left and not (self._resumable and self._is_of_this(stamp)):
            logger.warning("%s: discarding what an interrupted run with other inputs or parameters left", self._partial)
            self._place.empty()

    def _is_of_this(self, stamp: Path) -> bool:
        """Whether a stamp says the same; as values, since an option's default of 4 is 4.0 once it was written into a file."""
        with suppress(OSError, ValueError):  # killed before it was whole
            return bool(json.loads(stamp.read_text()) == self._head)
        return False

    def _stamp(self) -> None:
        """Says what the partial directory is of; without it a later run begins anew."""
        (self._partial / STAMP_NAME).write_text(json.dumps(self._head, sort_keys=True))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._stamping is not None:
                self._stamping.shutdown()
            if kind is None:
                with self._disk_told():
                    self._stamped.result()
                    self._publish()
            elif not self._resumable:
                with suppress(OSError):
                    self._place.remove_partial()
            if error is not None:
                self._tell_disk(error)
        finally:
            self._place.release()

    @contextmanager
    def _disk_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._tell_disk(error)
            raise

    def _tell_disk(self, error: BaseException) -> None:
        """Raises in words what a failing disk says about the artifact; what is about other files is told by others."""
        failure = disk_failure(error)
        if failure is not None and (not failure.path or str(self._partial) in failure.path):
            raise ArtifactError(f"{self.path} cannot be written: {failure.told()}; what was there before is unchanged") from error

    def discard(self) -> None:
        """Gives up what was written although the writer is resumable: a run with the same inputs would fail in the same way."""
        self._resumable = False

    def result(self) -> StepResult:
        """The result to return after a clean exit."""
        return StepResult(path=self.path, metrics=self.metrics)

    def _publish(self) -> None:
        for path in sorted(self._partial.rglob("*")):
            remove_leftover(path)
        names = sorted(listed_files(self._partial))
        unread = [name for name in names if name not in self.digests]
        digests = self.digests | dict(zip(unread, sha256_files([self._partial / name for name in unread]), strict=True))
        files = {name: {"size_bytes": (self._partial / name).stat().st_size, "sha256": digests[name]} for name in names}
        manifest = {**self._head, "files": files, "metrics": self.metrics}
        write_file(self._partial / MANIFEST_NAME, json_text(manifest))
        self._place.put()
