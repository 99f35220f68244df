"""The series of windows that a check is compared with: statistics of each, in a small file that the next check reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from data_prep.opening import Stored, read_json
from nann.data_checks.compare import Statistics
from nann.data_checks.sketch import HASH_BITS
from nann.errors import ArtifactError
from nann.forms import Count, Digest, Number

SERIES_NAME = "series.json"
SERIES_VERSION = 1

Hash = Annotated[int, Field(ge=0, le=1 << HASH_BITS)]
Seconds = Annotated[int, Field(gt=-(2**53), lt=2**53)]
Counts = Annotated[list[Count], Field(max_length=64)]


class KeptSketch(Stored):
    """Of `Sketch.as_dict`."""

    hashes: list[Hash]
    below: Hash
    counts: list[Count]
    labels: list[Hash]

    @model_validator(mode="after")
    def _of_one_length(self) -> Self:
        if {len(self.counts), len(self.labels)} - {0, len(self.hashes)}:
            raise ValueError("counts and labels must be as many as hashes, or none")
        return self


class KeptItems(KeptSketch):
    """The sketch of items: each has a count and a label."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not len(self.counts) == len(self.labels) == len(self.hashes):
            raise ValueError("counts and labels must be as many as hashes")
        return self


class KeptSketches(Stored):
    """Samples of the ids of a window; of users only where they are known."""

    __pydantic_extra__: dict[str, KeptSketch]
    items: KeptItems
    categories: KeptSketch


class KeptCounts(Stored):
    """Events and users of a window by what they have in common."""

    hours: Counts | None
    kinds: dict[str, Count] | None
    categories: dict[str, Count]
    popularity: Counts
    activity: Counts


class KeptFigures(Stored):
    """Those figures that cannot do without; others are numbers, too, and may be absent."""

    __pydantic_extra__: dict[str, Number | None]
    span_hours: Number | None


class KeptWindow(Stored):
    """Of `window_statistics`, with the digest of the window's dataset."""

    dataset: Digest
    range: Annotated[list[Seconds], Field(min_length=2, max_length=2)] | None
    types: dict[str, str]
    figures: KeptFigures
    counts: KeptCounts
    sketches: KeptSketches


class Series(Stored):
    """``series.json``."""

    version: int
    windows: list[Any]


class SeriesOfWindows(Series):
    """``series.json`` of this version."""

    windows: list[KeptWindow]


def read_series(paths: Sequence[Path], *, besides: str) -> list[dict[str, Any]]:
    """Statistics of the earlier windows, oldest first, each once.

    Args:
        paths: files that `series_of` describes, in the order of time.
        besides: digest of a dataset that is left out: the window that is checked.

    Raises:
        ArtifactError: one is none.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        remedy = "name what `nann check-data` wrote"
        version = read_json(path, Series, "a series of windows", remedy=remedy, error=ArtifactError)["version"]
        if version != SERIES_VERSION:
            raise ArtifactError(f"{path} is of version {version}, this code reads {SERIES_VERSION}; check its windows again")
        kept = read_json(path, SeriesOfWindows, "a series of windows", remedy=remedy, error=ArtifactError)
        found |= {window["dataset"]: window for window in kept["windows"]}
    found.pop(besides, None)
    return sorted(found.values(), key=lambda window: window["range"][1] if window["range"] else 0)


def series_of(windows: Sequence[Statistics], keep: int) -> dict[str, Any]:
    """The contents of a series file: ``version`` and ``windows``, the last ``keep`` ones."""
    return {"version": SERIES_VERSION, "windows": list(windows[-keep:])}
