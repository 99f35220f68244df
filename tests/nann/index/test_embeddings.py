"""Embeddings that do not fit are refused with the value and the remedy."""

from pathlib import Path

import numpy as np
import pytest

from nann.errors import ArtifactError
from nann.index import load_embeddings


def write(directory: Path, rows: np.ndarray, vectors: np.ndarray) -> None:
    np.save(directory / "item_ids.npy", rows)
    np.save(directory / "item_embs.npy", vectors)


def test_reads_what_was_written(tmp_path: Path) -> None:
    write(tmp_path, np.array([1, 3]), np.eye(2, 5, dtype=np.float32))
    embeddings = load_embeddings(tmp_path)
    assert (len(embeddings), embeddings.dim) == (2, 5)
    assert embeddings.item_rows.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("rows", "vectors", "message"),
    [
        (np.arange(3), np.zeros((2, 4), np.float32), r"\[3\] and \[2, 4\]"),
        (np.arange(0), np.zeros((0, 4), np.float32), "0 items"),
        (np.array([7]), np.array([[np.nan, 0]], np.float32), "item row 7"),
        (np.array([7]), np.array([[np.inf, 0]], np.float32), "1 of 1 items"),
    ],
)
def test_bad_embeddings_are_refused(tmp_path: Path, rows: np.ndarray, vectors: np.ndarray, message: str) -> None:
    write(tmp_path, rows, vectors)
    with pytest.raises(ArtifactError, match=message):
        load_embeddings(tmp_path)


def test_missing_embeddings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="run `nann extract` again"):
        load_embeddings(tmp_path)
