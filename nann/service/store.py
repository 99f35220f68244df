"""Where versions lie: a directory, or an object store that TensorFlow has a file system for (``gs://``, ``s3://`` with its plugin).

A directory has an atomic rename, an object store has none, but an object appears whole or not at all when its writing ends. So trees are
copied first and a small file is written last, here by a rename, there by one object. No link in a directory is followed when something is
removed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from data_prep.durable import link_or_copy, naming, remove_tree, sync_directory, sync_tree, write_file
from nann.errors import ArtifactError

LOCK_NAME = ".lock"


class Store:
    """Files under a root, named by their path below it. Paths of a directory that cannot be read are errors, not absent.

    Args:
        root: a directory, or a URL.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = str(root).removeprefix("file://").rstrip("/") or "/"
        self.remote = "://" in self.root

    def place(self, name: str) -> str:
        """The full path of a file."""
        return f"{self.root}/{name}"

    def require_directory(self) -> bool:
        """Whether the root is there: a directory, never a link. An object store has no directories.

        Raises:
            ArtifactError: something else is there.
        """
        if self.remote:
            return True
        root = Path(self.root)
        if root.is_symlink():
            raise ArtifactError(f"the service {root} is a link to {os.readlink(root)}; give the path of the directory itself")
        try:
            os.stat(root)
        except FileNotFoundError:
            return False
        if not root.is_dir():
            raise ArtifactError(f"the service {root} is no directory; give the path of a service")
        for name in ("versions", "refused"):
            if (root / name).is_symlink():
                raise ArtifactError(
                    f"{root / name} is a link; let it be a directory, and the service {root} lie where there is room for it"
                )
        return True

    def read(self, name: str) -> str | None:
        """The text of a file; None when it is not there."""
        path = self.place(name)
        if not self.remote:
            try:
                return Path(path).read_text(encoding="utf-8")
            except (FileNotFoundError, NotADirectoryError):
                return None
            except UnicodeDecodeError as error:
                raise ArtifactError(f"{path} is no text ({error}); restore it from a copy") from error
        with _told(path):
            if not tf.io.gfile.exists(path):
                return None
            with tf.io.gfile.GFile(path) as file:
                return str(file.read())

    def write(self, name: str, text: str) -> None:
        """Replaces a file as a whole: whoever reads it sees the old text or the new one, also after a power cut."""
        path = self.place(name)
        if not self.remote:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_file(Path(path), text)
            return
        partial = f"{path}.partial"
        with _told(path):  # its rename copies the object, which appears whole; not all of its file systems truncate what is written again
            tf.io.gfile.makedirs(path.rpartition("/")[0])
            if tf.io.gfile.exists(partial):
                tf.io.gfile.remove(partial)
            with tf.io.gfile.GFile(partial, "w") as file:
                file.write(text)
            tf.io.gfile.rename(partial, path, overwrite=True)

    def names(self, name: str) -> list[str]:
        """Names in a directory, sorted; empty when it is not there, or is a link."""
        path = self.place(name)
        if not self.remote:
            try:
                return [] if os.path.islink(path) else sorted(os.listdir(path))
            except (FileNotFoundError, NotADirectoryError):
                return []
        with _told(path):
            return sorted(entry.rstrip("/") for entry in tf.io.gfile.listdir(path)) if tf.io.gfile.isdir(path) else []

    def is_directory(self, name: str) -> bool:
        """Whether a name is a directory, and no link to one."""
        path = self.place(name)
        if not self.remote:
            return os.path.isdir(path) and not os.path.islink(path)
        with _told(path):
            return bool(tf.io.gfile.isdir(path))

    def is_free(self, name: str) -> bool:
        """Whether nothing is there, or an empty directory."""
        if self.remote:
            return not self.names(name)
        return not os.path.lexists(self.place(name)) or (self.is_directory(name) and not self.names(name))

    def put_tree(self, source: Path, name: str) -> None:
        """Copies a local directory; files are linked where that is possible, since artifacts are never changed."""
        for file in sorted(source.rglob("*")):
            if file.is_file():
                self._copy(str(file), self.place(f"{name}/{file.relative_to(source).as_posix()}"))

    def put_file(self, source: Path, name: str) -> None:
        """Copies a local file, which is on the disk when this returns."""
        if self.remote:
            self._copy(str(source), self.place(name))
            return
        target = Path(self.place(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        with naming(target):
            shutil.copyfile(source, target)
        sync_tree(target.parent)
        sync_directory(target.parent.parent)

    def get_file(self, name: str, target: Path) -> None:
        """Copies a file of the store to a local one."""
        with _told(self.place(name)):
            tf.io.gfile.copy(self.place(name), str(target), overwrite=True)

    def get_tree(self, name: str, target: Path) -> None:
        """Copies a directory of the store to a local one."""
        root = self.place(name)
        with _told(root):
            for directory, _, files in tf.io.gfile.walk(root):
                below = directory[len(root) :].strip("/")
                for file in files:
                    self._copy(f"{directory.rstrip('/')}/{file}", str(target / below / file))

    def _copy(self, source: str, target: str) -> None:
        if self.remote:
            with _told(target):
                tf.io.gfile.makedirs(target.rpartition("/")[0])
                tf.io.gfile.copy(source, target, overwrite=True)
            return
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).unlink(missing_ok=True)
        link_or_copy(source, target)

    def sync(self, name: str) -> None:
        """Has all of a directory on the disk; an object is there when its writing ends."""
        if not self.remote:
            path = Path(self.place(name))
            sync_tree(path)
            sync_directory(path.parent)
            sync_directory(path.parent.parent)

    def remove(self, name: str, *, last: str = "") -> None:
        """Removes a file or directory; it need not be there. Of a link only the link goes, never what it points at.

        Args:
            name: below the root.
            last: name in the directory that goes last.
        """
        path = self.place(name)
        if self.remote:
            with _told(path):
                if tf.io.gfile.isdir(path):
                    tf.io.gfile.rmtree(path)
                elif tf.io.gfile.exists(path):
                    tf.io.gfile.remove(path)
        elif os.path.isdir(path) and not os.path.islink(path):
            remove_tree(Path(path), last=(last,))  # which follows no links, unlike TensorFlow's
        elif os.path.lexists(path):
            os.unlink(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other writers on this file system out. An object store has no lock: let one schedule write to it.

        Raises:
            ArtifactError: another process is writing.
        """
        if self.remote:
            yield
            return
        lock = os.open(self.place(LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise ArtifactError(f"another process is changing what is in service in {self.root}; wait for it, or end it") from error
        finally:
            os.close(lock)


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Turns what TensorFlow's file systems say into one line."""
    try:
        yield
    except tf.errors.OpError as error:
        raise ArtifactError(
            f"{path} cannot be used: {' '.join(str(error.message).split())[:300]}; see to its permissions and its network, and try again"
        ) from error
