"""Click options made from the fields of a pydantic config model: name, type, default and help have one source.

Types: bool becomes ``--x/--no-x``, Literal a choice, a tuple a comma list, bounded numbers a range; a mapping is passed on as the text
``key=value,key=value``, which its model parses.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click
from annotated_types import Ge, Gt, Le, Lt
from click.core import ParameterSource
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Command = TypeVar("Command", bound=Callable[..., Any])
_SCALARS: dict[Any, click.ParamType] = {int: click.INT, float: click.FLOAT, str: click.STRING, Path: click.Path(path_type=Path)}


class CommaList(click.ParamType):
    """A tuple given as a comma list: ``400,400,200``."""

    name = "list"

    def __init__(self, item: click.ParamType, name: str) -> None:
        self.item = item
        self.name = f"{name},..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Splits at commas and converts every part; passes tuples on."""
        if isinstance(value, (tuple, list)):
            return tuple(value)
        return tuple(self.item.convert(part.strip(), param, ctx) for part in str(value).split(",") if part.strip())


def config_options(model: type[BaseModel]) -> Callable[[Command], Command]:
    """Decorates a command with one option per field of a config model, in the model's order."""

    def decorate(command: Command) -> Command:
        hints = typing.get_type_hints(model)
        for name, field in reversed(model.model_fields.items()):
            command = _option(name, hints[name], field)(command)
        return command

    return decorate


def given_values(context: click.Context, model: type[BaseModel]) -> dict[str, Any]:
    """The fields of a config model that were given on the command line or by an environment variable, not by default."""
    return {
        name: context.params[name]
        for name in model.model_fields
        if name in context.params and context.get_parameter_source(name) not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, None)
    }


def _option(name: str, annotation: Any, field: FieldInfo) -> Callable[[Command], Command]:
    flag = name.replace("_", "-")
    default = field.get_default(call_default_factory=True)
    required = default is PydanticUndefined
    settings: dict[str, Any] = {"help": field.description, "default": None if required else default, "required": required}
    annotation = _without_none(annotation)
    if annotation is bool:
        return click.option(f"--{flag}/--no-{flag}", name, show_default=True, **settings)
    kind = _param_type(annotation, field)
    if isinstance(kind, CommaList) and isinstance(kind.item, click.Choice):
        settings["metavar"] = kind.name  # as they are typed; click would write type names in capitals
    # An empty or missing default says nothing; a tuple is shown as it would be typed.
    shown: bool | str = default not in (None, "", (), {}) and not required
    if shown and isinstance(kind, CommaList):
        settings["default"] = ",".join(str(item) for item in default)
    elif isinstance(kind, CommaList):
        settings["default"] = None
    elif isinstance(default, dict):
        settings.update(default=None, metavar="KEY=VALUE,...")
    return click.option(f"--{flag}", name, type=kind, show_default=shown, **settings)


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [argument for argument in get_args(annotation) if argument is not type(None)]
        if len(rest) == 1:
            return rest[0]
    return annotation


def _param_type(annotation: Any, field: FieldInfo) -> click.ParamType:
    origin = get_origin(annotation)
    if origin is Literal:
        return click.Choice([str(choice) for choice in get_args(annotation)])
    if origin in (tuple, list):
        item = _without_none(get_args(annotation)[0])
        if get_origin(item) is Literal:
            choices = [str(choice) for choice in get_args(item)]
            return CommaList(click.Choice(choices), "|".join(choices))
        return CommaList(_SCALARS.get(item, click.STRING), getattr(item, "__name__", "text"))
    if annotation in (int, float):
        return _ranged(annotation, field)
    return _SCALARS.get(annotation, click.STRING)


class ParsedText(click.ParamType):
    """A text that the field's own function turns into its value, such as a number with a unit."""

    name = "text"

    def __init__(self, parse: Callable[[Any], Any], bounds: click.ParamType) -> None:
        self.parse, self.bounds = parse, bounds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value; a usage error says what is wrong with the text."""
        try:
            parsed = self.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return self.bounds.convert(parsed, param, ctx)


def _ranged(annotation: type, field: FieldInfo) -> click.ParamType:
    """A parser, an IntRange or a FloatRange when the field has one or bounds, so that a bad value is a usage error."""
    parsers = [rule.func for rule in field.metadata if isinstance(rule, BeforeValidator)]
    if parsers:
        return ParsedText(parsers[0], _bounded(annotation, field))  # type: ignore[arg-type]
    return _bounded(annotation, field)


def _bounded(annotation: type, field: FieldInfo) -> click.ParamType:
    bounds: dict[str, Any] = {}
    for rule in field.metadata:
        if isinstance(rule, Ge):
            bounds["min"] = rule.ge
        elif isinstance(rule, Gt):
            bounds.update(min=rule.gt, min_open=True)
        elif isinstance(rule, Le):
            bounds["max"] = rule.le
        elif isinstance(rule, Lt):
            bounds.update(max=rule.lt, max_open=True)
    if not bounds:
        return _SCALARS[annotation]
    if annotation is int:
        # IntRange cannot express open bounds for help well, and the nearest integer is the same rule.
        if bounds.pop("min_open", False):
            bounds["min"] = int(bounds["min"]) + 1
        if bounds.pop("max_open", False):
            bounds["max"] = int(bounds["max"]) - 1
        return click.IntRange(**bounds)
    return click.FloatRange(**bounds)
