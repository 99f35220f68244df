"""Loads the native op library, once, when it is first needed.

The library `libnann_ops.so` is built by CMake and lies beside this file. If it is missing, or was built for another TensorFlow, a warning
says so once and the callers take their stock TensorFlow form; with the environment variable NANN_REQUIRE_NATIVE=1 that is an error.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

LIBRARY_NAME = "libnann_ops.so"
_BUILD_INFO = re.compile(rb"<nann ops built for TensorFlow ([0-9]+\.[0-9]+)[^>]*>")
logger = logging.getLogger(__name__)


def built_for(path: Path) -> str:
    """The TensorFlow version (major.minor) that a library file was built for, or "unknown"; the file is read, not loaded."""
    found = _BUILD_INFO.search(path.read_bytes())
    return found.group(1).decode() if found else "unknown"


def give_up(reason: str, error: Exception | None = None) -> None:
    """Warns that a native library cannot be used.

    Raises:
        RuntimeError: instead of the warning, with NANN_REQUIRE_NATIVE=1.
    """
    message = f"native ops are not available ({reason}); run `make install` to build them"
    if os.environ.get("NANN_REQUIRE_NATIVE", "0") not in {"", "0"}:
        raise RuntimeError(message) from error
    logger.warning("%s; continuing with slower forms", message)


@functools.cache
def load_library() -> Any:
    """The module of the native ops, or None.

    Returns:
        A module with one Python function per op, as from `tf.load_op_library`; None if the library is missing or does not load.

    Raises:
        RuntimeError: the same, with NANN_REQUIRE_NATIVE=1.
    """
    import tensorflow as tf

    with resources.as_file(resources.files("ops") / LIBRARY_NAME) as path:
        if not path.is_file():
            return give_up(f"{path} does not exist")
        running = ".".join(tf.__version__.split(".")[:2])
        if built_for(path) != running:
            return give_up(f"{path} was built for TensorFlow {built_for(path)}, this is {running}")
        try:
            return tf.load_op_library(str(path))
        except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError, OSError) as error:
            return give_up(f"{path} does not load with TensorFlow {tf.__version__}: {str(error).splitlines()[0]}", error)
