"""The commands for schedules and what they run: schedule, unschedule, pause, resume, upload."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from components.errors import ConfigError
from pipelines.parameters import refuse_parameters
from pipelines.server_options import PIPELINES, not_empty, server_cluster, server_options

if TYPE_CHECKING:
    from pipelines.cluster import Cluster
    from pipelines.schedules import Schedule, SchedulePlan, Source


@click.command("schedule")
@click.argument("name")
@click.option("--pipeline", type=PIPELINES, help="Refuse a schedule of another pipeline than this.")
@click.option("--dry-run", is_flag=True, help="Only check the file and show the next fire times; no server is asked.")
@click.option("--preview", is_flag=True, help="Show what would change on the server, and change nothing.")
@server_options
def schedule(*, name: str, pipeline: str | None, dry_run: bool, preview: bool, **options: Any) -> None:
    """Bring pipelines/schedules/NAME.yaml (or a .yaml file) to the server; doing it twice changes nothing."""
    from pipelines.compilation import compiled_text, parsed_spec
    from pipelines.profiles import read_profile
    from pipelines.schedules import plan_schedule, put_schedule, read_schedule

    cluster = server_cluster(options)
    name, wanted = read_schedule(name)
    if pipeline and pipeline != wanted.pipeline:
        raise ConfigError(f"the schedule {name} runs the pipeline {wanted.pipeline}, not {pipeline}; name a schedule of {pipeline}")
    text = compiled_text(wanted.pipeline, read_profile(wanted.profile) if wanted.profile else None)
    spec = parsed_spec(text)
    refuse_parameters(wanted.pipeline, spec.get("pipeline_spec", spec), wanted.filled_parameters())
    for time in wanted.next_times(datetime.now(UTC)):
        click.echo(f"next: {time:%Y-%m-%d %H:%M:%S} UTC, {time.astimezone():%Y-%m-%d %H:%M:%S %Z} here")
    if dry_run:
        return
    source = _source(cluster, wanted, spec, text, dry_run=preview)
    if preview:
        _show_plan(name, plan_schedule(cluster, name, wanted, source))
        return
    outcome = put_schedule(cluster, name, wanted, source)
    click.echo(f"{name} {outcome.action}, {outcome.recurring_run_id}")
    if outcome.paused:
        click.echo(f"{name} is paused; `nann pipeline resume {name}` lets it start runs again")


@click.command("unschedule")
@click.argument("name", callback=not_empty)
@click.option("--pipeline", type=PIPELINES, help="Only if it runs this pipeline.")
@server_options
def unschedule(*, name: str, pipeline: str | None, **options: Any) -> None:
    """Delete a schedule from the server; runs that it started go on."""
    from pipelines.schedules import remove_schedule

    count = remove_schedule(server_cluster(options), name, f"nann-{pipeline}" if pipeline else "")
    click.echo(f"{name}: {count} deleted" if count else f"{name}: was not there")


@click.command("pause")
@click.argument("name", callback=not_empty)
@server_options
def pause(*, name: str, **options: Any) -> None:
    """Keep a schedule from starting runs; runs that it started go on."""
    from pipelines.schedules import switch_schedule

    switch_schedule(server_cluster(options), name, enabled=False)
    click.echo(f"{name} paused")


@click.command("resume")
@click.argument("name", callback=not_empty)
@server_options
def resume(*, name: str, **options: Any) -> None:
    """Let a paused schedule start runs again."""
    from pipelines.schedules import switch_schedule

    switch_schedule(server_cluster(options), name, enabled=True)
    click.echo(f"{name} resumed")


@click.command("upload")
@click.option("--pipeline", type=PIPELINES, default="training", show_default=True, help="What to upload.")
@click.option("--profile", default="cpu", show_default=True, metavar="NAME", help="Resources of the tasks: a name or a .yaml file.")
@click.option("--dry-run", is_flag=True, help="Only say what would be uploaded.")
@server_options
def upload(*, pipeline: str, profile: str, dry_run: bool, **options: Any) -> None:
    """Make this tree's pipeline the newest version on the server, for schedules with `document: newest`."""
    from pipelines.compilation import compiled_text
    from pipelines.profiles import read_profile
    from pipelines.uploads import server_name, upload_pipeline

    name = server_name(pipeline, profile)
    done = upload_pipeline(server_cluster(options), name, compiled_text(pipeline, read_profile(profile)), dry_run=dry_run)
    click.echo(f"{name}: {done.action}{' (not done)' if dry_run else ''}, {done.version}")


def _source(cluster: Cluster, wanted: Schedule, spec: dict[str, Any], text: str, *, dry_run: bool) -> Source:
    """What the schedule runs; a pipeline whose newest version it follows is uploaded when that differs."""
    from pipelines.schedules import Source
    from pipelines.uploads import UNCHANGED, server_name, upload_pipeline

    if wanted.document == "embedded":
        return Source(spec=spec)
    name = server_name(wanted.pipeline, wanted.profile)
    done = upload_pipeline(cluster, name, text, dry_run=dry_run)
    if done.action != UNCHANGED:
        click.echo(f"pipeline {name}: {done.action}{' (not done)' if dry_run else ''}, {done.version}")
    return Source(pipeline_id=done.pipeline_id)


def _show_plan(name: str, plan: SchedulePlan) -> None:
    verbs = {"created": "would be created", "replaced": "would be replaced", "unchanged": "is as in its file"}
    click.echo(f"{name} {verbs[plan.action]}{', and is paused' if plan.paused else ''}")
    for change in plan.changes:
        click.echo(f"  {change}")
