"""Configs from three sources: the defaults of the pydantic models, a YAML file with a section per step, and flags or ``--set``.

Later sources win. Unknown sections and keys are refused by name, before any step starts.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from components.errors import ConfigError, validation_message
from data_prep.opening import shown
from nann.contents import parse_yaml
from nann.steps.table import CONFIGS, load_object


def read_config_file(path: Path | None) -> dict[str, dict[str, Any]]:
    """Reads a YAML config file into section -> field -> value; empty without a path.

    Raises:
        ConfigError: the file is not YAML, or has a section or a key that no step knows.
    """
    if path is None:
        return {}
    content = parse_yaml(path.read_bytes(), path, "a YAML file", remedy="write a section per step", error=ConfigError)
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold one section per step (such as `train:`), but it holds {shown(content)}")
    sections = {}
    for name, values in content.items():
        if name not in CONFIGS:
            raise ConfigError(f"{path}: no step is called {name!r}{_suggestion(str(name), CONFIGS)}")
        values = {} if values is None else values
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: section {name!r} must hold `option: value` lines, but it holds {shown(values)}")
        sections[name] = {_field_name(name, str(key), source=str(path)): value for key, value in values.items()}
    return sections


def read_space(path: Path) -> dict[str, Any]:
    """Reads the space of a sweep: a YAML file of dotted settings; what may stand in it is `nann.sweeping.space`'s to say.

    Raises:
        ConfigError: the file is not YAML, or no mapping.
    """
    content = parse_yaml(path.read_bytes(), path, "a YAML file", remedy="write lines `train.OPTION: [value, ...]`", error=ConfigError)
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold lines `train.OPTION: [value, ...]`, but it holds {shown(content)}")
    return content


def parse_assignments(assignments: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Turns ``train.epochs=1`` into section -> field -> value; values are read as YAML, a comma list for tuples.

    Raises:
        ConfigError: an assignment is malformed, or names an unknown step or option.
    """
    sections: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        target, equals, text = assignment.partition("=")
        section, dot, key = target.strip().partition(".")
        if not (equals and dot and key):
            raise ConfigError(f"--set needs STEP.OPTION=VALUE (such as train.epochs=1), but it is {assignment!r}")
        if section not in CONFIGS:
            raise ConfigError(f"--set {assignment}: no step is called {section!r}{_suggestion(section, CONFIGS)}")
        field = _field_name(section, key, source=f"--set {assignment}")
        value = parse_yaml(text, f"--set {assignment}", "a setting", remedy="write its value as YAML", error=ConfigError)
        if _is_sequence(section, field) and not isinstance(value, list):
            value = [part.strip() for part in text.split(",")]
        sections.setdefault(section, {})[field] = value
    return sections


def make_config(section: str, *sources: Mapping[str, Any]) -> BaseModel:
    """Builds the config of one step from field -> value sources, later ones winning.

    Raises:
        ConfigError: a value breaks a rule of the model; the message names section, field, rule and value.
    """
    merged: dict[str, Any] = {}
    for source in sources:
        merged.update(source)
    try:
        made: BaseModel = load_object(CONFIGS[section])(**merged)
    except ValidationError as error:
        raise ConfigError(validation_message(error, section)) from error
    return made


def _field_name(section: str, key: str, *, source: str) -> str:
    fields = load_object(CONFIGS[section]).model_fields
    name = key.strip().replace("-", "_")
    if name not in fields:
        raise ConfigError(f"{source}: {section} has no option {key!r}{_suggestion(name, fields)}")
    return name


def _is_sequence(section: str, field: str) -> bool:
    annotation = load_object(CONFIGS[section]).model_fields[field].annotation
    return getattr(annotation, "__origin__", None) in (tuple, list)


def names_meant(name: str, known: Iterable[str]) -> list[str]:
    """The names that may be meant: one spelt almost so, or those with its initials, or with a word of it, or one spelt alike."""
    names = list(known)
    meant = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
    meant = meant or [other for other in names if "".join(word[0] for word in other.split("_")) == name]
    return meant or [other for other in names if _shares_a_word(name, other)] or difflib.get_close_matches(name, names, n=1)


def _suggestion(name: str, known: Iterable[str]) -> str:
    """The names that may be meant, or else all."""
    names = list(known)
    meant = names_meant(name, names)
    return f"; did you mean {' or '.join(map(repr, meant))}?" if meant else f"; known: {', '.join(sorted(names))}"


def _shares_a_word(name: str, other: str) -> bool:
    words = [word for word in name.split("_") if len(word) > 2]
    return any(theirs.startswith(word) or word.startswith(theirs) for word in words for theirs in other.split("_") if len(theirs) > 2)
