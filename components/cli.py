"""The single-step commands: `nann convert`, `nann train`, ... , each a thin adapter around the step function of the same name.

Importing this module imports neither TensorFlow nor kfp: step functions are loaded when a command runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from components.configs import make_config, names_meant, parse_assignments, read_config_file, read_space
from components.options import config_options, given_values
from components.output import hidden_start_up_notes, print_result, print_table, set_up_logging
from nann.config import is_class_reference
from nann.steps.table import CONFIGS, MAKER_OF, SERVICE, STEPS, Option, Step, load_object

PATH = click.Path(path_type=Path)


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every command: --verbose and --quiet."""
    command = click.option("--quiet", is_flag=True, help="Log warnings only.")(command)
    return click.option("--verbose", is_flag=True, help="Log details, TensorFlow's own notes included.")(command)


class StepCommand(click.Command):
    """The command of a step: an option that it does not have is answered with those that may be meant, as in config files."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            flags = {str(option.name): option.opts[0] for option in self.params}
            meant = [flags[name] for name in names_meant(error.option_name.lstrip("-").replace("-", "_"), flags)]
            if not meant:
                raise
            told = f"No such option {error.option_name!r}; did you mean {' or '.join(map(repr, meant))}?"
            raise click.NoSuchOption(error.option_name, told, ctx=ctx) from None


def step_commands() -> list[click.Command]:
    """All single-step commands, in the order of the pipeline."""
    *steps, replay, report = map(_step_command, STEPS)
    return [_generate, *steps, _rollback, replay, _infer, report]


def _step_command(step: Step) -> click.Command:
    def run(**given: Any) -> None:
        context = click.get_current_context()
        set_up_logging(verbose=given["verbose"], quiet=given["quiet"])
        if given.get("dry_run"):
            root: Path | None = given["output_root"]
            output = given[step.writes] or (root / step.writes if root is not None else None)
            arguments = {**_own_arguments(step, given), step.writes: output, "config": _config(step.name, context)}
            click.echo(step.load_function("dry_run")(**arguments))
            return
        if step.instead is not None and given[step.instead.argument] is not None:
            asked = {**_own_arguments(step, given), step.instead.argument: given[step.instead.argument]}
            with hidden_start_up_notes(unless=given["verbose"]):
                function = step.load_function(f"{step.module}_{step.instead.argument}")
            click.echo(function(**asked, config=_config(step.name, context)))
            return
        named_class = _take_class(step, given)
        arguments = {**_artifact_paths(step, given), **_own_arguments(step, given)}
        if step.config:
            arguments["config"] = _config(step.name, context, **named_class)
        if step.runs:
            arguments["steps"] = _configs_of_runs(step, given)
        with hidden_start_up_notes(unless=given["verbose"]):
            function = step.load_function()
        result = function(**arguments, overwrite=given["overwrite"])
        print_result(result.path, result.metrics, reused=result.reused)
        if step.table:
            print_table(*load_object(step.table)(result.path))

    command: Callable[..., Any] = run
    for option in reversed(_options(step)):
        command = option(command)
    return click.command(step.name, cls=StepCommand, help=step.help)(command)


def _options(step: Step) -> list[Callable[..., Any]]:
    """Decorators, in the order of the help text."""
    options = [_own_option(option) for option in step.options]
    if step.instead is not None:
        options.append(_own_option(step.instead))
    if step.dry_run:
        options.append(click.option("--dry-run", is_flag=True, help=step.dry_run))
    if step.runs:
        example = "Set an option of a step, as train.epochs=1; repeatable."
        options.append(click.option("--set", "assignments", multiple=True, metavar="STEP.OPTION=VALUE", help=example))
    for name in (*step.reads, step.writes):
        text = "Directory to write." if name == step.writes else f"Directory to read, made by `nann {MAKER_OF[name]}`."
        if name == step.writes and step.class_option:
            text += f" Or MODULE:CLASS, as {_flag(step.class_option)}, the directory then being that under --output-root."
        options.append(click.option(_flag(name), name, type=PATH, metavar="DIR", help=text))
    everything = "Directory of all artifacts: each that is not named above lies in ROOT/NAME."
    options.append(click.option("--output-root", type=PATH, metavar="ROOT", help=everything))
    if (model := step.load_config()) is not None:
        options += [_config_option(step.name, runs=bool(step.runs)), config_options(model)]
    options.append(click.option("--overwrite", is_flag=True, help="Replace an artifact made with other settings."))
    return [*options, common_options]


def _own_option(option: Option) -> Callable[..., Any]:
    kind = click.STRING if option.kind == "text" else PATH
    return click.option(
        option.flag, option.argument, type=kind, multiple=option.many, required=option.required, metavar=option.metavar, help=option.help
    )


def _own_arguments(step: Step, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a step function that `Step.options` names."""
    values = {option.argument: given[option.argument] for option in step.options}
    for option in step.options:
        if option.many:
            values[option.argument] = list(values[option.argument])
        elif option.kind == "mapping":
            values[option.argument] = read_space(values[option.argument])
    return values


def _config_option(section: str, *, runs: bool = False) -> Callable[..., Any]:
    also = ", those of the steps that are run to theirs." if runs else "."
    help_text = f"YAML file; its section `{section}:` gives defaults to the options{also}"
    return click.option("--config", "config_file", type=PATH, metavar="FILE", help=help_text)


def _config(section: str, context: click.Context, **more: Any) -> Any:
    file_values = read_config_file(context.params["config_file"]).get(section, {})
    return make_config(section, file_values, given_values(context, load_object(CONFIGS[section])), more)


def _take_class(step: Step, given: dict[str, Any]) -> dict[str, str]:
    """`nann train --model my_package.module:MyModel` names the class, not the directory: taken out and returned as the config's value.

    Raises:
        click.UsageError: another class is given too.
    """
    name, model = str(given[step.writes] or ""), step.load_config()
    if not step.class_option or model is None or not is_class_reference(name):
        return {}
    if given[step.class_option] not in (name, model.model_fields[step.class_option].default):
        other = f"{_flag(step.class_option)} is {given[step.class_option]}"
        raise click.UsageError(f"{_flag(step.writes)} names the class {name}, but {other}; give one of them.")
    given[step.writes] = None
    return {step.class_option: name}


def _configs_of_runs(step: Step, given: dict[str, Any]) -> dict[str, Any]:
    """The configs of the steps that a step runs, from the config file and --set."""
    from_file, from_flags = read_config_file(given["config_file"]), parse_assignments(given["assignments"])
    for section in from_flags:
        if section not in step.runs:
            raise click.UsageError(f"--set {section}.... has no effect here; `nann {step.name}` runs {', '.join(step.runs)}.")
    return {name: make_config(name, from_file.get(name, {}), from_flags.get(name, {})) for name in step.runs}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _artifact_paths(step: Step, given: dict[str, Any]) -> dict[str, Path]:
    """The artifact paths of a step: given by their own option, or lying under --output-root.

    Raises:
        click.UsageError: neither is given.
    """
    root: Path | None = given["output_root"]
    paths = {}
    for name in (*step.reads, step.writes):
        if given[name] is not None:
            paths[name] = given[name]
        elif root is not None:
            paths[name] = root / name
        else:
            raise click.UsageError(f"Missing option '{_flag(name)}'; give it, or --output-root.")
    return paths


@click.command("rollback", help="Put the version in service that was there before, or another one that is kept.")
@_own_option(SERVICE)
@click.option("--to", type=click.IntRange(min=1), metavar="VERSION", help="Number of the version. Default: the one before.")
@common_options
def _rollback(*, service: str, to: int | None, verbose: bool, quiet: bool) -> None:
    set_up_logging(verbose=verbose, quiet=quiet)
    with hidden_start_up_notes(unless=verbose):
        from nann.service.shelf import Shelf
    pointer = Shelf(service).require().rollback(to)
    click.echo(f"version {pointer.version} is in service in {service}")


@click.command("generate", help="Write a synthetic interaction log with planted structure.")
@click.option("--output", type=PATH, required=True, metavar="FILE", help="File to write: .csv, .csv.gz or .parquet.")
@_config_option("generate")
@config_options(load_object(CONFIGS["generate"]))
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@common_options
@click.pass_context
def _generate(context: click.Context, /, *, output: Path, overwrite: bool, verbose: bool, quiet: bool, **_: Any) -> None:
    set_up_logging(verbose=verbose, quiet=quiet)
    config = _config("generate", context)
    from nann.steps.generate import generate

    result = generate(output=output, config=config, overwrite=overwrite)
    print_result(result.path, result.metrics, reused=result.reused)


@click.command("infer", help="Retrieve the top items for one history; ids are catalogue ids, oldest first.")
@click.option("--item-ids", required=True, metavar="ID,ID,...", help="The history: ids of items, oldest first.")
@click.option("--converted-model", type=PATH, metavar="DIR", help="Directory to read, made by `nann rewrite`.")
@click.option("--output-root", type=PATH, metavar="ROOT", help="Directory of all artifacts; gives --converted-model its default.")
@click.option("--graph-file", type=PATH, metavar="FILE", help="A frozen_graph.pb: the scorer to link with --meta-path.")
@click.option("--meta-path", type=PATH, metavar="FILE", help="A 0.meta, its checkpoint beside it; instead of --converted-model.")
@click.option(
    "--values",
    multiple=True,
    metavar="NAME=VALUE,...",
    help="What else the model reads: behavior=buy,cart or time=SECONDS,... one per item; values of a user's feature. Repeatable.",
)
@click.option("--exclude", default="", metavar="ID,ID,...", help="Items not to return; ids that are not in the catalogue exclude nothing.")
@click.option("--exclude-history", is_flag=True, help="Do not return items of the history.")
@click.option("--category", default="", metavar="ID,ID,...", help="Return only items of one of these categories.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list instead of a table.")
@_config_option("infer")
@config_options(load_object(CONFIGS["infer"]))
@common_options
@click.pass_context
def _infer(
    context: click.Context,
    /,
    *,
    item_ids: str,
    converted_model: Path | None,
    output_root: Path | None,
    graph_file: Path | None,
    meta_path: Path | None,
    values: tuple[str, ...],
    exclude: str,
    exclude_history: bool,
    category: str,
    as_json: bool,
    verbose: bool,
    quiet: bool,
    **_: Any,
) -> None:
    set_up_logging(verbose=verbose, quiet=quiet)
    history = _listed(item_ids)
    if not history:
        raise click.UsageError("--item-ids names no item; give at least one id.")
    if graph_file is not None and meta_path is None:
        raise click.UsageError("--graph-file is the scorer alone; give --meta-path, the retrieval graph, too.")
    if converted_model is not None and meta_path is not None:
        raise click.UsageError("Give either --converted-model or --meta-path, not both.")
    if converted_model is None and meta_path is None:
        if output_root is None:
            raise click.UsageError("Missing option '--converted-model'; give it, or --meta-path with --graph-file, or --output-root.")
        converted_model = output_root / "converted_model"
    config = _config("infer", context)
    with hidden_start_up_notes(unless=verbose):
        from nann.steps.infer import infer

    found = infer(
        converted_model=converted_model,
        graph_file=graph_file,
        meta_path=meta_path,
        item_ids=history,
        config=config,
        values=values_by_name(values),
        exclude=_listed(exclude),
        exclude_history=exclude_history,
        categories=_listed(category),
    )
    _print_items(found, as_json=as_json)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def values_by_name(given: tuple[str, ...]) -> dict[str, list[str]]:
    """``("behavior=buy,cart",)`` as lists by name.

    Raises:
        click.UsageError: a part has no ``=``, or a name is given twice.
    """
    values: dict[str, list[str]] = {}
    for text in given:
        name, equals, listed = text.partition("=")
        if not equals or name.strip() in values:
            raise click.UsageError(f"--values {text}: give each input once, as NAME=VALUE,VALUE.")
        values[name.strip()] = _listed(listed)
    return values


def _print_items(found: list[tuple[Any, float]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([{"item_id": item_id, "score": score} for item_id, score in found]))
        return
    width = max([len("item_id"), *(len(str(item_id)) for item_id, _ in found)])
    click.echo(f"rank  {'item_id':<{width}}  score")
    for rank, (item_id, score) in enumerate(found, start=1):
        click.echo(f"{rank:>4}  {item_id!s:<{width}}  {score:.4f}")
