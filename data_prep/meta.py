"""``meta.json`` of a dataset, read; `data_prep.report` says what stands in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from data_prep.errors import DataError
from data_prep.opening import Stored, read_json

META_NAME = "meta.json"
Row = Annotated[int, Field(ge=0, lt=2**31)]
Seconds = Annotated[int, Field(gt=-(2**53), lt=2**53)]


class InputEntry(Stored):
    """An input that models may read."""

    side: Literal["item", "user", "history"]
    num_values: Row | None = None
    values: list[str] = Field(default_factory=list)


class FeatureEntry(Stored):
    """A feature of the records."""

    dtype: Literal["int64", "string", "bytes", "float32", "float"]


class Meta(Stored):
    """``meta.json``, as far as it is read."""

    layout: Literal["user", "sample"]
    max_length: Annotated[int, Field(ge=0, lt=2**24)]
    train_min_length: Row
    num_items: Row
    num_categories: Row
    num_events: Annotated[int, Field(ge=0, lt=2**53)] = 0
    time_range: tuple[Seconds, Seconds] | list[Any] = Field(default_factory=list)
    features: dict[str, dict[str, FeatureEntry]]
    inputs: dict[str, InputEntry] = Field(default_factory=dict)
    behavior_weights: list[tuple[str, float] | list[Any]] = Field(default_factory=list)
    split_time: Seconds | None = None


def read_meta(dataset: Path, *, error: type[Exception] = DataError) -> dict[str, Any]:
    """The content of ``meta.json``.

    Raises:
        DataError: or ``error``; it is missing or damaged.
    """
    meta: dict[str, Any] = read_json(
        dataset / META_NAME, Meta, "the description of a dataset", remedy="run `nann convert` again", error=error
    )
    return meta
