"""Builds the HNSW graph (arXiv 1603.09320) over item vectors with hnswlib, squared Euclidean distance."""

from __future__ import annotations

import struct
from pathlib import Path

import hnswlib
import numpy as np

from data_prep.cores import available_cores
from nann.contents import opening
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
    insert_vectors(index, vectors, threads=threads)
    return index


def load_hnsw(path: Path, *, more: int = 0) -> hnswlib.Index:
    """An index that `save_hnsw` wrote, with the m and ef_construction it was built with.

    Args:
        path: of the file.
        more: vectors to make room for.

    Raises:
        ArtifactError: the file is missing or damaged, or its labels are not 0..N-1.
    """
    with opening(path, "an index of hnswlib", step="build-index"):
        with path.open("rb") as file:  # hnswlib itself does not compare the size of the vectors
            _, _, count, _, label_offset, vector_offset = struct.unpack("<6Q", file.read(48))
        index = hnswlib.Index("l2", (label_offset - vector_offset) // 4)
        index.load_index(str(path), max_elements=count + more)
        if not np.array_equal(np.sort(index.get_ids_list()), np.arange(count)):
            raise ValueError(f"its labels must be 0..{count - 1}, each once")
    return index


def vectors_of(index: hnswlib.Index) -> np.ndarray:
    """[N, D] float32 vectors of an index by label 0..N-1."""
    return np.asarray(index.get_items(np.arange(index.get_current_count()), return_type="numpy"), np.float32)


def insert_vectors(index: hnswlib.Index, vectors: np.ndarray, *, threads: int = 1) -> None:
    """Adds vectors [n, D] float32 to an index of N that has room for them, with the labels N, N + 1, ..."""
    vectors, first = np.ascontiguousarray(vectors, np.float32), index.get_current_count()
    progress = CountProgress("index", len(vectors), of="items")
    for begin in range(0, len(vectors), ITEMS_AT_ONCE):
        added = vectors[begin : begin + ITEMS_AT_ONCE]
        index.add_items(added, np.arange(first + begin, first + begin + len(added), dtype=np.uint64), num_threads=threads)
        progress.update(begin + len(added))


def save_hnsw(index: hnswlib.Index, path: Path) -> None:
    """Writes an index into a file, in hnswlib's own format.

    Raises:
        OSError: not all of it was written; hnswlib itself says nothing.
    """
    index.save_index(str(path))
    written, wanted = path.stat().st_size if path.is_file() else 0, index.index_file_size()
    if written != wanted:
        raise OSError(f"{wanted} requested and {written} written")
