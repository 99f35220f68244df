"""The command `nann health`."""

from __future__ import annotations

import json
import time

import click

from components.output import hidden_start_up_notes, set_up_logging

NOT_WELL = 3  # exit code; 1 is a service that cannot be read, 2 is usage


@click.command("health", help="Say whether a service is well, for monitoring: exit code 0 if it is, 3 if something is out of its limit.")
@click.argument("service")
@click.option(
    "--max-age-hours", type=click.FloatRange(min=0), default=48.0, show_default=True, help="Most since the last event the model knows."
)
@click.option(
    "--max-refusals", type=click.IntRange(min=0), default=1, show_default=True, help="Most candidates refused since it was published."
)
@click.option(
    "--max-gap-hours", type=click.FloatRange(min=0), default=12.0, show_default=True, help="Most without an event in or between windows."
)
@click.option("--windows", type=click.IntRange(min=1), default=7, show_default=True, help="Last windows to look at for that.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def health_command(service: str, *, max_age_hours: float, max_refusals: int, max_gap_hours: float, windows: int, as_json: bool) -> None:
    """Prints a line for each thing that was looked at."""
    set_up_logging(verbose=False, quiet=True)
    with hidden_start_up_notes():
        from nann.service.health import HealthLimits, service_health
        from nann.service.shelf import Shelf

        limits = HealthLimits(max_age_hours, max_refusals, max_gap_hours, windows)
        findings = service_health(Shelf(service).require(), limits, now=time.time())
    well = all(finding.state != "bad" for finding in findings)
    if as_json:
        click.echo(json.dumps({"well": well, "findings": [finding.as_dict() for finding in findings]}))
    else:
        for finding in findings:
            click.echo(f"{finding.state:<8} {finding.name:<9} {finding.text}")
    if not well:
        raise click.exceptions.Exit(NOT_WELL)
