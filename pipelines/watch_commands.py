"""The commands that look at a run: status, wait, logs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from nann.steps.table import STEP_ORDER
from pipelines.server_options import poll_seconds, run_options, server_cluster, server_options

if TYPE_CHECKING:
    from pipelines.cluster import Cluster
    from pipelines.run_logs import PodLogReader, StepLog
    from pipelines.run_state import RunState, Task


@click.command("status")
@run_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@server_options
def status(*, run_id: str | None, pipeline: str, as_json: bool, **options: Any) -> None:
    """Show a run and its steps; exit 1 when it failed or was cancelled."""
    cluster = server_cluster(options)
    run = cluster.run(run_id or cluster.newest_run(f"nann-{pipeline}"), pods=True)
    if as_json:
        click.echo(json.dumps(run.as_json(), indent=1))
    else:
        click.echo(f"{run.name}  {run.state}")
        for task in run.tasks:
            seconds = "" if task.seconds is None else f"{task.seconds:.0f} s"
            click.echo(f"{task.name:<16}{task.state or '-':<12}{seconds:>8}  {_note(task)}".rstrip())
    if not run.tasks:
        click.echo("the server's answer holds no steps (neither in `tasks` nor in `run_details.task_details`)", err=True)
    end_with(run, running_is_fine=True)


@click.command("wait")
@run_options
@click.option("--wait-seconds", type=float, default=0.0, show_default=True, help="The longest wait; 0: no limit.")
@server_options
def wait(*, run_id: str | None, pipeline: str, wait_seconds: float, **options: Any) -> None:
    """Wait for the end of a run; exit 1 unless it succeeded."""
    cluster = server_cluster(options)
    wait_for_run(cluster, run_id or cluster.newest_run(f"nann-{pipeline}"), wait_seconds, poll_seconds(options))


@click.command("logs")
@run_options
@click.option(
    "--step",
    type=click.Choice([*STEP_ORDER, "summarise"]),
    help="Only this step's. Default: every step that failed, else all.",
)
@click.option("--follow", is_flag=True, help="Show what is written until the run, or the step, has ended.")
@server_options
def logs(*, run_id: str | None, pipeline: str, step: str | None, follow: bool, **options: Any) -> None:
    """Print what the pods of a run wrote, of a step that was retried all attempts."""
    from pipelines.run_logs import PodLogReader, chosen_tasks, logs_of

    cluster = server_cluster(options)
    run_id = run_id or cluster.newest_run(f"nann-{pipeline}")
    if follow:
        run = follow_run(cluster, run_id, step, poll_seconds(options))
        if step is not None:
            chosen_tasks(run, step)  # raises where there was nothing to follow
        return
    run = cluster.run(run_id, pods=True)
    reader = PodLogReader(cluster, run_id)
    _print_logs(reader, [entry for task in chosen_tasks(run, step) for entry in logs_of(task)])


def follow_run(cluster: Cluster, run_id: str, step: str | None, poll: float, seconds: float = 0.0) -> RunState:
    """Prints what the steps of a run write, as it comes; headings go to stderr."""
    from pipelines.run_logs import follow_logs

    return follow_logs(
        cluster,
        run_id,
        step=step,
        poll_seconds=poll,
        timeout_seconds=seconds,
        title=lambda text: click.echo(f"--- {text}", err=True),
        write=lambda text: click.echo(text, nl=False),
    )


def wait_for_run(cluster: Cluster, run_id: str, seconds: float, poll: float) -> None:
    """Waits for the end of a run and says what changes; exit 1 unless it succeeded."""
    seen: dict[str, str] = {}

    def show(run: RunState) -> None:
        for task in run.tasks:
            if task.state and seen.get(task.name) != task.state:
                seen[task.name] = task.state
                click.echo(f"{task.name} {task.state}", err=True)

    run = cluster.wait(run_id, timeout_seconds=seconds, poll_seconds=poll, show=show)
    click.echo(f"run {run_id} {run.state}", err=True)
    end_with(run)


def end_with(run: RunState, *, running_is_fine: bool = False) -> None:
    """Ends the command with an error when the run did not succeed."""
    from pipelines.api_server import ClusterError

    if run.state == "SUCCEEDED" or (running_is_fine and not run.finished):
        return
    why = f": {run.error}" if run.error else ""
    where = f"; failed: {', '.join(task.name for task in run.failed)}" if run.failed else ""
    raise ClusterError(f"run {run.run_id} is {run.state}{why}{where}; `nann pipeline logs {run.run_id}` shows what it wrote")


def _print_logs(reader: PodLogReader, entries: list[StepLog]) -> None:
    """Prints all logs that are there; the others are told one by one, and then the command fails."""
    from pipelines.api_server import ClusterError

    missing = []
    for entry in entries:
        click.echo(f"--- {entry.title} ({entry.pod.name})", err=True)
        try:
            text = reader.read(entry.pod)
        except ClusterError as error:
            missing.append(str(error))
            continue
        click.echo(text.rstrip("\n"))
    if missing:
        raise ClusterError("\n".join(missing))


def _note(task: Task) -> str:
    tries = f"{len(task.attempts)} attempts" if len(task.attempts) > 1 else ""
    return "; ".join(filter(None, [tries, task.error]))
