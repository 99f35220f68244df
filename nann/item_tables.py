"""Tables of items that change between exports: which ones may be returned, and what is added to their scores.

A file is Parquet (``.parquet``) or CSV with a header: ``item_id``, catalogue ids; ``available``, true or false, or 1 or 0, by default true;
``prior``, an additive logit, by default 0. Items that are not named are available, with a prior of 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nann.contents import opening
from nann.errors import ArtifactError

COLUMNS = ("item_id", "available", "prior")


@dataclass(frozen=True)
class ItemTables:
    """What a file says of n items.

    Attributes:
        item_ids: [n] int64, or strings as objects; distinct.
        available: [n] bool.
        prior: [n] float32, finite.
    """

    item_ids: NDArray[Any]
    available: NDArray[np.bool_]
    prior: NDArray[np.float32]

    def write(self, path: Path) -> None:
        """Writes all columns as Parquet."""
        values = (self.item_ids, self.available, self.prior)
        pq.write_table(pa.table({name: pa.array(column) for name, column in zip(COLUMNS, values, strict=True)}), path, compression="zstd")


def read_item_tables(path: Path) -> ItemTables:
    """Reads a file.

    Raises:
        ArtifactError: it cannot be read, a column is missing, unknown or of another type, an id is there twice, or a prior is not finite.
    """
    path = Path(path)
    with opening(path, "a table of items", step="publish"):
        table = pq.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)
    names = table.column_names
    if "item_id" not in names or set(names) - set(COLUMNS):
        raise ArtifactError(f"{path} must have the columns item_id and available or prior, it has {', '.join(names)}; name them so")
    if any(table[name].null_count for name in names):
        raise ArtifactError(f"{path} has rows with nothing in a column; leave such items out, or say what holds for them")
    try:
        item_ids = _ids(table["item_id"])
        available = table["available"].cast(pa.bool_()) if "available" in names else pa.array([True]).take(pa.array([0] * len(table)))
        prior = table["prior"].cast(pa.float32()) if "prior" in names else pa.array([0.0], pa.float32()).take(pa.array([0] * len(table)))
    except pa.ArrowInvalid as error:
        raise ArtifactError(f"{path}: {error}; item_id holds integers or text, available true or false, prior numbers") from error
    if len(pc.unique(table["item_id"])) != len(table):
        raise ArtifactError(f"{path} names an item twice; give each one row")
    found = ItemTables(item_ids, np.asarray(available.to_numpy(zero_copy_only=False)), np.asarray(prior.to_numpy(zero_copy_only=False)))
    if not np.isfinite(found.prior).all():
        wrong = found.item_ids[~np.isfinite(found.prior)][0]
        raise ArtifactError(
            f"{path}: the prior of item {wrong} is not finite; set available to false for an item that must not be returned"
        )
    return found


def _ids(column: Any) -> NDArray[Any]:
    if pa.types.is_integer(column.type):
        return np.asarray(column.cast(pa.int64()).to_numpy())
    return np.asarray(column.cast(pa.string()).to_numpy(zero_copy_only=False), object)
