"""The command `nann pipeline doctor`."""

from __future__ import annotations

import json
from typing import Any

import click

from pipelines.server_options import server_cluster, server_options


@click.command("doctor")
@click.option("--profile", default="cpu", show_default=True, metavar="NAME", help="Resources of the tasks: a name or a .yaml file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
@server_options
def doctor(*, profile: str, as_json: bool, **options: Any) -> None:
    """Look whether a run with this profile would find what it needs; exit 1 when something is missing.

    Asks the API server, Kubernetes (by the kubeconfig, or in a pod) and the registry of the images. Changes nothing.
    """
    from pipelines.api_server import ClusterError
    from pipelines.doctor import MISSING, examine
    from pipelines.profiles import read_profile

    findings = []
    for found in examine(server_cluster(options), read_profile(profile), timeout_seconds=options["timeout"]):
        findings.append(found)
        if not as_json:
            click.echo(f"{found.state:<9}{found.what}: {found.text}")
    if as_json:
        click.echo(json.dumps([{"what": found.what, "state": found.state, "text": found.text} for found in findings], indent=1))
    missing = [found.what for found in findings if found.state == MISSING]
    if missing:
        raise ClusterError(f"missing: {', '.join(missing)}")
