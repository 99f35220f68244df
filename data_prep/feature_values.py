"""Values of side features: text with any number of values, coded into rows 1..K that a retraining keeps."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from data_prep.opening import opening
from data_prep.vocabulary import Ids, popularity_rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CodedFeature:
    """One feature of n owners (items or users).

    Attributes:
        lists: [n] list<int32> of value rows 1..K, distinct, as listed; an empty list where there is none.
        values: [K] string, in the order of their rows.
        counts: [K] int64, owners with each.
    """

    lists: pa.Array
    values: pa.Array
    counts: pa.Array

    @property
    def owners(self) -> int:
        """Owners with a value."""
        return int(pc.sum(pc.greater(pc.list_value_length(self.lists), 0)).as_py() or 0)


@dataclass(frozen=True)
class FeatureFiles:
    """Whose features a dataset has, and where: `items` or `users`, one file of their lists and one of the values."""

    owners: Literal["items", "users"]
    lists_name: str
    values_name: str

    def write(
        self,
        out_dir: Path,
        texts: Mapping[str, pa.Array],
        source: np.ndarray,
        *,
        separator: str,
        base: Path | None,
        ids: Mapping[str, Ids] | None = None,
    ) -> dict[str, int]:
        """Codes the features and writes both files.

        Args:
            out_dir: directory to write into.
            texts: feature -> [lines] the values of each line, separated.
            source: [n] line of each owner, -1 without.
            separator: between two values.
            base: earlier dataset, whose values keep their rows.
            ids: columns of ids to put before the features.

        Returns:
            Feature -> number of its values, K.
        """
        known = {} if base is None else known_values(base / self.values_name)
        columns = {name: pa.array(column) for name, column in (ids or {}).items()}
        values, sizes = [], {}
        for name, text in texts.items():
            coded = code_values(text, source, separator, known.get(name, []))
            columns[name], sizes[name] = coded.lists, len(coded.values)
            values.append(values_table(name, coded, self.owners))
            having = f"{coded.owners:,} of {len(source):,} {self.owners} have one"
            logger.info("%s: %s values, %s", name, f"{sizes[name]:,}", having)
        pa.parquet.write_table(pa.table(columns), out_dir / self.lists_name, compression="zstd")
        pa.parquet.write_table(pa.concat_tables(values), out_dir / self.values_name, compression="zstd")
        return sizes


def known_values(path: Path) -> dict[str, list[str]]:
    """Feature -> values in the order of their rows, of a file of values as `values_table` makes them; nothing where there is no file."""
    known: dict[str, list[str]] = {}
    if not path.is_file():
        return known
    with opening(path, "a table of features' values", remedy="name a directory made by convert"):
        for row in pa.parquet.read_table(path, columns=["feature", "value"]).to_pylist():
            known.setdefault(row["feature"], []).append(row["value"])
    return known


def values_table(name: str, coded: CodedFeature, owners: str) -> pa.Table:
    """`feature`, `value_row`, `value`, and under the name of the owners how many have it."""
    count = len(coded.values)
    rows = pa.array(np.arange(1, count + 1), pa.int64())
    return pa.table({"feature": [name] * count, "value_row": rows, "value": coded.values, owners: coded.counts})


def code_values(text: pa.Array, source: np.ndarray, separator: str, known: list[str]) -> CodedFeature:
    """Codes the values of every owner; rows go by (owners descending, value ascending), after the known ones.

    Args:
        text: [lines] the values of each line, separated.
        source: [n] line of each owner, -1 without.
        separator: between two values.
        known: values that have rows already.
    """
    per_owner = text.take(pa.array(source, mask=source < 0))
    lists = pc.split_pattern(pc.fill_null(per_owner, ""), separator)
    owners = pc.list_parent_indices(lists).to_numpy()
    flat = pc.utf8_trim_whitespace(pc.list_flatten(lists))
    filled = pc.not_equal(flat, "").to_numpy(zero_copy_only=False)
    owners, encoded = owners[filled], pc.dictionary_encode(flat.filter(pa.array(filled)))
    codes = encoded.indices.to_numpy()
    pairs = owners * max(1, len(encoded.dictionary)) + codes
    _, first = np.unique(pairs, return_index=True)
    first.sort()
    owners, codes = owners[first], codes[first]
    found = encoded.dictionary.to_pylist()
    counts = np.bincount(codes, minlength=len(found))
    new = sorted(set(found) - set(known))
    number = {value: code for code, value in enumerate(found)}
    new_counts = np.array([counts[number[value]] for value in new], np.int64)
    vocabulary = [*known, *(new[place] for place in popularity_rows(new_counts)[0])]
    row_of_value = {value: row for row, value in enumerate(vocabulary, 1)}
    rows = np.array([row_of_value[value] for value in found], np.int32)[codes] if found else np.zeros(0, np.int32)
    splits = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(source)))])
    with_value = np.bincount(rows, minlength=len(vocabulary) + 1)[1:]
    lists = pa.ListArray.from_arrays(pa.array(splits, pa.int32()), pa.array(rows))
    return CodedFeature(lists, pa.array(vocabulary, pa.string()), pa.array(with_value))
