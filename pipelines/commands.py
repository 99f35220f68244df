"""The commands `nann pipeline run` and `nann pipeline compile`, which need no server; kfp is imported only when they run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from components.cli import PATH, common_options
from components.errors import ConfigError
from components.output import set_up_logging
from nann.steps.table import LOGS, NAMES_OF, STEP_ORDER, STEPS_OF, steps_from
from pipelines.parameters import resolve_configs


@click.command("run")
@click.option("--input", "inputs", type=PATH, multiple=True, metavar="LOG", help="Interaction log; may be repeated. Default: generate one.")
@click.option("--pipeline", type=click.Choice(list(STEPS_OF)), default="training", show_default=True, help="What to run.")
@click.option("--service", default="", metavar="DIR", help="With --pipeline retraining, the versions in service: a directory, or a URL.")
@click.option("--run-dir", type=PATH, metavar="DIR", help="Where everything goes; an existing one is resumed. Default: runs/DATE-TIME.")
@click.option("--config", "config_file", type=PATH, metavar="FILE", help="YAML file with a section per step.")
@click.option("--set", "assignments", multiple=True, metavar="STEP.OPTION=VALUE", help="Set one option, as train.epochs=1; repeatable.")
@click.option(
    "--start-from",
    type=click.Choice(STEP_ORDER),
    help="Take the artifacts of the steps before this one as they are, and run anew from here.",
)
@click.option("--overwrite", is_flag=True, help="Replace artifacts that were made with other settings.")
@click.option(
    "--runner",
    type=click.Choice(["process", "docker"]),
    default="process",
    show_default=True,
    help="Each step in a process of its own, or in a container (docker, or podman by itself).",
)
@click.option(
    "--image", default="", metavar="IMAGE", help="With --runner docker, the image to run in. Default: the one `make images` built."
)
@common_options
def run(
    *,
    inputs: tuple[Path, ...],
    pipeline: str,
    service: str,
    run_dir: Path | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    start_from: str | None,
    overwrite: bool,
    runner: str,
    image: str,
    verbose: bool,
    quiet: bool,
) -> None:
    """Run a pipeline on this machine: logs in, a measured retrieval graph and a report out, put in service with --pipeline retraining.

    Steps whose artifact is up to date in the run directory are kept, so a run that was stopped goes on where it was.
    """
    set_up_logging(verbose=verbose, quiet=quiet)
    configs = resolve_configs(config_file, assignments)
    from pipelines import runs

    logs = list(inputs)
    if (pipeline == "retraining") != bool(service):
        raise click.UsageError("--service belongs to --pipeline retraining, which needs it.")
    if start_from and start_from not in NAMES_OF[pipeline]:
        raise click.UsageError(f"the pipeline {pipeline} has no step {start_from}.")
    if start_from:
        if run_dir is None:
            raise click.UsageError("--start-from needs --run-dir, the directory of the earlier run.")
        runs.check_earlier_artifacts(run_dir, start_from, pipeline)
    run_dir = run_dir or runs.new_run_dir(Path("runs"))
    if run_dir.exists() and not run_dir.is_dir():
        raise ConfigError(f"--run-dir must be a directory, but {run_dir} is a file")
    runs.require_ours(run_dir)
    logs = logs or runs.recorded_inputs(run_dir)
    if any(step.takes(LOGS.argument) for step in steps_from(pipeline, start_from)):
        generated = run_dir / "log.csv"
        if not logs or logs == [generated.absolute()]:
            click.echo(f"no --input: the log is generated, {generated}", err=True)
            logs = [runs.generated_log(run_dir, configs["generate"], overwrite=overwrite)]
        runs.check_inputs(logs)
    else:
        logs = [path for path in logs if path.is_file()]
    runs.record(run_dir, logs, configs)
    how = {"overwrite": overwrite, "runner": runner, "image": image, "pipeline": pipeline, "service": service}
    _run_and_show(logs, run_dir, configs, start_from or "", how, verbose=verbose, quiet=quiet)


def _run_and_show(
    logs: list[Path], run_dir: Path, configs: dict[str, Any], start_from: str, how: dict[str, Any], *, verbose: bool, quiet: bool
) -> None:
    from pipelines.progress import RunProgress, expected_seconds
    from pipelines.runner import StepError, run_locally
    from pipelines.tables import print_tables

    progress = RunProgress(NAMES_OF[how["pipeline"]], expected_seconds(run_dir))

    def show(line: str) -> None:
        if told := progress.see(line):
            click.echo(told, err=True)
        if not quiet or " step " in line:
            click.echo(line, err=True)

    try:
        entries = run_locally(inputs=logs, run_dir=run_dir, configs=configs, start_from=start_from, show=show, everything=verbose, **how)
    except StepError as error:
        if quiet or not error.explained:
            click.echo("\n".join([f"--- the last lines of {error.log}", *error.tail, "---"]), err=True)
        raise
    print_tables(entries, run_dir, sys.stdout)


@click.command("compile")
@click.option("--output", type=PATH, required=True, metavar="FILE", help="YAML file to write.")
@click.option("--picture", type=PATH, metavar="FILE", help="Also draw the DAG into this SVG file.")
@click.option("--profile", metavar="NAME", help="Resources of the tasks: local, cpu, gpu, multi-gpu, multi-node, or a .yaml file.")
@click.option(
    "--pipeline",
    "--dag",
    "dag",
    type=click.Choice(["training", "retraining", "conversion"]),
    default="training",
    show_default=True,
    help="The whole pipeline, that which goes on from what is in service, or the conversion alone, one task per shard.",
)
def compile_file(*, output: Path, picture: Path | None, profile: str | None, dag: str) -> None:
    """Compile the pipeline for Kubeflow Pipelines."""
    from pipelines.compilation import compile_pipeline, compiled_spec
    from pipelines.pod_count import count_spec_pods
    from pipelines.profiles import read_profile

    if output.suffix not in (".yaml", ".yml"):
        raise click.UsageError(f"--output must end in .yaml, but it is {output}.")
    compile_pipeline(output, dag, read_profile(profile) if profile else None)
    click.echo(f"{output} (written)")
    click.echo(f"a run takes {count_spec_pods(compiled_spec(dag))}")
    if picture is not None:
        from pipelines.picture import draw_pipeline

        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_text(draw_pipeline(compiled_spec(dag)), encoding="utf-8")
        click.echo(f"{picture} (written)")
