"""What a sweep tries: dotted settings with lists of values or ranges, and the trials drawn from them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nann.config import TrainConfig
from nann.errors import NannError

Settings = dict[str, Any]
SECTION = "train"


class SpaceError(NannError):
    """A space cannot be searched."""


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, drawn evenly, or evenly by their logarithm.

    Attributes:
        low, high: bounds, both included.
        log: draw the logarithm evenly; both bounds are above 0 then.
        whole: draw whole numbers.
    """

    low: float
    high: float
    log: bool
    whole: bool

    def draw(self, rng: np.random.Generator) -> float | int:
        """One number."""
        if self.log:
            value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        elif self.whole:
            return int(rng.integers(int(self.low), int(self.high), endpoint=True))
        else:
            value = float(rng.uniform(self.low, self.high))
        return min(int(self.high), max(int(self.low), round(value))) if self.whole else float(f"{value:.4g}")


Space = dict[str, "list[Any] | Range"]


def parse_space(content: Mapping[str, Any]) -> Space:
    """Reads a space as its YAML file holds it: ``train.OPTION: [value, ...]`` or ``train.OPTION: {low: .., high: .., log: true}``.

    Raises:
        SpaceError: it is empty, a name is no option of training, or a list or range cannot be drawn from; says which and why.
    """
    if not isinstance(content, Mapping) or not content:
        raise SpaceError("a space needs at least one line `train.OPTION: [value, ...]`, it has none")
    return {str(name): _values(str(name), values) for name, values in content.items()}


def _values(name: str, values: Any) -> list[Any] | Range:
    section, _, option = name.partition(".")
    if section != SECTION:
        raise SpaceError(
            f"{name!r} cannot be swept: all trials train on one dataset, so settings must be {SECTION}.OPTION; convert other datasets by "
            "themselves, and use `nann tune` for the search"
        )
    if option not in TrainConfig.model_fields:
        raise SpaceError(f"{name!r} is no option of training; `nann train --help` lists them")
    if isinstance(values, list):
        if not values or len({repr(value) for value in values}) < len(values):
            raise SpaceError(f"{name} must list different values, at least one, not {values!r}")
        return values
    if not (isinstance(values, Mapping) and {"low", "high"} <= set(values) <= {"low", "high", "log"}):
        raise SpaceError(f"{name} must be a list of values, or {{low: .., high: .., log: true|false}}, not {values!r}")
    low, high, log = values["low"], values["high"], bool(values.get("log", False))
    if (
        not all(isinstance(bound, (int, float)) and not isinstance(bound, bool) for bound in (low, high))
        or low >= high
        or (log and low <= 0)
    ):
        raise SpaceError(f"{name}: low must be a number below high, and above 0 with log, but they are {low!r} and {high!r}")
    return Range(low, high, log, whole=isinstance(low, int) and isinstance(high, int))


def grid(space: Space) -> list[Settings]:
    """Every combination of the listed values, the last setting changing fastest.

    Raises:
        SpaceError: a setting is a range.
    """
    for name, values in space.items():
        if isinstance(values, Range):
            raise SpaceError(f"{name} is a range, of which a grid cannot try every value; list values, or use --method random")
    lists = [values for values in space.values() if isinstance(values, list)]
    return [dict(zip(space, combination, strict=True)) for combination in itertools.product(*lists)]


def draw(space: Space, trials: int, seed: int) -> list[Settings]:
    """``trials`` different combinations drawn at random; fewer where the space has no more.

    Args:
        space: what to draw from.
        trials: how many at most.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, Settings] = {}
    for _ in range(100 * trials):  # repeats of lists are drawn again, a space of few combinations ends here
        settings = {
            name: values.draw(rng) if isinstance(values, Range) else values[int(rng.integers(len(values)))]
            for name, values in space.items()
        }
        found.setdefault(repr(settings), settings)
        if len(found) == trials:
            break
    return list(found.values())


def apply(base: TrainConfig, settings: Settings) -> TrainConfig:
    """The training options with a trial's settings in them.

    Raises:
        pydantic.ValidationError: a value breaks a rule.
    """
    return TrainConfig(**{**base.model_dump(), **{name.partition(".")[2]: value for name, value in settings.items()}})
