"""The root command `nann`: the single-step commands and the pipeline, with errors mapped to exit codes.

Exit 0: done; 1: a failed step, told in one line when it is the operator's to act on, with a traceback when it is not; 2: usage;
3: a service that is not well (`nann health`); 130: interrupted.
"""

from __future__ import annotations

from typing import IO, Any

import click

import nann
from components.add_items_command import add_items_command
from components.cli import step_commands
from components.compare_command import compare_command
from components.errors import operator_message
from components.explain_command import explain_command, show_group
from components.health_command import health_command
from components.inspect_command import inspect_command
from components.serve_command import serve_command
from pipelines.commands import compile_file, run
from pipelines.doctor_command import doctor
from pipelines.schedule_commands import pause, resume, schedule, unschedule, upload
from pipelines.submit_commands import list_runs, submit
from pipelines.watch_commands import logs, status, wait


class OneLineError(click.ClickException):
    """Ends the command with one line on stderr and exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints the line."""
        click.echo(self.message, file=file, err=file is None)


class InterruptionError(OneLineError):
    """Ends an interrupted command."""

    exit_code = 130


class RootGroup(click.Group):
    """A group that maps the errors of every subcommand."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the subcommand; errors an operator can act on become one line."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise InterruptionError("interrupted") from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            message = operator_message(error)
            if message is None:
                raise
            raise OneLineError(f"error: {message}") from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the pipeline, not of the alphabet."""
        return list(self.commands)


@click.group(cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(nann.__version__, prog_name="nann")
def main() -> None:
    """Deep retrieval offline: raw interaction logs in, a servable retrieval graph with measured recall and latency out.

    Run the steps one by one, or all of them as one pipeline: `nann pipeline run`.
    """


@click.group("pipeline")
def pipeline_group() -> None:
    """Run, compile, submit or schedule all steps as one pipeline."""


for _command in (run, compile_file, submit, status, wait, logs, list_runs, schedule, unschedule, pause, resume, upload, doctor):
    pipeline_group.add_command(_command)
for _command in (
    *step_commands(),
    add_items_command,
    *(serve_command, health_command, explain_command, show_group, compare_command, inspect_command, pipeline_group),
):
    main.add_command(_command)

if __name__ == "__main__":
    main()
