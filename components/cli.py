"""The single-step commands: `nann convert`, `nann train`, ... , each a thin adapter around the step function of the same name.

Importing this module imports neither TensorFlow nor kfp: step functions are loaded when a command runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from components.configs import make_config, parse_assignments, read_config_file, read_space
from components.options import config_options, given_values
from components.output import hidden_start_up_notes, print_result, print_trials, set_up_logging
from components.steps import (
    CONFIGS,
    GATE,
    IN_SERVICE,
    MAKER_OF,
    PUBLISH,
    REPLAY,
    SEEDS,
    STEPS,
    SWEEP,
    TUNE,
    Step,
    load_object,
)
from nann.config import TrainConfig, is_class_reference

PATH = click.Path(path_type=Path)
SERVICE_OPTION = click.option(
    "--service", required=True, metavar="DIR", help="Directory of the versions in service, or the URL of an object store."
)


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every command: --verbose and --quiet."""
    command = click.option("--quiet", is_flag=True, help="Log warnings only.")(command)
    return click.option("--verbose", is_flag=True, help="Log details, TensorFlow's own notes included.")(command)


def step_commands() -> list[click.Command]:
    """All single-step commands, in the order of the pipeline."""
    steps = [_step_command(step) for step in STEPS]
    retraining = [_step_command(step) for step in (IN_SERVICE, GATE, PUBLISH)]
    trials = [_step_command(step) for step in (TUNE, SWEEP, SEEDS)]
    return [_generate, *steps[:-1], *trials, *retraining, _rollback, _step_command(REPLAY), _infer, steps[-1]]


def _step_command(step: Step) -> click.Command:
    def run(**options: Any) -> None:
        context = click.get_current_context()
        set_up_logging(verbose=options["verbose"], quiet=options["quiet"])
        if options.get("dry_run"):
            _dry_run(options, _config_from(step.name, context))
            return
        scorer = _take_class(step, options)
        paths = _artifact_paths(step, options)
        arguments: dict[str, Any] = dict(paths)
        if step.name == "convert":
            arguments["inputs"] = list(options["input"])
        if step in (IN_SERVICE, PUBLISH):
            arguments["service"] = options["service"]
        if step.name == "train":
            arguments["warm_start"] = options["warm_start"]
        if step.name == "report":
            arguments["timings"] = _timings_beside(paths["report"])
        if step.config:
            arguments["config"] = _config_from(step.name, context, **scorer)
        if step in (SWEEP, SEEDS):
            arguments |= _trained_configs(step, options)
        with hidden_start_up_notes(unless=options["verbose"]):
            function = step.load_function()
        result = function(**arguments, overwrite=options["overwrite"])
        print_result(result.path, result.metrics, reused=result.reused)
        if step is SWEEP:
            print_trials(result.path)

    command: Callable[..., Any] = run
    command = common_options(command)
    command = click.option("--overwrite", is_flag=True, help="Replace an artifact made with other settings.")(command)
    if (model := step.load_config()) is not None:
        command = config_options(model)(command)
        command = _config_option(step.name)(command)
    command = click.option(
        "--output-root", type=PATH, metavar="ROOT", help="Directory of all artifacts: each that is not named above lies in ROOT/NAME."
    )(command)
    for name in (step.writes, *reversed(step.reads)):
        verb = "Directory to write" if name == step.writes else f"Directory to read, made by `nann {MAKER_OF[name]}`"
        also = " Or MODULE:CLASS, as --scorer, the directory then being that under --output-root." if name == step.writes == "model" else ""
        command = click.option(_flag(name), name, type=PATH, metavar="DIR", help=f"{verb}.{also}")(command)
    if step in (IN_SERVICE, PUBLISH):
        command = SERVICE_OPTION(command)
    if step.name == "train":
        command = click.option(
            "--warm-start",
            type=PATH,
            metavar="DIR",
            help="Go on from this model: its own dataset, or one that `nann convert --base` made of it. Tables grow by the new rows.",
        )(command)
    if step in (SWEEP, SEEDS):
        command = click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="STEP.OPTION=VALUE",
            help="Set an option of a step, as train.epochs=1; repeatable.",
        )(command)
    if step is SWEEP:
        command = click.option(
            "--space",
            type=PATH,
            required=True,
            metavar="FILE",
            help="YAML file with lines `train.OPTION: [value, ...]` or `train.OPTION: {low: .., high: .., log: true}`.",
        )(command)
    if step.name == "convert":
        command = click.option(
            "--dry-run", is_flag=True, help="Read the first 100,000 rows, say what was decided and how to fix it, and write nothing."
        )(command)
        command = click.option(
            "--input",
            type=PATH,
            multiple=True,
            required=True,
            metavar="LOG",
            help="CSV or JSON lines (plain, gzip, zstd, bz2, xz, zip), Parquet, a directory of such, or - for standard input; repeatable.",
        )(command)
    return click.command(step.name, help=step.help)(command)


def _dry_run(options: dict[str, Any], config: Any) -> None:
    from nann.steps.convert import dry_run

    root: Path | None = options["output_root"]
    dataset = options["dataset"] or (root / "dataset" if root is not None else None)
    click.echo(dry_run(inputs=list(options["input"]), dataset=dataset, config=config))


def _config_option(section: str) -> Callable[..., Any]:
    return click.option(
        "--config",
        "config_file",
        type=PATH,
        metavar="FILE",
        help=f"YAML file; its section `{section}:` gives defaults to the options"
        + (", those of the steps that are run to theirs." if section in (SWEEP.name, SEEDS.name) else "."),
    )


def _config_from(section: str, context: click.Context, **more: Any) -> Any:
    file_values = read_config_file(context.params["config_file"]).get(section, {})
    return make_config(section, file_values, given_values(context, load_object(CONFIGS[section])), more)


def _take_class(step: Step, options: dict[str, Any]) -> dict[str, str]:
    """`nann train --model my_package.module:MyModel` names the class, not the directory: taken out of the options and returned as scorer.

    Raises:
        click.UsageError: another scorer is given too.
    """
    given = str(options.get("model") or "")
    if step.name != "train" or not is_class_reference(given):
        return {}
    if options["scorer"] not in (given, TrainConfig.model_fields["scorer"].default):
        raise click.UsageError(f"--model names the class {given}, but --scorer is {options['scorer']}; give one of them.")
    options["model"] = None
    return {"scorer": given}


def _trained_configs(step: Step, options: dict[str, Any]) -> dict[str, Any]:
    """What `sweep` and `seeds` take besides their own config: those of the steps they run, from the config file and --set."""
    from_file, from_flags = read_config_file(options["config_file"]), parse_assignments(options["assignments"])
    sections = ("train",) if step is SWEEP else ("train", "extract", "build-index", "rewrite", "evaluate")
    for section in from_flags:
        if section not in sections:
            raise click.UsageError(f"--set {section}.... has no effect here; `nann {step.name}` runs {', '.join(sections)}.")
    steps = {name: make_config(name, from_file.get(name, {}), from_flags.get(name, {})) for name in sections}
    return {"base": steps["train"], "space": read_space(options["space"])} if step is SWEEP else {"steps": steps}


def _flag(artifact: str) -> str:
    return "--" + artifact.replace("_", "-")


def _artifact_paths(step: Step, options: dict[str, Any]) -> dict[str, Path]:
    """The artifact paths of a step: given by their own option, or lying under --output-root.

    Raises:
        click.UsageError: neither is given.
    """
    root: Path | None = options["output_root"]
    paths = {}
    for name in (*step.reads, step.writes):
        if options[name] is not None:
            paths[name] = options[name]
        elif root is not None:
            paths[name] = root / name
        else:
            raise click.UsageError(f"Missing option '{_flag(name)}'; give it, or --output-root.")
    return paths


def _timings_beside(report: Path) -> Path | None:
    timings = report.parent / "steps.jsonl"
    return timings if timings.is_file() else None


@click.command("rollback", help="Put the version in service that was there before, or another one that is kept.")
@SERVICE_OPTION
@click.option("--to", type=click.IntRange(min=1), metavar="VERSION", help="Number of the version. Default: the one before.")
@common_options
def _rollback(*, service: str, to: int | None, verbose: bool, quiet: bool) -> None:
    set_up_logging(verbose=verbose, quiet=quiet)
    with hidden_start_up_notes(unless=verbose):
        from nann.service.shelf import Shelf
    pointer = Shelf(service).rollback(to)
    click.echo(f"version {pointer.version} is in service in {service}")


@click.command("generate", help="Write a synthetic interaction log with planted structure.")
@click.option("--output", type=PATH, required=True, metavar="FILE", help="File to write: .csv, .csv.gz or .parquet.")
@_config_option("generate")
@config_options(load_object(CONFIGS["generate"]))
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@common_options
@click.pass_context
def _generate(context: click.Context, *, output: Path, overwrite: bool, verbose: bool, quiet: bool, **_: Any) -> None:
    set_up_logging(verbose=verbose, quiet=quiet)
    config = _config_from("generate", context)
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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list instead of a table.")
@_config_option("infer")
@config_options(load_object(CONFIGS["infer"]))
@common_options
@click.pass_context
def _infer(
    context: click.Context,
    *,
    item_ids: str,
    converted_model: Path | None,
    output_root: Path | None,
    graph_file: Path | None,
    meta_path: Path | None,
    values: tuple[str, ...],
    as_json: bool,
    verbose: bool,
    quiet: bool,
    **_: Any,
) -> None:
    set_up_logging(verbose=verbose, quiet=quiet)
    history = [part.strip() for part in item_ids.split(",") if part.strip()]
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
    config = _config_from("infer", context)
    with hidden_start_up_notes(unless=verbose):
        from nann.steps.infer import infer

    found = infer(
        converted_model=converted_model,
        graph_file=graph_file,
        meta_path=meta_path,
        item_ids=history,
        config=config,
        values=_values_by_name(values),
    )
    _print_items(found, as_json=as_json)


def _values_by_name(given: tuple[str, ...]) -> dict[str, list[str]]:
    """``("behavior=buy,cart",)`` as lists by name.

    Raises:
        click.UsageError: a part has no ``=``, or a name is given twice.
    """
    values: dict[str, list[str]] = {}
    for text in given:
        name, equals, listed = text.partition("=")
        if not equals or name.strip() in values:
            raise click.UsageError(f"--values {text}: give each input once, as NAME=VALUE,VALUE.")
        values[name.strip()] = [value.strip() for value in listed.split(",") if value.strip()]
    return values


def _print_items(found: list[tuple[Any, float]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([{"item_id": item_id, "score": score} for item_id, score in found]))
        return
    width = max([len("item_id"), *(len(str(item_id)) for item_id, _ in found)])
    click.echo(f"rank  {'item_id':<{width}}  score")
    for rank, (item_id, score) in enumerate(found, start=1):
        click.echo(f"{rank:>4}  {item_id!s:<{width}}  {score:.4f}")
