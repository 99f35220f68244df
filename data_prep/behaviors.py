"""Kinds of events: which rows are of a kind that is wanted, and which kinds the log has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa

from data_prep.errors import DataError

MAX_KINDS = 10_000  # a column of more is no kind of event
SHOWN_KINDS = 20
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d{1,3})?")


def kind_key(text: str) -> str:
    """A kind as it is compared: numbers by their value, so that 4, 4.0 and 4.00 are one."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return text
    number = Decimal(text).normalize()
    return str(number + 0 if number else 0)


def select_kinds(batch: Mapping[str, pa.Array], wanted: Sequence[str], *, kept: bool) -> tuple[dict[str, pa.Array], dict[str, int]]:
    """The rows of the kinds that are wanted.

    Args:
        batch: role -> column; ``behavior`` is text.
        wanted: the kinds.
        kept: whether ``behavior`` becomes the place of the kind among those wanted, else it is left out.

    Returns:
        The rows, and how often each kind occurs that the batch has.
    """
    encoded = batch["behavior"].dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    places = {kind_key(kind): place for place, kind in enumerate(wanted)}
    place_of = np.array([*(places.get(kind_key(text), -1) for text in texts), -1], np.int64)
    index = encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
    found = place_of[index]
    seen = dict(zip(texts, np.bincount(index, minlength=len(texts) + 1).tolist(), strict=False))
    columns = {role: column for role, column in batch.items() if role != "behavior"}
    if kept:
        columns["behavior"] = pa.array(np.maximum(found, 0).astype(np.uint8))
    if (found >= 0).all():
        return columns, seen
    rows = pa.array(np.flatnonzero(found >= 0))
    return {role: column.take(rows) for role, column in columns.items()}, seen


def add_kinds(seen: dict[str, int], more: Mapping[str, int]) -> None:
    """Adds the kinds of another batch, up to `MAX_KINDS`."""
    for kind, count in more.items():
        if kind in seen or len(seen) < MAX_KINDS:
            seen[kind] = seen.get(kind, 0) + count


def missing_kinds(seen: Mapping[str, int], wanted: Sequence[str]) -> list[str]:
    """The wanted kinds that never occur."""
    present = {kind_key(kind) for kind in seen}
    return [kind for kind in wanted if kind_key(kind) not in present]


def describe_kinds(seen: Mapping[str, int]) -> str:
    """The kinds of the log, the most frequent first."""
    order = sorted(seen, key=lambda kind: (-seen[kind], kind))
    shown = ", ".join(f"{kind} ({seen[kind]:,})" for kind in order[:SHOWN_KINDS])
    return shown + (", ..." if len(order) > SHOWN_KINDS else "")


def require_kinds(seen: Mapping[str, int], wanted: Sequence[str], source: str, num_kept: int) -> None:
    """Refuses kinds that never occur.

    Args:
        seen: kind -> rows of the log.
        wanted: kinds that must occur.
        source: name of the log, for the message.
        num_kept: rows of other wanted kinds.

    Raises:
        DataError: there is one.
    """
    if missing := missing_kinds(seen, wanted):
        nothing = "" if num_kept else f"no usable row is left of {sum(seen.values()):,} with other behaviors: "
        raise DataError(
            f"{source}: {nothing}the behavior {missing[0]!r} never occurs; the log has {describe_kinds(seen) or 'none'}; "
            "give --behaviors of these"
        )
