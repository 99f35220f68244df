"""The command `nann inspect`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from components.options import CommaList
from components.output import hidden_start_up_notes, set_up_logging

NAMES = CommaList(click.STRING, "name")


@click.command("inspect", help="Print a graph's inputs, outputs, ops and cost per user and per item, and what compression would do to it.")
@click.argument("graph", type=click.Path(path_type=Path))
@click.option("--user-inputs", type=NAMES, default=(), help="Placeholders with one row per user; known for a frozen scorer.")
@click.option("--item-inputs", type=NAMES, default=(), help="Placeholders with one row per item.")
@click.option("--outputs", type=NAMES, default=(), help="Nodes whose values count; default: those that nothing reads.")
@click.option("--items-per-user", type=click.FloatRange(min=0), default=100.0, show_default=True, help="Predict the effect for this many.")
@click.option("--length", type=click.IntRange(min=1), default=50, show_default=True, help="Assumed size of axes of unknown size.")
@click.option("--signature", default="serving_default", show_default=True, help="Signature of a SavedModel.")
@click.option("--allow-own-models", is_flag=True, help="Load a SavedModel with whatever ops it holds, which may touch files.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def inspect_command(graph: Path, *, as_json: bool, **options: Any) -> None:
    """Prints a summary of GRAPH: a GraphDef (.pb), a MetaGraph (.meta) or a SavedModel directory."""
    set_up_logging(verbose=False, quiet=True)
    with hidden_start_up_notes():
        from nann.inspection import inspect

        summary = inspect(graph, **options)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary)))
        return
    for title, tensors in (("inputs", summary.inputs), ("outputs", summary.outputs)):
        click.echo(f"{title}:")
        width = max([0, *(len(name) for name in tensors)])
        for name, (dtype, shape) in tensors.items():
            click.echo(f"  {name:<{width}}  {dtype:<8} {shape}")
    click.echo(f"ops: {sum(summary.ops.values()):,}, constants {summary.constant_bytes:,} bytes")
    for op, count in summary.ops.items():
        click.echo(f"  {count:>5}  {op}")
    click.echo(f"FLOPs per user: {summary.flops_per_user:,.0f}")
    click.echo(f"FLOPs per item: {summary.flops_per_item:,.0f}")
    click.echo("compression:")
    for line in summary.compression:
        click.echo(f"  {line}")
