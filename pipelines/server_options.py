"""What the commands that talk to an API server have in common: where it is, and which run is meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from components.cli import common_options
from components.output import set_up_logging
from nann.steps.table import STEPS_OF

if TYPE_CHECKING:
    from pipelines.cluster import Cluster

POLL_SECONDS = 10.0  # between two looks at a run, at most
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


def not_empty(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Refuses an empty argument, as a shell makes it of a variable that is not set: it would mean any run, or every schedule."""
    if value is not None and not value.strip():
        raise click.BadParameter("it is empty; is a variable of the shell not set?")
    return value


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which run: by its id, or the newest one of a pipeline."""
    newest = "Without RUN_ID: the newest run of this pipeline."
    command = click.option("--pipeline", type=PIPELINES, default="training", show_default=True, help=newest)(command)
    return click.argument("run_id", required=False, callback=not_empty)(command)


def server_cluster(options: dict[str, Any]) -> Cluster:
    """The server that the options name; logging is set up as they say."""
    set_up_logging(verbose=options["verbose"], quiet=options["quiet"])
    from pipelines.api_server import Server
    from pipelines.cluster import Cluster

    return Cluster(Server(options["host"], options["namespace"], options["token"] or "", options["timeout"]))


def poll_seconds(options: dict[str, Any]) -> float:
    """Seconds between two looks at a run."""
    return float(min(POLL_SECONDS, options["timeout"] / 3))
