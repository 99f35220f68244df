"""Tables of items that change between exports: which ones may be returned, and what is added to their scores.

A file is Parquet (``.parquet``) or CSV with a header: ``item_id``, catalogue ids; ``available``, true or false, or 1 or 0, by default true;
``prior``, an additive logit, by default 0. Items that are not named are available, with a prior of 0; a file of no items says so of all.
"""

from __future__ import annotations

import re
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
        item_ids: [n] int64, or strings as objects, as they stand in the file; distinct.
        available: [n] bool.
        prior: [n] float32, finite.
    """

    item_ids: NDArray[Any]
    available: NDArray[np.bool_]
    prior: NDArray[np.float32]

    def ids_as(self, *, integers: bool) -> NDArray[Any]:
        """Ids [n] as a catalogue has them: int64, or UTF-8 as objects.

        Raises:
            ArtifactError: the catalogue's are integers, and one of these is none of 64 bits.
        """
        if not integers:
            return np.array([str(item_id).encode() for item_id in self.item_ids.tolist()], object)
        found = np.zeros(len(self.item_ids), np.int64)
        for place, item_id in enumerate(self.item_ids.tolist()):
            try:
                found[place] = int(item_id)
            except (ValueError, OverflowError) as error:
                raise ArtifactError(
                    f"the catalogue's ids are 64-bit integers, but the table of items names {item_id!r}; give integers"
                ) from error
        return found

    def require_known(self, known: NDArray[np.bool_], catalogue: object) -> None:
        """Raises ArtifactError where items [n] are named and none of them is in a catalogue."""
        if len(known) and not known.any():
            raise ArtifactError(
                f"the table of items names no item of {catalogue}, the first is {self.item_ids.tolist()[0]!r}; give catalogue ids"
            )

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
        as_text = pyarrow.csv.ConvertOptions(column_types={"item_id": pa.string()})  # not as numbers: they lose zeros and digits
        table = pq.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path, convert_options=as_text)
    names = table.column_names
    if "item_id" not in names or set(names) - set(COLUMNS) or len(set(names)) < len(names):
        raise ArtifactError(f"{path} must have the columns item_id and available or prior, it has {', '.join(names)}; name them so")
    if any(table[name].null_count for name in names):
        raise ArtifactError(f"{path} has rows with nothing in a column, or nan; leave such items out, or say what holds for them")
    try:
        item_ids = _ids(table["item_id"])
        available = _available(table["available"]) if "available" in names else pa.array(np.ones(len(table), bool))
        prior = table["prior"].cast(pa.float32()) if "prior" in names else pa.array(np.zeros(len(table), np.float32))
    except pa.ArrowException as error:
        raise ArtifactError(f"{path}: {error}; item_id holds integers or text, available true or false, prior numbers") from error
    if len(set(item_ids.tolist())) != len(table):
        raise ArtifactError(f"{path} names an item twice; give each one row")
    found = ItemTables(item_ids, np.asarray(available.to_numpy(zero_copy_only=False)), np.asarray(prior.to_numpy(zero_copy_only=False)))
    if not np.isfinite(found.prior).all():
        wrong = found.item_ids[~np.isfinite(found.prior)][0]
        raise ArtifactError(
            f"{path}: the prior of item {wrong} is not finite; set available to false for an item that must not be returned"
        )
    return found


def _ids(column: Any) -> NDArray[Any]:
    """Integers, also where all are written as plain ones, so that 007 stays what it is; else text."""
    if pa.types.is_integer(column.type):
        return np.asarray(column.cast(pa.int64()).to_numpy())
    texts = np.asarray(column.cast(pa.string()).to_numpy(zero_copy_only=False), object)
    if any(not text for text in texts):
        raise pa.ArrowInvalid("an item_id is empty")
    plain = all(re.fullmatch(r"-?[1-9][0-9]{0,17}|0", text) for text in texts)
    return np.array([int(text) for text in texts], np.int64) if plain else texts


def _available(column: Any) -> Any:
    """True or false, also as 1 or 0."""
    if not (pa.types.is_boolean(column.type) or pa.types.is_null(column.type)):
        column = column.cast(pa.int8())
        if not pc.all(pc.is_in(column, pa.array([0, 1], pa.int8()))).as_py():
            raise pa.ArrowInvalid("available holds another number than 1 or 0")
    return column.cast(pa.bool_())
