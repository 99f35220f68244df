"""What a model knows about one item."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nann.artifacts import open_artifact, require_same_ancestor
from nann.contents import opening
from nann.dataset import Dataset
from nann.explanation.known_items import KnownItems


@dataclass(frozen=True)
class Neighbor:
    """An item that the index links the item to.

    Attributes:
        row: item row.
        distance: squared Euclidean distance of the two vectors.
    """

    row: int
    distance: float


@dataclass(frozen=True)
class Successor:
    """A pair of the memory.

    Attributes:
        row: of the other item.
        value: of the pair, from 0 up.
    """

    row: int
    value: float


@dataclass(frozen=True)
class ItemFacts:
    """What a model knows about one item.

    Attributes:
        row: item row.
        train_count: events of training users.
        share: of all events.
        category_row: 0: none.
        category_id: as in the log; None: none.
        items_in_category: items with this category row.
        in_index: whether it can be retrieved.
        neighbors: that level 0 of the index links it to, nearest first.
        successors: what the memory says follows it, strongest first.
        predecessors: what it follows.
    """

    row: int
    train_count: int
    share: float
    category_row: int
    category_id: int | str | None
    items_in_category: int
    in_index: bool
    neighbors: tuple[Neighbor, ...]
    successors: tuple[Successor, ...]
    predecessors: tuple[Successor, ...]


def item_facts(items: KnownItems, dataset: Path, item_id: Any, *, most: int = 10) -> ItemFacts:
    """Looks an item up.

    Args:
        items: of a converted model.
        dataset: the artifact of `convert` that the model was trained on.
        item_id: catalogue id.
        most: neighbours, successors and predecessors each.

    Raises:
        NannError: the id is not in the catalogue.
        ArtifactError: the dataset is damaged or another one.
    """
    require_same_ancestor("dataset", open_artifact(dataset, step="convert"), items.artifact)
    table, row = Dataset(dataset).items(), int(items.rows_of([item_id])[0])
    position, category = items.position_of(row), int(table.category_rows[row])
    return ItemFacts(
        row=row,
        train_count=int(table.train_counts[row]),
        share=float(table.weights[row]),
        category_row=category,
        category_id=_category_id(dataset, row) if category else None,
        items_in_category=int((table.category_rows[1:] == category).sum()) if category else 0,
        in_index=position is not None,
        neighbors=() if position is None else _neighbors(items, position, most),
        successors=_successors(items, row, most),
        predecessors=() if position is None else _predecessors(items, position, most),
    )


def _category_id(dataset: Path, row: int) -> int | str | None:
    with opening(dataset / "items.parquet", "the table of items", step="convert"):
        found: int | str | None = pq.read_table(dataset / "items.parquet", columns=["category_id"])["category_id"][row - 1].as_py()
        return found


def _neighbors(items: KnownItems, position: int, most: int) -> tuple[Neighbor, ...]:
    embeddings, graph = items.model.corpus
    linked = np.asarray(graph.levels[0].of(position), np.int64)
    distances = np.square(embeddings.vectors[linked] - embeddings.vectors[position]).sum(axis=1)
    order = np.argsort(distances, kind="stable")[:most]
    return tuple(Neighbor(int(embeddings.item_rows[linked[place]]), float(distances[place])) for place in order)


def _successors(items: KnownItems, row: int, most: int) -> tuple[Successor, ...]:
    memory = items.model.memory
    if memory is None:
        return ()
    entries = slice(*memory.row_splits[row : row + 2])
    return _strongest(items.model.corpus[0].item_rows[memory.positions[entries]], memory.values[entries], most)


def _predecessors(items: KnownItems, position: int, most: int) -> tuple[Successor, ...]:
    """Items whose entries lead to a position; categories do not count."""
    memory = items.model.memory
    if memory is None:
        return ()
    entries = np.flatnonzero(memory.positions == position)
    sources = np.searchsorted(memory.row_splits, entries, side="right") - 1
    of_items = sources < len(memory.position_of_row)
    return _strongest(sources[of_items], memory.values[entries[of_items]], most)


def _strongest(rows: NDArray[Any], values: NDArray[np.float32], most: int) -> tuple[Successor, ...]:
    order = np.argsort(-values, kind="stable")[:most]
    return tuple(Successor(int(rows[place]), float(values[place])) for place in order)
