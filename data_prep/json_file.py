"""Reads JSON lines into Arrow columns: by Arrow where all values of a block are of the sampled types, else line by line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json

from data_prep.columns import Layout, locate
from data_prep.csv_file import PIECE_BYTES, ParsedBlock
from data_prep.errors import DataError
from data_prep.text_stream import sample_text

_BOM = b"\xef\xbb\xbf"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JsonFormat:
    """How to read one file.

    Attributes:
        source: the file, for messages.
        keys: role -> key, as a path of keys.
        schema: Arrow types of the keys as sampled; None where they differ from line to line.
        skip_bytes: of a byte order mark.
        rows: the sampled objects.
    """

    source: str
    keys: dict[str, tuple[str, ...]]
    schema: pa.Schema | None
    skip_bytes: int
    rows: tuple[Mapping[str, Any], ...] = ()


def is_json(path: Path, encoding: str) -> bool:
    """Whether a text file holds JSON objects, one a line.

    Raises:
        DataError: it is one JSON array, or no text.
    """
    text = sample_text(path, encoding).removeprefix(_BOM).lstrip()
    if text[:1] == b"[" and text[1:].lstrip()[:1] in (b"{", b""):
        raise DataError(f"{path} is one JSON array; write one object per line (jq -c '.[]')")
    return text[:1] == b"{"


def inspect_json(path: Path, mapping: Mapping[str, str], layout: Layout, skip: frozenset[str], encoding: str) -> JsonFormat:
    """Decides from a file's first lines which keys to read, and as what.

    Args:
        path: the file.
        mapping: role -> key, with dots for keys of keys; empty for ``layout``.
        layout: the default layout.
        skip: roles that need not be read.
        encoding: of the text.

    Raises:
        DataError: a key does not occur, or no line is a JSON object.
    """
    text = sample_text(path, encoding)
    rows = [row for row in map(_object, text.removeprefix(_BOM).splitlines()) if row is not None]
    if not rows:
        raise DataError(f"{path} begins like JSON, but none of its first lines is a JSON object; write one object per line")
    paths = dict.fromkeys(path for row in rows for path in _paths(row))
    names = [".".join(path) for path in paths]
    positions = locate(names, 0, mapping, layout, str(path))
    keys = {role: list(paths)[position] for role, position in positions.items() if role not in skip}
    _require_values(path, keys, rows)
    if keys:  # none where the keys alone are asked for
        logger.info("%s: JSON lines, %s", path.name, ", ".join(f"{role} = {'.'.join(key)}" for role, key in keys.items()))
    return JsonFormat(str(path), keys, _schema(keys.values(), rows), 3 if text.startswith(_BOM) else 0, tuple(rows))


def _require_values(path: Path, keys: Mapping[str, tuple[str, ...]], rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuses keys that mostly hold lists or objects.

    Raises:
        DataError: one does.
    """
    for role, key in keys.items():
        values = [value for row in rows if (value := _get(row, key)) is not None]
        for kind, name in ((dict, "objects"), (list, "lists")):
            if 2 * sum(isinstance(value, kind) for value in values) > len(values):
                remedy = f"name a key in them, such as {role}={'.'.join(key)}.id" if kind is dict else "write one line per value"
                raise DataError(f"{path}: {'.'.join(key)!r} ({role}) holds {name}; {remedy}")


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _paths(row: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterable[tuple[str, ...]]:
    for key, value in row.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))


def _get(row: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = row
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _schema(keys: Iterable[tuple[str, ...]], rows: list[dict[str, Any]]) -> pa.Schema | None:
    """Types by which Arrow reads the keys; None where they are mixed or unusual."""
    tree: dict[str, Any] = {}
    for path in set(keys):
        kinds = {type(value) for row in rows if (value := _get(row, path)) is not None}
        types = {int: pa.int64(), str: pa.string(), float: pa.float64()}
        if len(kinds) != 1 or (kind := kinds.pop()) not in types or (kind is str and any("\0" in str(_get(row, path)) for row in rows)):
            return None
        branch = tree
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
            if not isinstance(branch, dict):
                return None
        branch[path[-1]] = types[kind]
    return pa.schema(_fields(tree))


def _fields(tree: Mapping[str, Any]) -> list[pa.Field]:
    return [pa.field(key, pa.struct(_fields(kind)) if isinstance(kind, dict) else kind) for key, kind in tree.items()]


def parse_json(block: bytes | memoryview, form: JsonFormat) -> ParsedBlock:
    """Reads a block of whole lines.

    Args:
        block: the text.
        form: how to read it.
    """
    block = bytes(block)
    if form.schema is not None and (quick := _by_arrow(block, form)) is not None:
        return quick
    half = len(block) // 2
    cut = block.rfind(b"\n", 0, half)
    if form.schema is not None and len(block) > PIECE_BYTES and 0 < cut < len(block) - 1:
        parsed = parse_json(block[: cut + 1], form)
        parsed.extend(parse_json(block[cut + 1 :], form))
        return parsed
    return _line_by_line(block, form)


def _by_arrow(block: bytes, form: JsonFormat) -> ParsedBlock | None:
    try:
        table = pa.json.read_json(
            pa.BufferReader(block),
            pa.json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            pa.json.ParseOptions(explicit_schema=form.schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != sum(1 for line in block.splitlines() if line.strip()):  # an object over several lines, or two in one
        return None
    columns: dict[str, list[pa.Array]] = {}
    for role, path in form.keys.items():
        column = table.column(path[0]).combine_chunks()
        for key in path[1:]:
            column = pa.compute.struct_field(column, key)
        columns[role] = [column]
    return ParsedBlock(columns=columns, num_rows=table.num_rows)


def _line_by_line(block: bytes, form: JsonFormat) -> ParsedBlock:
    values: dict[str, list[str | None]] = {role: [] for role in form.keys}
    parsed = ParsedBlock()
    for line in block.splitlines():
        if not line.strip():
            continue
        parsed.num_rows += 1
        row = _object(line)
        if row is None:
            parsed.example = parsed.example or line.decode("utf-8", errors="replace")
            parsed.no_rows += 1
            continue
        for role, path in form.keys.items():
            values[role].append(_as_text(_get(row, path)))
    parsed.columns = {role: [pa.array(column, pa.string())] for role, column in values.items()}
    return parsed


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return None if value is None else value.encode("utf-8", errors="replace").decode()
    if isinstance(value, float):
        return None if value != value else str(int(value)) if value.is_integer() and abs(value) < 1 << 53 else repr(value)
    return json.dumps(value)
