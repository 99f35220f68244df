"""The command `nann compare`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from components.configs import make_config, read_config_file
from components.options import config_options, given_values
from components.output import set_up_logging
from nann.steps.table import CONFIGS, load_object


@click.command("compare", help="Compare two evaluations on the same users: difference, 95 % interval, p-value.")
@click.argument("a", metavar="A[,A...]")
@click.argument("b", metavar="B[,B...]")
@click.option("--page", type=click.Path(path_type=Path), metavar="FILE", help="Also write a page, FILE.html.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="YAML file with a section `compare:`.")
@config_options(load_object(CONFIGS["compare"]))
@click.pass_context
def compare_command(
    context: click.Context, /, *, a: str, b: str, page: Path | None, as_json: bool, config_file: Path | None, **_: Any
) -> None:
    """A and B are directories made by `nann evaluate` or `nann seeds`, or runs; several with commas are seeds of one config.

    B may name a baseline of A, or be best_baseline: at each K the one with the highest recall.
    """
    set_up_logging(verbose=False, quiet=False)
    config: Any = make_config(
        "compare", read_config_file(config_file).get("compare", {}), given_values(context, load_object(CONFIGS["compare"]))
    )
    from nann.steps.compare import compare

    found = compare(a=_paths(a), b=b if not Path(b.partition(",")[0]).is_dir() and "/" not in b else _paths(b), config=config)
    if page is not None:
        _write_page(page, dataclasses.asdict(found), config.lists)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found)))
        return
    print_comparison(found)


def _write_page(path: Path, found: dict[str, Any], lists: str) -> None:
    from nann.reporting.compare_page import compare_page
    from nann.reporting.page import render

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(compare_page(found, lists)), encoding="utf-8")
    click.echo(f"page: {path}", err=True)


def _paths(text: str) -> list[Path]:
    paths = [Path(part.strip()) for part in text.split(",") if part.strip()]
    if not paths:
        raise click.UsageError(f"{text!r} names no directory; give one made by `nann evaluate`, or a run.")
    return paths


def print_comparison(found: Any) -> None:
    """One line per metric: both means, the difference with its interval, the ratio with its interval, the p-value."""
    click.echo(f"A: {found.name_a}{_seeds(found.seeds_a)}")
    click.echo(f"B: {found.name_b}{_seeds(found.seeds_b)}")
    click.echo(f"{found.num_users:,} users")
    click.echo(f"{'':<12}{'A':>8}{'B':>8}  {'A - B':<29}{'A / B':<24}p")
    for name, paired in found.figures.items():
        low, high = paired.interval
        difference = f"{paired.difference:+.4f} ({low:+.4f} to {high:+.4f})"
        ratio = "-" if paired.ratio is None else f"{paired.ratio:.3f}"
        if paired.ratio_interval is not None:
            ratio += f" ({paired.ratio_interval[0]:.3f} to {paired.ratio_interval[1]:.3f})"
        click.echo(f"{name:<12}{paired.mean_a:>8.4f}{paired.mean_b:>8.4f}  {difference:<29}{ratio:<24}{paired.p_value:.2g} ({paired.test})")


def _seeds(count: int) -> str:
    return f" (mean of {count} seeds)" if count > 1 else ""
