"""The commands that talk to a Kubeflow Pipelines API: submit, status, wait, logs, list, schedule, unschedule."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from components.cli import PATH, common_options
from components.configs import make_config
from components.errors import ConfigError
from components.output import set_up_logging
from components.steps import STEP_ORDER, STEPS_OF

PIPELINES = click.Choice(list(STEPS_OF))


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say where the API is; --verbose and --quiet."""
    for option in (
        click.option("--timeout", type=click.FloatRange(min=0.1), default=30.0, show_default=True, help="Seconds one request may take."),
        click.option("--token", envvar="NANN_KFP_TOKEN", metavar="TOKEN", help="Bearer token; better in NANN_KFP_TOKEN than here."),
        click.option("--namespace", default="kubeflow", show_default=True, metavar="NAME", help="Kubernetes namespace of runs."),
        click.option("--host", envvar="NANN_KFP_HOST", default="", metavar="URL", help="API server. Default: the cluster this runs in."),
    ):
        command = option(command)
    return common_options(command)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which run: by its id, or the newest one of a pipeline."""
    newest = "Without RUN_ID: the newest run of this pipeline."
    command = click.option("--pipeline", type=PIPELINES, default="training", show_default=True, help=newest)(command)
    return click.argument("run_id", required=False)(command)


def _cluster(options: dict[str, Any]) -> Any:
    set_up_logging(verbose=options["verbose"], quiet=options["quiet"])
    from pipelines.cluster import Cluster, Server

    return Cluster(Server(options["host"], options["namespace"], options["token"] or "", options["timeout"]))


@click.command("submit")
@click.option("--input", "inputs", multiple=True, required=True, metavar="LOG", help="Interaction log as the tasks see it; repeatable.")
@click.option("--service", default="", metavar="DIR", help="With --pipeline retraining, the versions in service as the tasks see them.")
@click.option("--run-dir", default="", metavar="DIR", help="Durable directory of the run as the tasks see it. Default: kfp's storage.")
@click.option("--config", "config_file", type=PATH, metavar="FILE", help="YAML file with a section per step.")
@click.option("--set", "assignments", multiple=True, metavar="STEP.OPTION=VALUE", help="Set one option, as train.epochs=1; repeatable.")
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="Set another parameter of the pipeline (YAML value).")
@click.option(
    "--input-digest",
    default="",
    metavar="TEXT",
    help="What identifies the logs' contents; needed to cache convert.",
)
@click.option("--pipeline", type=PIPELINES, default="training", show_default=True, help="What to submit.")
@click.option(
    "--profile",
    default="cpu",
    show_default=True,
    metavar="NAME",
    help="Resources: cpu, gpu, multi-gpu, multi-node, local, or a file.",
)
@click.option("--experiment", default="nann", show_default=True, metavar="NAME", help="Experiment of the run; made if it is not there.")
@click.option("--run-name", default="", metavar="NAME", help="Name of the run. Default: pipeline, date and time.")
@click.option("--pipeline-root", default="", metavar="URI", help="Where kfp puts artifacts. Default: the server's own.")
@click.option("--service-account", default="", metavar="NAME", help="Kubernetes service account of the pods.")
@click.option("--cache/--no-cache", default=True, show_default=True, help="Let kfp reuse results of equal tasks.")
@click.option("--wait", "wait_for_end", is_flag=True, help="Wait for the end; exit 1 unless the run succeeded.")
@click.option("--wait-seconds", type=float, default=0.0, show_default=True, help="With --wait, the longest wait; 0: no limit.")
@server_options
def submit(*, inputs: tuple[str, ...], run_dir: str, wait_for_end: bool, wait_seconds: float, **options: Any) -> None:
    """Start a run of the pipeline on a cluster; print its id."""
    from pipelines.cluster import with_caching
    from pipelines.compilation import cluster_spec
    from pipelines.profiles import read_profile

    cluster = _cluster(options)
    parameters: dict[str, Any] = {"inputs": list(inputs), "run_dir": run_dir, "input_digest": options["input_digest"]}
    if (options["pipeline"] == "retraining") != bool(options["service"]):
        raise click.UsageError("--service belongs to --pipeline retraining, which needs it.")
    if options["service"]:
        parameters["service"] = options["service"]
    parameters |= _config_parameters(options["pipeline"], options["config_file"], options["assignments"]) | _assigned(options["parameters"])
    spec = cluster_spec(options["pipeline"], read_profile(options["profile"]))
    document = spec.get("pipeline_spec", spec)
    _refuse_parameters(options["pipeline"], document, parameters)
    with_caching(document, options["cache"], inputs_known=bool(options["input_digest"]))
    run_id = cluster.submit(
        spec,
        experiment=options["experiment"],
        name=options["run_name"] or f"{options['pipeline']}-{datetime.now():%Y%m%d-%H%M%S}",
        parameters=parameters,
        pipeline_root=options["pipeline_root"],
        service_account=options["service_account"],
    )
    click.echo(run_id)
    if wait_for_end:
        _wait(cluster, run_id, wait_seconds)


@click.command("status")
@run_options
@server_options
def status(*, run_id: str | None, pipeline: str, **options: Any) -> None:
    """Show a run and its tasks; exit 1 when it failed or was cancelled."""
    cluster = _cluster(options)
    run = cluster.run(run_id or cluster.newest_run(f"nann-{pipeline}"))
    click.echo(f"{run.display_name}  {run.state}")
    for task in _tasks(run):
        click.echo(f"{task.display_name:<16}{task.state or '-':<12}{_seconds(task):>8}  {_message(task.error)}".rstrip())
    _exit_with(run, running_is_fine=True)


@click.command("wait")
@run_options
@click.option("--wait-seconds", type=float, default=0.0, show_default=True, help="The longest wait; 0: no limit.")
@server_options
def wait(*, run_id: str | None, pipeline: str, wait_seconds: float, **options: Any) -> None:
    """Wait for the end of a run; exit 1 unless it succeeded."""
    cluster = _cluster(options)
    _wait(cluster, run_id or cluster.newest_run(f"nann-{pipeline}"), wait_seconds)


@click.command("logs")
@run_options
@click.option("--step", type=click.Choice(STEP_ORDER), help="Only this step's. Default: every step that failed, else all.")
@server_options
def logs(*, run_id: str | None, pipeline: str, step: str | None, **options: Any) -> None:
    """Print what the pods of a run wrote."""
    from pipelines.cluster import ClusterError

    cluster = _cluster(options)
    run_id = run_id or cluster.newest_run(f"nann-{pipeline}")
    tasks = [task for task in _tasks(cluster.run(run_id)) if _pods(task)]
    chosen = [task for task in tasks if task.display_name == step] if step else [task for task in tasks if task.state == "FAILED"] or tasks
    if not chosen:
        raise ClusterError(f"run {run_id} has no pod{f' of the step {step}' if step else ''} yet; look at `nann pipeline status`")
    for task in chosen:
        for pod in _pods(task):
            click.echo(f"--- {task.display_name} ({pod})", err=True)
            click.echo(cluster.log(run_id, pod).rstrip("\n"))


@click.command("list")
@click.option("--experiment", default="", metavar="NAME", help="Only runs of this experiment.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The newest so many runs.")
@click.option("--pipeline", type=PIPELINES, help="Only runs of this pipeline.")
@click.option("--schedules", is_flag=True, help="List schedules instead of runs.")
@server_options
def list_runs(*, experiment: str, limit: int, pipeline: str | None, schedules: bool, **options: Any) -> None:
    """List runs, newest first, or schedules."""
    cluster = _cluster(options)
    if schedules:
        for found in cluster.schedules():
            cron = found.trigger.cron_schedule.cron if found.trigger and found.trigger.cron_schedule else "-"
            click.echo(f"{found.recurring_run_id}  {found.status or '-':<10}{cron:<20}{found.display_name}")
        return
    for run in cluster.runs(experiment, limit, f"nann-{pipeline}" if pipeline else ""):
        created = f"{run.created_at:%Y-%m-%d %H:%M}" if run.created_at else "-"
        click.echo(f"{run.run_id}  {run.state or '-':<12}{created:<18}{run.display_name}")


@click.command("schedule")
@click.argument("name")
@click.option("--pipeline", type=PIPELINES, help="Refuse a schedule of another pipeline than this.")
@click.option("--dry-run", is_flag=True, help="Only check the file and show the next fire times.")
@server_options
def schedule(*, name: str, pipeline: str | None, dry_run: bool, **options: Any) -> None:
    """Bring pipelines/schedules/NAME.yaml (or a .yaml file) to the server; doing it twice changes nothing."""
    from pipelines.compilation import cluster_spec
    from pipelines.profiles import read_profile
    from pipelines.schedules import put_schedule, read_schedule

    cluster = _cluster(options)
    name, wanted = read_schedule(name)
    if pipeline and pipeline != wanted.pipeline:
        raise ConfigError(f"the schedule {name} runs the pipeline {wanted.pipeline}, not {pipeline}; name a schedule of {pipeline}")
    spec = cluster_spec(wanted.pipeline, read_profile(wanted.profile) if wanted.profile else None)
    _refuse_parameters(wanted.pipeline, spec.get("pipeline_spec", spec), wanted.filled_parameters())
    for time in wanted.next_times(datetime.now(UTC)):
        click.echo(f"next: {time:%Y-%m-%d %H:%M:%S} UTC, {time.astimezone():%Y-%m-%d %H:%M:%S %Z} here")
    if not dry_run:
        outcome = put_schedule(cluster, name, wanted, spec)
        click.echo(f"{name} {outcome.action}, {outcome.recurring_run_id}")


@click.command("unschedule")
@click.argument("name")
@click.option("--pipeline", type=PIPELINES, help="Only if it runs this pipeline.")
@server_options
def unschedule(*, name: str, pipeline: str | None, **options: Any) -> None:
    """Delete a schedule from the server; runs that it started go on."""
    from pipelines.schedules import remove_schedule

    count = remove_schedule(_cluster(options), name, f"nann-{pipeline}" if pipeline else "")
    click.echo(f"{name}: {count} deleted" if count else f"{name}: was not there")


def cluster_commands() -> list[click.Command]:
    """All of them, in the order they are listed."""
    return [submit, status, wait, logs, list_runs, schedule, unschedule]


def _config_parameters(pipeline: str, config_file: Path | None, assignments: tuple[str, ...]) -> dict[str, Any]:
    """One struct per step; complete, for a struct given replaces the default as a whole."""
    from pipelines.commands import resolve_configs

    return {
        f"{step.replace('-', '_')}_config": config.model_dump(mode="json", exclude_none=True)
        for step, config in resolve_configs(config_file, assignments).items()
        if step in [known.name for known in STEPS_OF[pipeline]]
    }


def _refuse_parameters(pipeline: str, document: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuses what the pipeline would only find out in its first task: parameters it has not, and those it needs and did not get."""
    known = document["root"]["inputDefinitions"]["parameters"]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError(f"the pipeline {pipeline} has no parameter {unknown[0]!r}; known: {', '.join(sorted(known))}")
    missing = sorted(name for name, parameter in known.items() if not parameter.get("isOptional") and name not in given)
    if missing:
        raise ConfigError(f"the pipeline {pipeline} needs the parameter {missing[0]!r}")
    for name, values in given.items():
        if name.endswith("_config"):
            make_config(name.removesuffix("_config").replace("_", "-"), values)


def _assigned(parameters: tuple[str, ...]) -> dict[str, Any]:
    import yaml

    values = {}
    for text in parameters:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"--param needs NAME=VALUE, but it is {text!r}")
        values[name] = yaml.safe_load(value)
    return values


def _wait(cluster: Any, run_id: str, seconds: float) -> None:
    seen: dict[str, str] = {}

    def show(run: Any) -> None:
        for task in _tasks(run):
            if task.state and seen.get(task.display_name) != task.state:
                seen[task.display_name] = task.state
                click.echo(f"{task.display_name} {task.state}", err=True)

    poll = click.get_current_context().params["timeout"] / 3
    run = cluster.wait(run_id, timeout_seconds=seconds, poll_seconds=min(10.0, poll), show=show)
    click.echo(f"run {run_id} {run.state}", err=True)
    _exit_with(run)


def _exit_with(run: Any, *, running_is_fine: bool = False) -> None:
    from pipelines.cluster import FINISHED, ClusterError

    if run.state == "SUCCEEDED" or (running_is_fine and run.state not in FINISHED):
        return
    failed = [task.display_name for task in _tasks(run) if task.state == "FAILED"]
    why = f": {_message(run.error)}" if _message(run.error) else ""
    where = f"; failed: {', '.join(failed)}" if failed else ""
    raise ClusterError(f"run {run.run_id} is {run.state}{why}{where}; `nann pipeline logs {run.run_id}` shows what it wrote")


def _tasks(run: Any) -> list[Any]:
    """Tasks that are steps; drivers and the root are the server's own."""
    details = run.run_details.task_details if run.run_details else None
    return sorted((task for task in details or () if task.display_name in STEP_ORDER), key=lambda task: STEP_ORDER.index(task.display_name))


def _pods(task: Any) -> list[str]:
    pods = [child.pod_name for child in task.child_tasks or () if child.pod_name]
    return pods or ([task.pod_name] if task.pod_name else [])


def _seconds(task: Any) -> str:
    return f"{(task.end_time - task.start_time).total_seconds():.0f} s" if task.start_time and task.end_time else ""


def _message(error: Any) -> str:
    return " ".join(str(error.message).split()) if error is not None and error.message else ""
