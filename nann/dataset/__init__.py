"""A dataset artifact in memory: training histories, held-out samples, the items, and what else models read of it.

`Dataset` opens one; the functions `load_...` read one part of the artifact in a directory. `nann.dataset.inputs` describes what a model may
read beside items and categories; `nann.dataset.ready_made` makes a dataset of records that exist already.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nann.dataset.dataset import Dataset
from nann.dataset.histories import Histories
from nann.dataset.items import Items
from nann.dataset.samples import Samples
from nann.dataset.times import times_before, times_of_steps

__all__ = [
    "Dataset",
    "Histories",
    "Items",
    "Samples",
    "load_histories",
    "load_items",
    "load_meta",
    "load_samples",
    "times_before",
    "times_of_steps",
]


def load_meta(dataset: Path) -> dict[str, Any]:
    """`Dataset.meta`."""
    return Dataset(dataset).meta


def load_items(dataset: Path) -> Items:
    """`Dataset.items`."""
    return Dataset(dataset).items()


def load_histories(dataset: Path, *, times: bool = False, inputs: Sequence[str] = ()) -> Histories:
    """`Dataset.histories`."""
    return Dataset(dataset).histories(times=times, inputs=inputs)


def load_samples(dataset: Path, split: str, *, inputs: Sequence[str] = ()) -> Samples:
    """`Dataset.samples`."""
    return Dataset(dataset).samples(split, inputs=inputs)
