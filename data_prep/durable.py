"""Files and directories that are put in place as a whole, and are on the disk before anything says that they are complete.

A rename replaces a file at once; a directory is exchanged with another one at once, where the file system can (Linux,
``renameat2`` with ``RENAME_EXCHANGE``). A rename may reach the disk before the bytes it names, so these are synced first, and the
directory after it. Nothing here follows a link: what a link points at is neither written nor removed.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

RENAME_EXCHANGE = 2
_CURRENT_DIRECTORY = -100  # AT_FDCWD
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)
_CANNOT_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Gives an OSError that names no file the path that was being written: a full disk is told by a descriptor alone."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def partial_path(path: Path) -> Path:
    """Where a file or directory is written before it is put in place: ``.NAME.partial`` beside it."""
    return path.with_name(f".{path.name}.partial")


def remove_leftover(path: Path) -> bool:
    """Removes a file that a killed process was about to put in place of another one; whether it was one."""
    if path.name.startswith(".") and path.suffix == ".partial" and path.is_file():
        path.unlink()
        return True
    return False


def write_file(path: Path, content: str | bytes) -> None:
    """Writes a file so that whoever reads it sees the old content or the new one, also after a power cut.

    Args:
        path: the file; its directory must exist.
        content: all of it; text is UTF-8.
    """
    with replaced_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replaced_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file to write into, which takes the place of ``path`` at a clean exit; without one, nothing is left.

    Raises:
        IsADirectoryError: ``path`` is a directory.
    """
    if path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    partial = partial_path(path)
    partial.unlink(missing_ok=True)  # of a process that was killed; a link goes, not what it points at
    try:
        with naming(path), open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Gives a file a second path: a hard link, or a copy on another file system and on one without hard links.

    Raises:
        OSError: neither can be, or ``target`` is there.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        with naming(target):
            shutil.copy2(source, target)


def sync_directory(directory: Path) -> None:
    """Has the names in a directory on the disk; file systems that cannot sync a directory order names themselves."""
    _sync(directory, os.O_RDONLY | os.O_DIRECTORY)


def sync_tree(directory: Path) -> None:
    """Has all files below a directory, and all names, on the disk."""
    for place, _, files in os.walk(directory):
        for name in files:
            file = Path(place, name)
            if not file.is_symlink():
                _sync(file, os.O_RDONLY)
        sync_directory(Path(place))


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        with naming(path):
            os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_EXCHANGE:
            raise
    finally:
        os.close(descriptor)


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    """The C library's function; None where it has none."""
    function: Any = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
        function.restype = ctypes.c_int
    return function  # type: ignore[no-any-return]


def exchange(one: Path, other: Path) -> bool:
    """Exchanges the names of two files or directories of one file system at once; False where the system cannot, and nothing was done.

    Raises:
        OSError: one of them is not there, or may not be renamed.
    """
    function = _renameat2()
    if function is None:
        return False
    if function(_CURRENT_DIRECTORY, os.fsencode(one), _CURRENT_DIRECTORY, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


def remove_tree(directory: Path, last: Collection[str] = ()) -> None:
    """Removes a directory and what is in it; of a link in it only the link goes.

    Args:
        directory: a directory, no link.
        last: names in it that go after everything else: files that say whose directory it is, for a removal that is killed.
    """
    entries = list(os.scandir(directory))
    for entry in (entry for entry in entries if entry.name not in last):
        _remove(entry)
    for entry in (entry for entry in entries if entry.name in last):
        _remove(entry)
    os.rmdir(directory)


def _remove(entry: os.DirEntry[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        try:
            shutil.rmtree(entry.path)
        except OSError as error:  # its names are those within the directories that it is in
            error.filename = entry.path
            raise
    else:
        os.unlink(entry.path)
