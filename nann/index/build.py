"""Builds the HNSW graph (arXiv 1603.09320) over item vectors with hnswlib, squared Euclidean distance."""

from __future__ import annotations

from pathlib import Path

import hnswlib
import numpy as np

from data_prep.cores import available_cores
from nann.progress import CountProgress

BYTE_IDENTICAL_ITEMS = 100_000  # up to here one thread takes a minute or two
ITEMS_AT_ONCE = 5000  # between two looks at the clock


def build_threads(threads: int, items: int) -> int:
    """Threads to build with: as asked, or with 0 one for `BYTE_IDENTICAL_ITEMS` items and fewer, and every core above."""
    return threads or (1 if items <= BYTE_IDENTICAL_ITEMS else available_cores())


def build_hnsw(vectors: np.ndarray, *, m: int, ef_construction: int, threads: int = 1, seed: int = 1) -> hnswlib.Index:
    """An hnswlib index whose labels are the positions 0..N-1 of the vectors.

    Args:
        vectors: [N, D] float32, N >= 1, D >= 1, all finite. Equal vectors are allowed.
        m: M of the paper: links per node above level 0, half of those at level 0; at least 2.
        ef_construction: size of the candidate list while inserting.
        threads: insertion threads. With one, equal input gives a byte-identical index; with more, insertion order and links vary.
        seed: of the level drawn for each node.

    Raises:
        ValueError: the shape is not [N, D] with N and D at least 1, a value is not finite, or m is below 2.
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or 0 in vectors.shape:
        raise ValueError(f"vectors must be [N, D] with N and D at least 1, got shape {list(vectors.shape)}")
    if not np.isfinite(vectors).all():
        raise ValueError("vectors must be finite; distances to a NaN or infinite vector have no order")
    if m < 2:
        raise ValueError(f"m must be at least 2, got {m}; with 1 the levels have no finite expected height")
    count, dim = vectors.shape
    index = hnswlib.Index("l2", dim)
    index.init_index(max_elements=count, M=m, ef_construction=ef_construction, random_seed=seed)
    progress = CountProgress("index", count, of="items")
    for begin in range(0, count, ITEMS_AT_ONCE):
        added = vectors[begin : begin + ITEMS_AT_ONCE]
        index.add_items(added, np.arange(begin, begin + len(added), dtype=np.uint64), num_threads=threads)
        progress.update(begin + len(added))
    return index


def save_hnsw(index: hnswlib.Index, path: Path) -> None:
    """Writes an index into a file, in hnswlib's own format.

    Raises:
        OSError: not all of it was written; hnswlib itself says nothing.
    """
    index.save_index(str(path))
    written, wanted = path.stat().st_size if path.is_file() else 0, index.index_file_size()
    if written != wanted:
        raise OSError(f"{wanted} requested and {written} written")
