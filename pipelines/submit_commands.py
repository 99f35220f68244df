"""The commands that start runs and list them: submit, list."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from components.cli import PATH
from pipelines.parameters import assigned_parameters, config_parameters, refuse_parameters
from pipelines.server_options import PIPELINES, poll_seconds, server_cluster, server_options
from pipelines.watch_commands import end_with, follow_run, wait_for_run

if TYPE_CHECKING:
    from pipelines.cluster import Cluster


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
@click.option("--follow", is_flag=True, help="As --wait, and show what the steps write as it comes.")
@click.option("--wait-seconds", type=float, default=0.0, show_default=True, help="With --wait or --follow, the longest wait; 0: no limit.")
@server_options
def submit(*, inputs: tuple[str, ...], run_dir: str, wait_for_end: bool, follow: bool, wait_seconds: float, **options: Any) -> None:
    """Start a run of the pipeline on a cluster; print its id."""
    from pipelines.compilation import cluster_spec, with_caching
    from pipelines.profiles import read_profile

    cluster = server_cluster(options)
    parameters: dict[str, Any] = {"inputs": list(inputs), "run_dir": run_dir, "input_digest": options["input_digest"]}
    if (options["pipeline"] == "retraining") != bool(options["service"]):
        raise click.UsageError("--service belongs to --pipeline retraining, which needs it.")
    if options["service"]:
        parameters["service"] = options["service"]
    parameters |= config_parameters(options["pipeline"], options["config_file"], options["assignments"]) | assigned_parameters(
        options["parameters"]
    )
    spec = cluster_spec(options["pipeline"], read_profile(options["profile"]))
    document = spec.get("pipeline_spec", spec)
    refuse_parameters(options["pipeline"], document, parameters)
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
    if follow:
        end_with(follow_run(cluster, run_id, None, poll_seconds(options), wait_seconds))
    elif wait_for_end:
        wait_for_run(cluster, run_id, wait_seconds, poll_seconds(options))


@click.command("list")
@click.option("--experiment", default="", metavar="NAME", help="Only runs of this experiment.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The newest so many runs.")
@click.option("--pipeline", type=PIPELINES, help="Only runs of this pipeline.")
@click.option("--schedule", default="", metavar="NAME", help="Only runs of this schedule and of those it replaced.")
@click.option("--schedules", is_flag=True, help="List schedules instead of runs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
@server_options
def list_runs(*, experiment: str, limit: int, pipeline: str | None, schedule: str, schedules: bool, as_json: bool, **options: Any) -> None:
    """List runs, newest first, or schedules."""
    from pipelines.schedules import all_ids, schedules_there

    cluster = server_cluster(options)
    if schedules:
        entries = [_schedule_entry(cluster, found) for found in cluster.schedules(schedule)]
        layout = "{schedule_id}  {status:<10}{cron:<20}{name}"
    else:
        ids = all_ids(schedules_there(cluster, schedule)) if schedule else None
        entries = [_run_entry(cluster, run) for run in cluster.runs(experiment, limit, f"nann-{pipeline}" if pipeline else "", ids)]
        layout = "{run_id}  {state:<12}{created:<18}{name}"
    if as_json:
        click.echo(json.dumps(entries, indent=1))
        return
    for entry in entries:
        created = datetime.fromisoformat(entry["created_at"]).strftime("%Y-%m-%d %H:%M") if entry["created_at"] else "-"
        click.echo(layout.format(**{key: value if value not in ("", None) else "-" for key, value in entry.items()}, created=created))


def _run_entry(cluster: Cluster, run: Any) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.display_name,
        "state": run.state or "",
        "pipeline": cluster.pipeline_of(run),
        "created_at": run.created_at.isoformat() if run.created_at else "",
        "finished_at": run.finished_at.isoformat() if run.finished_at and run.finished_at.year > 1970 else "",
        "experiment_id": run.experiment_id or "",
        "schedule_id": run.recurring_run_id or "",
    }


def _schedule_entry(cluster: Cluster, found: Any) -> dict[str, Any]:
    reference = found.pipeline_version_reference
    return {
        "schedule_id": found.recurring_run_id,
        "name": found.display_name,
        "status": found.status or "",
        "cron": found.trigger.cron_schedule.cron if found.trigger and found.trigger.cron_schedule else "",
        "pipeline": cluster.pipeline_of(found),
        "uploaded_pipeline_id": (reference.pipeline_id or "") if reference else "",
        "created_at": found.created_at.isoformat() if found.created_at else "",
    }
