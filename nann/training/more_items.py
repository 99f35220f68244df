"""A trained model of a catalogue that has grown: the weights are the earlier ones, the new items have no embedding of their own.

Rows of zeros in the table of items are what training shows of an item that it knows by its category and features alone (``id_dropout``).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from nann.dataset import Dataset
from nann.errors import ArtifactError
from nann.memory.table import MemoryTable, load_memory
from nann.models import build_model, config_of, describe_model, save_model
from nann.training.step import trained_variables
from nann.training.warm_start import carry_over, load_earlier_model, save_optimizer
from ops.optimizers import LazyAdamW

CHANGED = ("config.json", "weights.", "optimizer.", "memory.npz", "memory.json")  # what names of files that are written anew begin with


def write_with_items(model: Path, data: Dataset, directory: Path, *, allow_own: bool = False) -> None:
    """Writes ``config.json``, ``weights.*``, and the optimizer and the memory where the model has them.

    Args:
        model: directory of the earlier model.
        data: its dataset, to which items were added.
        directory: to write into.
        allow_own: see `nann.models.load_model`.

    Raises:
        ArtifactError: the model cannot be read, or knows other categories than the dataset.
    """
    earlier, config, described = load_earlier_model(model, allow_own=allow_own), config_of(model), describe_model(model)
    sizes = {name: int(data.meta[name]) for name in ("num_items", "num_categories")}
    if sizes["num_categories"] != described["num_categories"] or sizes["num_items"] < described["num_items"]:
        raise ArtifactError(
            f"{model} knows {described['num_items']} items and {described['num_categories']} categories, the dataset {data.path} has "
            f"{sizes['num_items']} and {sizes['num_categories']}; add items to the dataset that the model was trained on"
        )
    scorer = build_model(config, **sizes, features=data.features(config.inputs))
    scorer.item_embedding.item_table.scale(0.0)
    optimizer = None if earlier.optimizer is None else LazyAdamW(trained_variables(scorer))
    carry_over(earlier, scorer, optimizer)
    save_model(scorer, directory, config=config, max_length=int(described["max_length"]), keep_moments=optimizer is not None)
    if optimizer is not None:
        save_optimizer(optimizer, directory)
    memory = load_memory(model)
    if memory is not None:
        _of_more_items(memory, sizes["num_items"]).save(directory)


def _of_more_items(memory: MemoryTable, num_items: int) -> MemoryTable:
    """The memory of as many items, of the new ones without an entry and without an event."""
    more = num_items + 1 - len(memory.item_counts)
    return replace(
        memory,
        row_splits=np.append(memory.row_splits, np.full(more, memory.row_splits[-1])),
        totals=np.append(memory.totals, np.zeros(more)),
        item_counts=np.append(memory.item_counts, np.zeros(more, memory.item_counts.dtype)),
    )
