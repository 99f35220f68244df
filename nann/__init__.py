"""The deep-retrieval system: model, training, index, beam retrieval, evaluation, benchmark, and one step function per pipeline step."""

from importlib import metadata

try:
    __version__ = metadata.version("nann-pipeline")
except metadata.PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0+uninstalled"
