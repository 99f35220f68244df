"""Where an artifact lies, and how a new one takes its place: at once, after it is on the disk, and never in place of what is not ours.

::

    NAME              the artifact, whole
    .NAME.partial     what is being written, with ``.fingerprint``, which says of what; without it, and with a manifest, an artifact that
                      is whole: the new one just before it takes the place of the old one, or the old one just after that
    .NAME.old         the old one, where the file system cannot exchange two directories at once

A process that is killed leaves one of these, and the next one of the same step puts it in place, back, or removes it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from data_prep.durable import exchange, partial_path, remove_tree, sync_directory, sync_tree
from nann.errors import ArtifactError

MANIFEST_NAME = "manifest.json"
STAMP_NAME = ".fingerprint"
ASIDE_SUFFIXES = (".old", ".aside")  # the second of earlier versions
GAP_SECONDS = 2.0
_ANEW: ContextVar[bool] = ContextVar("anew", default=False)
logger = logging.getLogger(__name__)


@contextmanager
def made_anew() -> Iterator[None]:
    """Within it every artifact is made anew, up to date or not; the one that is there stays until the new one takes its place."""
    token = _ANEW.set(True)
    try:
        yield
    finally:
        _ANEW.reset(token)


def is_anew() -> bool:
    """Whether artifacts are made anew."""
    return _ANEW.get()


class Place:
    """The place of one artifact.

    Args:
        path: its directory.
        step: name of the step that makes it.

    Attributes:
        path: absolute.
        partial: directory to write into.
    """

    def __init__(self, path: Path, step: str) -> None:
        self.path, self.step = Path(os.path.abspath(path)), step
        self.partial = partial_path(self.path)
        self._lock: int | None = None

    def require_ours(self) -> None:
        """Refuses a path that is a link or a file, or that holds something else than an artifact of the step.

        Raises:
            ArtifactError: says what is there.
        """
        path, step = self.path, self.step
        if path.is_symlink():
            raise ArtifactError(f"{path} is a link, and what it points at is not replaced; remove the link, or give another path")
        if not path.exists():
            return
        if not path.is_dir():
            raise ArtifactError(f"{path} is no directory, and is not replaced; move it away, or give another path")
        if any(path.iterdir()) and (made_by := maker(path)) != step:
            other = f"is an artifact of `nann {made_by}`" if made_by else f"is not empty and holds no artifact of `nann {step}`"
            raise ArtifactError(f"{path} {other}, and is not replaced; move it away, or give another path")

    def require_writable(self) -> None:
        """Refuses, before any work, a place that cannot be written.

        Raises:
            ArtifactError: a part of the path is no directory or may not be written, or the partial directory is not ours.
        """
        near = next(parent for parent in self.path.parents if os.path.lexists(parent))
        if not near.is_dir():
            raise ArtifactError(f"{self.path} cannot be written: {near} is no directory; give another path")
        if not os.access(near, os.W_OK | os.X_OK):
            raise ArtifactError(f"{self.path} cannot be written: no permission for {near}, or it is read-only; give another path")
        partial = self.partial
        if partial.is_symlink() or (partial.exists() and not partial.is_dir()):
            raise ArtifactError(f"{partial} is no directory, but {self.path} is made there; move it away")
        if partial.is_dir() and any(partial.iterdir()) and not self._is_work(partial) and maker(partial) != self.step:
            raise ArtifactError(
                f"{partial} holds what no run of `nann {self.step}` left, but {self.path} is made there; move it away, or remove it"
            )

    def recover(self) -> None:
        """Puts back what was set aside by a process that was killed, or removes it where a new artifact is in place."""
        for suffix in ASIDE_SUFFIXES:
            left = self.path.with_name(f".{self.path.name}{suffix}")
            if not _is_directory(left) or (any(left.iterdir()) and maker(left) != self.step):
                continue
            with locked(left) as lock:
                if lock is None:  # a process is at it
                    continue
                if os.path.lexists(self.path) or not any(left.iterdir()):
                    remove_tree(left, last=(MANIFEST_NAME,))
                elif _has_all_files(left):
                    logger.warning("%s is put back, which a killed process had set aside", self.path)
                    os.rename(left, self.path)
                    sync_directory(self.path.parent)

    def has_finished(self) -> bool:
        """Whether the partial directory is an artifact of the step that is whole, or what is left of one: a process was killed."""
        left = self.partial
        return _is_directory(left) and not self._is_work(left) and (not any(left.iterdir()) or maker(left) == self.step)

    def claim(self) -> None:
        """Makes the partial directory this process's own.

        Raises:
            ArtifactError: another process has it, or it is not ours.
        """
        while True:
            self.partial.mkdir(parents=True, exist_ok=True)
            try:
                self._lock = _lock(self.partial)
            except FileNotFoundError:  # the other process has just put it in place, or removed it
                continue
            if self._lock is None:
                raise ArtifactError(f"another process is writing {self.path}; wait for it, or end it")
            if _is_at(self._lock, self.partial):
                break
            self.release()
        try:
            self.require_writable()
            (self.partial / STAMP_NAME).touch()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Lets other processes write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def empty(self) -> None:
        """Removes what is in the partial directory, but the stamp, which is emptied."""
        for entry in self.partial.iterdir():
            if entry.name != STAMP_NAME:
                remove_tree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        (self.partial / STAMP_NAME).write_text("")

    def remove_partial(self) -> None:
        """Removes the partial directory."""
        remove_tree(self.partial, last=(STAMP_NAME, MANIFEST_NAME))

    def put(self) -> None:
        """Puts the partial directory, which has its manifest, in place. A reader sees the old artifact or the new one.

        Raises:
            ArtifactError: something that is not ours is there, or another process is at it.
        """
        self.require_ours()  # it may have become something else while the step ran
        (self.partial / STAMP_NAME).unlink(missing_ok=True)
        sync_tree(self.partial)
        if not self.path.exists():
            os.rename(self.partial, self.path)
            sync_directory(self.path.parent)
            return
        with locked(self.path) as lock:  # so that nobody removes the old one while this process does
            if lock is None:
                raise ArtifactError(f"another process is replacing {self.path}; wait for it, or end it")
            old = self.partial
            if not exchange(self.partial, self.path):
                old = self.path.with_name(f".{self.path.name}{ASIDE_SUFFIXES[0]}")
                if os.path.lexists(old):
                    raise ArtifactError(f"{old} is in the way of replacing {self.path}; move it away")
                os.rename(self.path, old)
                try:
                    os.rename(self.partial, self.path)
                except OSError:
                    os.rename(old, self.path)
                    raise
            sync_directory(self.path.parent)
            try:
                remove_tree(old, last=(MANIFEST_NAME,))
            except OSError as error:
                logger.warning("%s is in place, but what it replaced is still in %s: %s", self.path, old, error.strerror)

    @staticmethod
    def _is_work(directory: Path) -> bool:
        return (directory / STAMP_NAME).is_file()


def maker(directory: Path) -> str | None:
    """The step that made what a directory holds, by its manifest; None when it has none."""
    try:
        manifest = json.loads((directory / MANIFEST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    step = manifest.get("step") if isinstance(manifest, dict) else None
    return step if isinstance(step, str) else None


def put_back(path: Path, step: str) -> None:
    """Lets a reader find an artifact that a process is just replacing, or was when it was killed, in two renames."""
    place = Place(path, step)
    asides = [place.path.with_name(f".{place.path.name}{suffix}") for suffix in ASIDE_SUFFIXES]
    end = time.monotonic() + GAP_SECONDS
    while not os.path.lexists(place.path) and any(map(os.path.lexists, asides)) and time.monotonic() < end:
        try:
            place.recover()
        except OSError:  # a reader may lack the permission; the next writer has it
            return
        time.sleep(0.01)


def remove_artifact(path: Path, step: str) -> None:
    """Removes an artifact of a step; what is something else stays, and a link is not followed.

    Raises:
        ArtifactError: it is something else.
    """
    Place(path, step).require_ours()
    if path.is_dir():
        remove_tree(path, last=(MANIFEST_NAME,))


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _has_all_files(directory: Path) -> bool:
    try:
        files = json.loads((directory / MANIFEST_NAME).read_text(encoding="utf-8"))["files"]
        return all((directory / name).is_file() for name in files)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _lock(directory: Path) -> int | None:
    """A descriptor that holds the lock of a directory; None when another process has it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def locked(directory: Path) -> Iterator[int | None]:
    """Holds the lock of a directory; None where another process has it, or the directory has lost its name."""
    lock = _lock(directory)
    try:
        yield lock if lock is not None and _is_at(lock, directory) else None
    finally:
        if lock is not None:
            os.close(lock)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether a directory still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False
