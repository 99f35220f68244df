"""The commands for schedules: schedule, unschedule."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from components.errors import ConfigError
from pipelines.parameters import refuse_parameters
from pipelines.server_options import PIPELINES, server_cluster, server_options


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

    cluster = server_cluster(options)
    name, wanted = read_schedule(name)
    if pipeline and pipeline != wanted.pipeline:
        raise ConfigError(f"the schedule {name} runs the pipeline {wanted.pipeline}, not {pipeline}; name a schedule of {pipeline}")
    spec = cluster_spec(wanted.pipeline, read_profile(wanted.profile) if wanted.profile else None)
    refuse_parameters(wanted.pipeline, spec.get("pipeline_spec", spec), wanted.filled_parameters())
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

    count = remove_schedule(server_cluster(options), name, f"nann-{pipeline}" if pipeline else "")
    click.echo(f"{name}: {count} deleted" if count else f"{name}: was not there")
