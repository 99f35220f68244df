"""The item vectors that `nann extract` wrote: which items, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nann.contents import load_array
from nann.errors import ArtifactError


@dataclass(frozen=True)
class Embeddings:
    """Item vectors; a *position* 0..N-1 is an index into both arrays.

    Attributes:
        item_rows: [N] int64, the item row (1..) at each position, ascending.
        vectors: [N, D] float32, finite.
    """

    item_rows: np.ndarray
    vectors: np.ndarray

    @property
    def dim(self) -> int:
        """D."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.item_rows)


def load_embeddings(directory: Path) -> Embeddings:
    """Reads ``item_ids.npy`` and ``item_embs.npy`` of an embeddings artifact.

    Raises:
        ArtifactError: a file cannot be read, shapes or types do not fit together, there are no items, item rows do not
            ascend from 1 up, or a value is not finite.
    """
    item_rows, vectors = load_array(directory / "item_ids.npy", step="extract"), load_array(directory / "item_embs.npy", step="extract")
    if item_rows.dtype.kind not in "iu" or vectors.dtype.kind != "f":
        raise ArtifactError(
            f"{directory}: item_ids.npy must hold integers and item_embs.npy floats, but they are {item_rows.dtype} and {vectors.dtype}; "
            "run `nann extract` again"
        )
    if item_rows.ndim != 1 or vectors.ndim != 2 or len(item_rows) != len(vectors):
        raise ArtifactError(
            f"{directory}: item_ids.npy must be [N] and item_embs.npy [N, D], but they are {list(item_rows.shape)} and "
            f"{list(vectors.shape)}; run `nann extract` again"
        )
    if not len(item_rows):
        raise ArtifactError(f"{directory} holds embeddings of 0 items, at least 1 is needed; run `nann extract` on a dataset with items")
    if int(item_rows[0]) < 1 or int(item_rows[-1]) >= 2**31 or not (item_rows[1:] > item_rows[:-1]).all():
        raise ArtifactError(f"{directory}: item_ids.npy must hold item rows from 1 up, each once and ascending; run `nann extract` again")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise ArtifactError(
            f"{directory}: the vectors of {len(bad)} of {len(vectors)} items are not finite (first: item row {item_rows[bad[0]]}); "
            "train again with a lower learning rate, then run `nann extract`"
        )
    return Embeddings(item_rows=item_rows.astype(np.int64), vectors=np.ascontiguousarray(vectors, dtype=np.float32))
