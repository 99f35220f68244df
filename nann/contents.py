"""Contents of artifacts, opened so that damage is one line: what is read, where it lies, and which step writes it anew.

`data_prep.opening` does it; here errors are `ArtifactError`, and YAML is known.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep import opening as data
from nann.errors import ArtifactError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def opening(path: Path | str, what: str, *, step: str) -> AbstractContextManager[None]:
    """Reading and checking a file within turns damage into an ArtifactError that names the step to run again."""
    return data.opening(path, what, remedy=f"run `nann {step}` again", error=ArtifactError)


def read_json(path: Path, form: Any, what: str, *, step: str) -> Any:
    """The content of a JSON file of an artifact, against its schema (see `nann.forms`).

    Raises:
        ArtifactError: it is missing, no JSON, or has another form.
    """
    return data.read_json(path, form, what, remedy=f"run `nann {step}` again", error=ArtifactError)


def load_array(path: Path, *, step: str) -> NDArray[Any]:
    """The array of a ``.npy`` file, which may hold no Python objects.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    import numpy as np  # the command line opens configs with this module, and starts without numpy

    with opening(path, "a .npy file", step=step):
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            raise ValueError("it is an archive of arrays")
        return loaded


@contextmanager
def without_wildcards(prefix: Path) -> Iterator[Path]:
    """A path of the same directory, or of the same checkpoint, that holds none of ``*?[]\\``.

    TensorFlow takes the path of a checkpoint for a pattern of names. Where it could be one, the files are reached by links in a temporary
    directory.

    Args:
        prefix: a directory, or what the names of a checkpoint's files begin with.
    """
    prefix = Path(os.path.abspath(prefix))
    if not set("*?[]\\") & set(str(prefix)):
        yield prefix
        return
    with tempfile.TemporaryDirectory(prefix="nann-") as directory:
        plain = Path(directory) / "checkpoint"
        if prefix.is_dir():
            plain.symlink_to(prefix)
        elif prefix.parent.is_dir():
            for file in prefix.parent.iterdir():
                if file.name.startswith(f"{prefix.name}."):
                    plain.with_name(plain.name + file.name.removeprefix(prefix.name)).symlink_to(file)
        yield plain


def parse_yaml(text: bytes | str, path: Path | str, what: str, *, remedy: str, error: type[Exception] = ArtifactError) -> Any:
    """The plain values of a YAML text that was read from ``path``; they go to a schema next.

    Raises:
        ArtifactError: or ``error``; it is no YAML.
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as found:
        raise error(f"{path} is not {what} ({data.reason_of(found)}); {remedy}") from found
