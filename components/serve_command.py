"""The command `nann serve`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from components.configs import make_config, read_config_file
from components.errors import ConfigError
from components.options import config_options, given_values
from components.output import hidden_start_up_notes, set_up_logging
from data_prep.cores import limit_thread_pools
from nann.steps.table import CONFIGS, load_object

PATH = click.Path(path_type=Path)


@click.command("serve", help="Answer requests over HTTP, as TensorFlow Serving's REST interface does; for trying and light use.")
@click.option("--service", type=PATH, metavar="DIR", help="Serve the version in service, and follow `nann publish` and `nann rollback`.")
@click.option("--converted-model", type=PATH, metavar="DIR", help="Serve a model made by `nann rewrite`, or the directory of a SavedModel.")
@click.option("--output-root", type=PATH, metavar="ROOT", help="Serve the converted model of a run directory.")
@click.option("--config", "config_file", type=PATH, metavar="FILE", help="YAML file with a section `serve:`.")
@config_options(load_object(CONFIGS["serve"]))
@click.option("--quiet", is_flag=True, help="Log warnings only.")
@click.option("--verbose", is_flag=True, help="Log details, TensorFlow's own notes included.")
@click.pass_context
def serve_command(
    context: click.Context,
    /,
    *,
    service: Path | None,
    converted_model: Path | None,
    output_root: Path | None,
    config_file: Path | None,
    verbose: bool,
    quiet: bool,
    **_: Any,
) -> None:
    """Serves until SIGTERM or Ctrl-C."""
    set_up_logging(verbose=verbose, quiet=quiet)
    given = [path for path in (service, converted_model, output_root) if path is not None]
    if len(given) != 1:
        raise click.UsageError("Give one of --service, --converted-model and --output-root.")
    config: Any = make_config("serve", read_config_file(config_file).get("serve", {}), given_values(context, load_object(CONFIGS["serve"])))
    missing = [name for name in ("uvicorn", "starlette", "prometheus_client") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"nann serve needs {', '.join(missing)}; install it with `pip install 'nann-pipeline[serve]'`")
    limit_thread_pools()
    with hidden_start_up_notes(unless=verbose):
        from nann.serving.server import serve
    serve(given[0], config, click.echo)
