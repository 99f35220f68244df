"""What a failing disk says, in words for an operator: which path, what is wrong with it, and what to do."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass

_AGAIN = "then give the same command again"
_REMEDIES = {
    errno.ENOSPC: f"free space on its disk, {_AGAIN}",
    errno.EDQUOT: f"free space of your quota, {_AGAIN}",
    errno.EFBIG: f"raise the limit on the size of files (ulimit -f), {_AGAIN}",
    errno.EMFILE: f"raise the limit on open files (ulimit -n), {_AGAIN}",
    errno.ENFILE: f"close other programs, {_AGAIN}",
    errno.EIO: f"see what the system's log says about its disk, {_AGAIN}",
    errno.ESTALE: f"mount its file system again, {_AGAIN}",
    errno.EINTR: "give the same command again",
    errno.EAGAIN: "give the same command again",
    errno.EROFS: "make its file system writable, or give another path",
    errno.EACCES: "get the permission for it, or give another path",
    errno.EPERM: "get the permission for it, or give another path",
    errno.ENOENT: "give a path that is there",
    errno.ENOTDIR: "a part of the path is a file; give another path",
    errno.EISDIR: "give the path of a file",
    errno.ELOOP: "its links lead in a circle, or are not followed; give another path",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.EXDEV: "give a path on the same file system",
    errno.EBUSY: f"unmount it or close what uses it, {_AGAIN}",
}
# What code that is not Python's own has for a failure of the disk: the system's words within a text.
_BY_WORDS = {os.strerror(code): code for code in (*_REMEDIES, errno.ENOTEMPTY) if code not in (errno.ENOENT, errno.EAGAIN)}
_UNFINISHED = re.compile(r"^\d+ requested and \d+ written$")  # numpy's


@dataclass(frozen=True)
class DiskFailure:
    """A failure of the file system.

    Attributes:
        path: the file it is about; "" when nobody says.
        reason: the system's words.
        remedy: what to do; "" when there is nothing to say.
    """

    path: str
    reason: str
    remedy: str

    def told(self, path: str = "") -> str:
        """One line: path, reason, remedy."""
        place = self.path or path
        return "; ".join(part for part in (f"{place}: {self.reason}" if place else self.reason, self.remedy) if part)


def disk_failure(error: BaseException) -> DiskFailure | None:
    """What an error says about the file system; None when it is about something else.

    Args:
        error: an OSError, or an error of TensorFlow or a native library whose text has the system's words.
    """
    if isinstance(error, OSError):
        names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes, os.PathLike))]
        if error.errno is not None:
            return DiskFailure(" -> ".join(names), os.strerror(error.errno), _REMEDIES.get(error.errno, ""))
        if _UNFINISHED.match(str(error)):
            return DiskFailure("", f"written in part ({error})", f"see whether its disk is full or fails, {_AGAIN}")
    if isinstance(error, (OSError, RuntimeError)) or type(error).__module__.startswith("tensorflow"):
        text = str(error)
        for words, code in _BY_WORDS.items():
            if words in text:
                found = re.search(rf"(/[^\s;:'\"]+)[;:]\s+{re.escape(words)}", text)
                return DiskFailure(found[1] if found else "", words, _REMEDIES.get(code, ""))
    return None
