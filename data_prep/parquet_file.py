"""Which columns of a Parquet file to read, fields of structs included."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from data_prep.columns import Layout, locate
from data_prep.errors import DataError

EXACT_FLOATS_32 = 1 << 24  # whole numbers up to here are exact as floats of 32 bits
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ParquetFormat:
    """How to read one file.

    Attributes:
        source: the file, for messages.
        paths: role -> column, as a path of names.
        types: role -> type.
        num_rows: of the file.
    """

    source: str
    paths: dict[str, tuple[str, ...]]
    types: dict[str, pa.DataType]
    num_rows: int

    @property
    def columns(self) -> list[str]:
        """What to ask the file for."""
        return sorted({".".join(path) for path in self.paths.values()})

    def read(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """Role -> column of a batch."""
        found = {}
        for role, path in self.paths.items():
            column = batch.column(path[0])
            for name in path[1:]:
                column = pc.struct_field(column, name)
            found[role] = column
        return found

    def require_exact(self, columns: Mapping[str, pa.Array]) -> None:
        """Refuses ids and times that lost digits as floats of 32 bits.

        Raises:
            DataError: a column holds such.
        """
        for role, column in columns.items():
            if role == "behavior" or not pa.types.is_float32(column.type):
                continue
            finite = pc.filter(column, pc.is_finite(column))
            if (pc.max(pc.abs(finite)).as_py() or 0) > EXACT_FLOATS_32:
                raise DataError(
                    f"{self.source}: column {'.'.join(self.paths[role])!r} ({role}) holds floats of 32 bits above 2^24, which lost digits; "
                    "write it as integers (pandas: astype('Int64')), or from the source as floats of 64 bits"
                )


def _fields(field: pa.Field, above: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], pa.DataType]]:
    path = (*above, field.name)
    inner = [found for place in range(field.type.num_fields) for found in _fields(field.type.field(place), path)]
    return [(path, field.type), *(inner if pa.types.is_struct(field.type) else [])]


def inspect_parquet(path: Path, mapping: Mapping[str, str], layout: Layout, skip: frozenset[str]) -> ParquetFormat:
    """Decides which columns to read.

    Args:
        path: the file.
        mapping: role -> column name, with dots for fields of structs, or position; empty for ``layout``.
        layout: the default layout.
        skip: roles that need not be read.

    Raises:
        DataError: a column does not exist, or is of a type that holds no ids or times.
    """
    with pa.parquet.ParquetFile(path) as file:
        schema, num_rows = file.schema_arrow, file.metadata.num_rows
    tops = [((field.name,), field.type) for field in schema]
    nested = [found for field in schema for found in _fields(field)[1:]]
    known = [*tops, *nested]
    positions = locate([".".join(names) for names, _ in known], len(tops), mapping, layout, str(path))
    wanted = {role: known[position] for role, position in positions.items() if role not in skip}
    logger.info("%s: Parquet, %s", path.name, ", ".join(f"{role} = {'.'.join(names)}" for role, (names, _) in wanted.items()))
    for role, (names, kind) in wanted.items():
        if not _usable(kind, role):
            raise DataError(f"{path}: column {'.'.join(names)!r} ({role}) is of type {kind}; it must hold {_wanted_types(role)}")
    return ParquetFormat(
        str(path), {role: names for role, (names, _) in wanted.items()}, {role: kind for role, (_, kind) in wanted.items()}, num_rows
    )


def _wanted_types(role: str) -> str:
    return "numbers, dates, timestamps or text" if role == "time" else "integers or strings"


def _usable(kind: pa.DataType, role: str) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    types = pa.types
    texts = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_binary,
        types.is_large_binary,
        types.is_fixed_size_binary,
    )
    numbers = (types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    if any(is_kind(kind) for is_kind in (*texts, *numbers)):
        return True
    if role == "time":
        return bool(types.is_timestamp(kind) or types.is_date(kind))
    return bool(types.is_boolean(kind)) and role not in ("user", "item", "category")
