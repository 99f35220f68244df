"""A sample of ids that is the same in every window: those of the smallest hashes, so that two windows can be compared id by id although
neither keeps all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

HASH_BITS = 48  # a JSON number holds it exactly
KEPT_IDS = 2048


def hash_ids(ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """[n] int64 hashes below 2^48 of integer or text ids, never 0."""
    if np.issubdtype(ids.dtype, np.integer):
        mixed = ids.astype(np.uint64)
        with np.errstate(over="ignore"):  # the finalizer of splitmix64
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9) + np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashed = mixed ^ (mixed >> np.uint64(31))
    else:
        digests = b"".join(hashlib.blake2b(str(text).encode(), digest_size=8).digest() for text in ids)
        hashed = np.frombuffer(digests, np.uint64)
    found: npt.NDArray[np.int64] = np.maximum(hashed >> np.uint64(64 - HASH_BITS), np.uint64(1)).astype(np.int64)
    return found


@dataclass(frozen=True)
class Sketch:
    """The ids of a window whose hashes are below a bound, at most `KEPT_IDS` (k ids).

    Attributes:
        hashes: [k] int64, ascending.
        below: the bound; every id of the window with a hash below it is there.
        counts: [k] int64 events of each; empty where they were not given.
        labels: [k] int64 hash of what belongs to each, 0 for none; empty where it was not given.
    """

    hashes: npt.NDArray[np.int64]
    below: int
    counts: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, hashes: npt.NDArray[np.int64], counts: npt.NDArray[np.int64] | None = None, labels: npt.NDArray[np.int64] | None = None
    ) -> Sketch:
        """Of all ids of a window, given by their hashes [n], each once."""
        order = np.argsort(hashes, kind="stable")
        below = int(hashes[order[KEPT_IDS]]) if len(order) > KEPT_IDS else 1 << HASH_BITS
        kept = order[:KEPT_IDS]
        none = np.zeros(0, np.int64)
        return cls(hashes[kept], below, none if counts is None else counts[kept], none if labels is None else labels[kept])

    @classmethod
    def read(cls, kept: dict[str, Any]) -> Sketch:
        """Of what `as_dict` gave."""
        hashes, counts, labels = (np.asarray(kept[name], np.int64) for name in ("hashes", "counts", "labels"))
        return cls(hashes, int(kept["below"]), counts, labels)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"hashes": self.hashes.tolist(), "below": self.below, "counts": self.counts.tolist(), "labels": self.labels.tolist()}

    def new_share(self, earlier: Iterable[Sketch]) -> float | None:
        """Share of this window's ids that none of the earlier ones has; None where no id can be compared."""
        before = list(earlier)
        below = min([self.below, *(sketch.below for sketch in before)])
        own = self.hashes[self.hashes < below]
        if not before or not len(own):
            return None
        return float(1 - np.isin(own, np.concatenate([sketch.hashes for sketch in before])).mean())

    def shared(self, earlier: Sketch) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Places of the ids that both have: [m] in this one, [m] in the earlier one."""
        _, own, others = np.intersect1d(self.hashes, earlier.hashes, return_indices=True)
        return own, others
