"""Samples of an item's neighbourhood, drawn with numpy where batches are made: never in the training step.

Sampling with replacement to a fixed number (GraphSAGE, arXiv 1706.02216, section 3.1 and algorithm 1): too few neighbours are sampled up,
too many down, and every batch has one shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nann.neighborhood.edges import InteractionGraph

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Rows = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class NeighborhoodShape:
    """How much of a neighbourhood is sampled; all at least 1.

    Attributes:
        items: I, item neighbours.
        users: V, user neighbours.
        user_items: T, items of each user, and as many of one user similar to each.
    """

    items: int
    users: int
    user_items: int

    @property
    def size(self) -> int:
        """S, item rows per sample: I + V T + V T."""
        return self.items + 2 * self.users * self.user_items


class NeighborSampler:
    """Draws neighbourhoods of items.

    Args:
        graph: of the training users.
        shape: of the samples.
    """

    def __init__(self, graph: InteractionGraph, shape: NeighborhoodShape) -> None:
        self.graph, self.shape = graph, shape
        self._cumulative = np.concatenate([np.zeros(1), np.cumsum(graph.near_weights)])

    def sample(self, rng: np.random.Generator, item_rows: Rows, exclude_users: Int64Array | None = None) -> Int32Array:
        """Neighbourhoods of items.

        Args:
            rng: the source of the draws.
            item_rows: [...] item rows 0..N.
            exclude_users: [...] positions of a user for each item, whom the sample must not touch: a training sample's own user, whose
                events would give the target away. None: nobody.

        Returns:
            [..., S] int32 item rows: I item neighbours; then V times T items of a user of the item; then V times T items of another
            user who shares an item with that one. 0 where there is none, where the user is excluded, and for the item itself.
        """
        flat = item_rows.reshape(-1)
        excluded = np.full(len(flat), -1, np.int64) if exclude_users is None else exclude_users.reshape(-1)
        near = self._near(rng, flat)
        users = self._users(rng, np.repeat(flat, self.shape.users).reshape(len(flat), -1))
        users = np.where(users == excluded[:, np.newaxis], -1, users)
        others = self._users(rng, self._items(rng, users, 1)[..., 0])
        others = np.where((others == users) | (others == excluded[:, np.newaxis]), -1, others)
        own, similar = (self._items(rng, some, self.shape.user_items).reshape(len(flat), -1) for some in (users, others))
        sampled = np.concatenate([near, own, similar], axis=1)
        sampled = np.where(sampled == flat[:, np.newaxis], 0, sampled).astype(np.int32)
        return sampled.reshape(*item_rows.shape, self.shape.size)

    def _near(self, rng: np.random.Generator, rows: Rows) -> Int32Array:
        """[n, I] item neighbours of items [n], by weight."""
        graph, count = self.graph, self.shape.items
        first, last = graph.near_splits[rows][:, np.newaxis], graph.near_splits[rows.astype(np.int64) + 1][:, np.newaxis]
        low, high = self._cumulative[first], self._cumulative[last]
        drawn = low + rng.random((len(rows), count)) * (high - low)
        # rounding may lead past either end
        place = np.clip(np.searchsorted(self._cumulative, drawn, side="right") - 1, first, np.maximum(last - 1, first))
        return _taken(graph.near, place, last > first, missing=0)

    def _users(self, rng: np.random.Generator, rows: Rows) -> Int32Array:
        """[...] a user of each item [...], by events; -1 where there is none."""
        place, present = _uniform(rng, self.graph.users_splits, rows, 1)
        return _taken(self.graph.users, place, present, missing=-1)[..., 0]

    def _items(self, rng: np.random.Generator, users: Rows, count: int) -> Int32Array:
        """[..., count] items of each user [...], by events; 0 for user -1."""
        place, present = _uniform(rng, self.graph.items_splits, np.maximum(users, 0), count)
        return _taken(self.graph.items, place, present & (users >= 0)[..., np.newaxis], missing=0)


def _uniform(rng: np.random.Generator, row_splits: Int64Array, rows: Rows, count: int) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
    """Places [..., count] of uniform draws from rows [...], and whether [..., 1] the row has any."""
    first, last = row_splits[rows][..., np.newaxis], row_splits[rows.astype(np.int64) + 1][..., np.newaxis]
    place = first + (rng.random((*rows.shape, count)) * (last - first)).astype(np.int64)
    return place, last > first


def _taken(values: Int32Array, place: Int64Array, present: npt.NDArray[np.bool_], *, missing: int) -> Int32Array:
    if not len(values):
        return np.full(place.shape, missing, np.int32)
    return np.where(present, values[np.minimum(place, len(values) - 1)], missing).astype(np.int32)
