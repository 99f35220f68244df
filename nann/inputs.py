"""Deprecated: this is `nann.dataset.inputs`, and methods of `nann.dataset.Dataset`."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nann.dataset import Dataset
from nann.dataset.inputs import *  # noqa: F403
from nann.dataset.inputs import ModelInput

warnings.warn("nann.inputs is deprecated; import from nann.dataset.inputs instead", DeprecationWarning, stacklevel=2)


def describe_inputs(dataset: Path) -> dict[str, dict[str, Any]]:
    """`Dataset.inputs`."""
    return Dataset(dataset).inputs


def choose_inputs(dataset: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`Dataset.choose_inputs`."""
    return Dataset(dataset).choose_inputs(names)


def load_features(dataset: Path, names: Sequence[str]) -> dict[str, ModelInput]:
    """`Dataset.features`."""
    return Dataset(dataset).features(names)


def request_names(dataset: Path, names: Sequence[str]) -> dict[str, str]:
    """`Dataset.request_names`."""
    return Dataset(dataset).request_names(names)
