"""The command `nann add-items`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from components.configs import make_config, read_config_file
from components.options import config_options, given_values
from components.output import hidden_start_up_notes, print_result, set_up_logging
from data_prep.cores import limit_thread_pools
from nann.steps.table import CONFIGS, load_object

PATH = click.Path(path_type=Path)


@click.command(
    "add-items", help="Put items that the model has not met into the catalogue, the graph and the exported forms; nothing is trained."
)
@click.option(
    "--items", type=PATH, required=True, metavar="FILE", help="CSV or Parquet: item_id, category_id, and the features the model reads."
)
@click.option(
    "--service", metavar="DIR", help="Add to the version in service, of a directory or the URL of an object store, and publish it."
)
@click.option("--base", type=PATH, metavar="ROOT", help="Add to the model of a run directory; nothing is published.")
@click.option(
    "--output-root",
    type=PATH,
    required=True,
    metavar="ROOT",
    help="Directory to write the artifacts into, another one than that of --base.",
)
@click.option("--config", "config_file", type=PATH, metavar="FILE", help="YAML file with a section `add-items:`.")
@config_options(load_object(CONFIGS["add-items"]))
@click.option("--overwrite", is_flag=True, help="Replace artifacts made of others.")
@click.option("--quiet", is_flag=True, help="Log warnings only.")
@click.option("--verbose", is_flag=True, help="Log details, TensorFlow's own notes included.")
@click.pass_context
def add_items_command(
    context: click.Context,
    /,
    *,
    items: Path,
    service: str | None,
    base: Path | None,
    output_root: Path,
    config_file: Path | None,
    overwrite: bool,
    verbose: bool,
    quiet: bool,
    **_: Any,
) -> None:
    """Writes the artifacts, and publishes them with --service."""
    set_up_logging(verbose=verbose, quiet=quiet)
    if (service is None) == (base is None):
        raise click.UsageError("Give one of --service and --base.")
    given = given_values(context, load_object(CONFIGS["add-items"]))
    config: Any = make_config("add-items", read_config_file(config_file).get("add-items", {}), given)
    limit_thread_pools()
    with hidden_start_up_notes(unless=verbose):
        from nann.steps.add_items import add_items
    result = add_items(items=items, output_root=output_root, config=config, base=base, service=service, overwrite=overwrite)
    print_result(result.path, result.metrics, reused=result.reused)
