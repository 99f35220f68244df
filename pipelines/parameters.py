"""The options of steps and the parameters of pipelines, from a file and the command line, refused before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from components.configs import make_config, parse_assignments, read_config_file
from components.errors import ConfigError
from nann.contents import parse_yaml
from nann.steps.table import CONFIGS, STEPS, STEPS_OF
from nann.train_config import trust_named_class


def resolve_configs(config_file: Path | None, assignments: tuple[str, ...]) -> dict[str, Any]:
    """The configs of all steps: the file over the defaults, assignments over the file; refused before any step starts.

    A class of one's own that the training names is one that the other steps may import.
    """
    from_file, from_flags = read_config_file(config_file), parse_assignments(assignments)
    return trust_named_class({name: make_config(name, from_file.get(name, {}), from_flags.get(name, {})) for name in CONFIGS})


def config_parameters(pipeline: str, config_file: Path | None, assignments: tuple[str, ...]) -> dict[str, Any]:
    """One struct per step of a pipeline; complete, because a struct given replaces the default as a whole."""
    return struct_parameters(pipeline, resolve_configs(config_file, assignments))


def struct_parameters(pipeline: str, configs: Mapping[str, BaseModel]) -> dict[str, Any]:
    """Parameter of a pipeline -> options of a step that takes some; ``configs`` by step name."""
    steps = [step for step in STEPS_OF[pipeline] if step.name in configs]
    return {step.config_parameter: configs[step.name].model_dump(mode="json", exclude_none=True) for step in steps}


def assigned_parameters(assignments: tuple[str, ...]) -> dict[str, Any]:
    """Parameters from ``NAME=VALUE``, the value in YAML.

    Raises:
        ConfigError: an assignment has no name or no equals sign.
    """
    values = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"--param needs NAME=VALUE, but it is {text!r}")
        values[name] = parse_yaml(value, f"--param {name}", "a value in YAML", remedy="write it as YAML", error=ConfigError)
    return values


def refuse_parameters(pipeline: str, document: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuses what the pipeline would only find out in its first task: unknown parameters, missing ones, bad options of a step.

    Args:
        pipeline: its name, for the message.
        document: the compiled pipeline.
        given: parameter -> value.

    Raises:
        ConfigError: names the parameter.
    """
    known = document["root"]["inputDefinitions"]["parameters"]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError(f"the pipeline {pipeline} has no parameter {unknown[0]!r}; known: {', '.join(sorted(known))}")
    missing = sorted(name for name, parameter in known.items() if not parameter.get("isOptional") and name not in given)
    if missing:
        raise ConfigError(f"the pipeline {pipeline} needs the parameter {missing[0]!r}")
    for step in STEPS:
        if step.config_parameter in given:
            make_config(step.name, given[step.config_parameter])
