"""Where versions lie: a directory, or an object store that TensorFlow has a file system for (``gs://``, ``s3://`` with its plugin).

A directory has an atomic rename, an object store has none, but an object appears whole or not at all when its writing ends. So trees are
copied first and a small file is written last, here by a rename, there by one object.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from nann.errors import ArtifactError

LOCK_NAME = ".lock"


class Store:
    """Files under a root, named by their path below it.

    Args:
        root: a directory, made when something is written, or a URL.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = str(root).rstrip("/")
        self.remote = "://" in self.root

    def place(self, name: str) -> str:
        """The full path of a file."""
        return f"{self.root}/{name}"

    def read(self, name: str) -> str | None:
        """The text of a file; None when it is not there."""
        path = self.place(name)
        if not tf.io.gfile.exists(path):
            return None
        with tf.io.gfile.GFile(path) as file:
            return str(file.read())

    def write(self, name: str, text: str) -> None:
        """Replaces a file as a whole: whoever reads it sees the old text or the new one, also after a power cut."""
        path = self.place(name)
        partial = f"{path}.partial"
        if self.remote:  # its rename copies the object, which appears whole; not all of its file systems truncate what is written again
            if tf.io.gfile.exists(partial):
                tf.io.gfile.remove(partial)
            with tf.io.gfile.GFile(partial, "w") as file:
                file.write(text)
            tf.io.gfile.rename(partial, path, overwrite=True)
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "w", encoding="utf-8") as local:
            local.write(text)
            local.flush()
            os.fsync(local.fileno())
        os.replace(partial, path)
        directory = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def names(self, name: str) -> list[str]:
        """Names in a directory, sorted; empty when it is not there."""
        path = self.place(name)
        return sorted(entry.rstrip("/") for entry in tf.io.gfile.listdir(path)) if tf.io.gfile.isdir(path) else []

    def put_tree(self, source: Path, name: str) -> None:
        """Copies a local directory; files are linked where that is possible, since artifacts are never changed."""
        for file in sorted(source.rglob("*")):
            if file.is_file():
                self._copy(str(file), self.place(f"{name}/{file.relative_to(source).as_posix()}"))

    def get_tree(self, name: str, target: Path) -> None:
        """Copies a directory of the store to a local one."""
        root = self.place(name)
        for directory, _, files in tf.io.gfile.walk(root):
            below = directory[len(root) :].strip("/")
            for file in files:
                self._copy(f"{directory.rstrip('/')}/{file}", str(target / below / file))

    def _copy(self, source: str, target: str) -> None:
        if self.remote:
            tf.io.gfile.makedirs(target.rpartition("/")[0])
            tf.io.gfile.copy(source, target, overwrite=True)
            return
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    def remove(self, name: str) -> None:
        """Removes a directory; it need not be there. Of a link only the link goes, never what it points at."""
        path = self.place(name)
        if self.remote:
            if tf.io.gfile.isdir(path):
                tf.io.gfile.rmtree(path)
        elif os.path.islink(path):
            os.unlink(path)
        elif os.path.isdir(path):
            shutil.rmtree(path)  # which follows no links, unlike TensorFlow's

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other writers on this file system out. An object store has no lock: let one schedule write to it.

        Raises:
            ArtifactError: another process is writing.
        """
        if self.remote:
            yield
            return
        Path(self.root).mkdir(parents=True, exist_ok=True)
        lock = os.open(self.place(LOCK_NAME), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise ArtifactError(f"another process is changing what is in service in {self.root}; wait for it, or end it") from error
        finally:
            os.close(lock)
