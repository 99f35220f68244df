"""The steps as Python functions of a run directory.

`nann.train("runs/mine", epochs=1)` is `nann train --output-root runs/mine --epochs 1`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nann.errors import NannError
from nann.steps.table import CONFIGS, STEP_BY_NAME, Step, load_object

if TYPE_CHECKING:
    from nann.artifacts import StepResult
    from nann.explanation import Explanation


def call_of(name: str) -> Callable[..., StepResult]:
    """The function for a step.

    Args:
        name: the step, as on the command line or with an underscore.

    Returns:
        A function of a run directory (its first argument), artifacts that lie elsewhere, the step's own arguments, the options of its
        config, and ``overwrite``, all by keyword. It raises `NannError` for what the command would end with, `TypeError` for an option
        that there is not, `ValueError` for a value that an option refuses.
    """
    step = STEP_BY_NAME[name.replace("_", "-")]
    own = [option.argument for option in step.options]
    artifacts = [*step.reads, step.writes]

    def call(run: str | Path | None = None, /, *, overwrite: bool = False, **given: Any) -> StepResult:
        arguments = {argument: given.pop(argument, None) for argument in own}
        for option in step.options:
            value = arguments[option.argument]
            if option.required and value is None:
                raise TypeError(f"{step.module}() needs {option.argument}, as {option.flag} on the command line")
            if option.many:
                arguments[option.argument] = [Path(place) for place in ([value] if isinstance(value, str | Path) else value or [])]
        for artifact in artifacts:
            arguments[artifact] = _path(step, artifact, run, given.pop(artifact, None))
        if step.runs:
            arguments["steps"] = _configs_of_runs(step, given.pop("steps", {}))
        if (config := step.load_config()) is not None:
            arguments["config"] = _config(step.module, config, given)
        elif given:
            raise TypeError(f"{step.module}() has no option {min(given)!r}")
        result: StepResult = step.load_function()(**arguments, overwrite=overwrite)
        return result

    call.__name__ = call.__qualname__ = step.module
    call.__doc__ = (
        f"{step.help}\n\nArguments: the run's directory; by keyword {', '.join((*own, *artifacts))}, and the options of `nann {step.name}`."
    )
    call.__signature__ = _signature(step, own, artifacts)  # type: ignore[attr-defined]
    return call


def generate(output: str | Path, *, overwrite: bool = False, **options: Any) -> StepResult:
    """Writes a synthetic log, as `nann generate` does.

    Args:
        output: `.csv`, `.csv.gz` or `.parquet` file to write.
        overwrite: replace an existing file.
        **options: those of the command.
    """
    config = _config("generate", load_object(CONFIGS["generate"]), options)
    result: StepResult = load_object("nann.steps.generate:generate")(output=Path(output), config=config, overwrite=overwrite)
    return result


def explain(
    path: str | Path,
    item: Any,
    history: Sequence[Any],
    *,
    values: Mapping[str, Sequence[str]] | None = None,
    allow_own_models: bool = False,
) -> Explanation:
    """Why a model gives an item its score and its place for a history, as `nann explain` says it.

    Args:
        path: directory of a run, a service (the version in service) or a converted model.
        item: catalogue id.
        history: catalogue ids, oldest first.
        values: what else the model reads, by name.
        allow_own_models: open graphs with ops that exports are not made of.

    Raises:
        NannError: an id is not in the catalogue, or the directory holds a SavedModel alone.
        ArtifactError: it holds no model, or a damaged one.
    """
    from nann.explanation import explain as explained
    from nann.explanation.known_items import KnownItems
    from nann.serving.places import find_model

    place = find_model(path)
    if place.alone:
        raise NannError(f"{place.path} is a SavedModel alone, whose parts cannot be told; give the directory of the converted model")
    items = KnownItems(place.path, allow_own_models=allow_own_models)
    return explained(items, item, history, values=values, allow_own_models=allow_own_models)


def _path(step: Step, artifact: str, run: str | Path | None, given: Any) -> Path:
    if given is not None:
        return Path(given)
    if run is None:
        raise TypeError(f"{step.module}() needs {artifact}; give it by keyword, or a run directory first")
    return Path(run) / artifact


def _config(function: str, model: Any, options: dict[str, Any]) -> Any:
    for name in options:
        if name not in model.model_fields:
            raise TypeError(f"{function}() has no option {name!r}; `help(nann.{function})` lists them")
    return model(**options)


def _configs_of_runs(step: Step, given: dict[str, Any]) -> dict[str, Any]:
    """Configs of the steps that a step runs: options by name of the step, or configs as they are."""
    found = {}
    for name in step.runs:
        options = given.get(STEP_BY_NAME[name].module, given.get(name, {}))
        found[name] = _config(name, load_object(CONFIGS[name]), options) if isinstance(options, dict) else options
    return found


def _signature(step: Step, own: list[str], artifacts: list[str]) -> Signature:
    names = [Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in (*own, *artifacts)]
    if step.runs:
        names.append(Parameter("steps", Parameter.KEYWORD_ONLY, default={}))
    config = step.load_config()
    for name, field in (config.model_fields if config else {}).items():
        default = Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)
        names.append(Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=field.annotation))
    first = Parameter("run", Parameter.POSITIONAL_ONLY, default=None)
    return Signature([first, *names, Parameter("overwrite", Parameter.KEYWORD_ONLY, default=False)])
