"""The page of all commands and their options, made from the commands themselves: ``python -m pipelines.reference docs/options.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from pipelines.cli import main

HEAD = """# All commands and options

Made from the commands by `python -m pipelines.reference docs/options.md`; a test holds it to them. Every option of a step is also a line of
its section in a [config file](../README.md), with underscores for dashes: `nann train --max-steps 100` is `max_steps: 100` below `train:`,
and `--set train.max_steps=100` of `nann pipeline run`.
"""
UNIVERSAL = ("help", "verbose", "quiet", "version")  # of every command


def page() -> str:
    """The page, Markdown."""
    return "\n".join([HEAD, *_parts(click.Context(main, info_name="nann"))])


def _parts(context: click.Context) -> Iterator[str]:
    """The parts of a command, and of those below it."""
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if (below := command.get_command(context, name)) is not None and not below.hidden:
                yield from _parts(click.Context(below, info_name=name, parent=context))
        return
    arguments = [param.make_metavar(context) for param in command.params if isinstance(param, click.Argument)]
    yield f"## `{' '.join([context.command_path, *arguments])}`\n"
    yield f"{' '.join((command.help or '').split())}\n"
    yield "| option | what it does |\n|---|---|"
    for param in command.params:
        record = param.get_help_record(context) if param.name not in UNIVERSAL else None
        if record is not None:
            flags, text = (_cell(part) for part in record)
            yield f"| `{flags}` | {text.replace('<', '&lt;')} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
