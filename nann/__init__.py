"""The deep-retrieval system: model, training, index, beam retrieval, evaluation, benchmark, and one step function per pipeline step.

`import nann` offers the names of `__all__` (docs/python.md). Each is imported when it is first used, and TensorFlow with it.
"""

import importlib
from importlib import metadata
from typing import Any

try:
    __version__ = metadata.version("nann-pipeline")
except metadata.PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0+uninstalled"

_STEPS = ("convert", "train", "extract", "build_index", "rewrite", "evaluate", "benchmark", "report")
_PLACES = {
    "generate": "nann.calls",
    "explain": "nann.calls",
    "Retriever": "nann.serving.retriever",
    "Recommended": "nann.serving.retriever",
    "NannError": "nann.errors",
}
__all__ = [*_STEPS, *_PLACES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _STEPS:
        found = importlib.import_module("nann.calls").call_of(name)
    elif name in _PLACES:
        found = getattr(importlib.import_module(_PLACES[name]), name)
    else:
        raise AttributeError(f"module 'nann' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
