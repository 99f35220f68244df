"""The command `nann-runner`: the native program of that name with the op library beside it, wherever the package is installed."""

from __future__ import annotations

import os
import sys
from importlib import resources
from pathlib import Path


def main() -> None:
    """Becomes the program; adds ``--library`` with the package's own op library where none is given.

    Raises:
        SystemExit: the program was not built.
    """
    program, library = (Path(str(resources.files("ops") / name)) for name in ("nann-runner", "libnann_ops.so"))
    if not program.is_file():
        raise SystemExit(f"error: nann-runner was not built, {program} is not there; run `make install`")
    arguments = sys.argv[1:]
    if arguments and library.is_file() and not {"--library", "--help", "-h"} & set(arguments):
        arguments += ["--library", str(library)]
    os.execv(program, [str(program), *arguments])


if __name__ == "__main__":
    main()
