"""What a replay keeps of a window until all are done: a file per window and method, with a schema for whoever goes on after a kill."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, create_model

from data_prep.opening import Stored, read_json
from nann.errors import ArtifactError
from nann.forms import Count, Number

PARTS = ("recall", "standard_error", "recall_known", "recall_new", "recall_older")
SIMPLE = ("popularity_6h", "popularity_24h", "item_cf_48h")
Value = Count | Number
Age = Annotated[str, Field(pattern="^[0-9]{1,6}$")]
Passes = Annotated[str, Field(pattern="^[1-9][0-9]{0,6}$")]


class Part(Stored):
    """Of `recall_parts`."""

    __pydantic_extra__: dict[str, Value | None]
    users: Count
    known: Count
    new: Count


class Answers(Stored):
    """A method in a window, but for its recall."""

    wall_seconds: Number
    processor_seconds: Number
    steps: Count
    samples: Count
    table_bytes: Count
    item_rows: Count = 0
    epochs: Value
    weight: Number
    held_out: dict[Age, dict[str, Value]]
    epochs_tried: Annotated[dict[Passes, Number], Field(min_length=1)] = Field(default_factory=dict)


def part_of(ks: Sequence[int]) -> Any:
    """The schema of recall in parts that has every one of the list lengths."""
    names = {f"{name}@{k}" for name in PARTS for k in ks}

    def has_all(part: Part) -> Part:
        if missing := names - set(part.__pydantic_extra__ or {}):
            raise ValueError(f"it has no {min(missing)}")
        return part

    return Annotated[Part, AfterValidator(has_all)]


def simple_of(ks: Sequence[int]) -> Any:
    """The schema of what simple methods reached."""
    return _of_names(SIMPLE, part_of(ks))


def answers_of(ks: Sequence[int], weights: Sequence[float]) -> Any:
    """The schema of what a method reached, by weight of its score, too."""
    part = part_of(ks)
    by_weight = _of_names([str(weight) for weight in weights], Number)
    return create_model("AnswersOfAll", __base__=Answers, recall=(part, ...), prior_alone=(part, ...), weights=(by_weight, ...))


def read_kept(path: Path, form: Any) -> Any:
    """The content of a file that was kept.

    Raises:
        ArtifactError: it is damaged.
    """
    return read_json(path, form, "a window of a replay", remedy="remove it, and run `nann replay` again", error=ArtifactError)


def _of_names(names: Sequence[str], form: Any) -> Any:
    def has_all(found: dict[str, Any]) -> dict[str, Any]:
        if set(found) != set(names):
            raise ValueError(f"it must have {', '.join(names)}")
        return found

    return Annotated[dict[str, form], AfterValidator(has_all)]
