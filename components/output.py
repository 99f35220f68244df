"""What the commands show: logs on stderr, results on stdout."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click


def set_up_logging(*, verbose: bool, quiet: bool) -> None:
    """Sends logs to stderr: coloured on a terminal, one plain line per record otherwise. Replaces what was set up before."""
    # TensorFlow's C++ side reads this once, when it is loaded; its start-up notes help nobody here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if verbose else "2")
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=verbose, rich_tracebacks=False, omit_repeated_times=False)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    for package in ("nann", "data_prep", "ops", "components", "pipelines"):
        logging.getLogger(package).setLevel(level)
    # Its Python warnings (deprecations, retracing) are for whoever changes the code, not for who runs it.
    logging.getLogger("tensorflow").setLevel(logging.INFO if verbose else logging.ERROR)


@contextmanager
def hidden_start_up_notes(*, unless: bool = False) -> Iterator[None]:
    """Keeps what native libraries write to stderr while they are imported away from the reader, unless the import fails.

    TensorFlow 2.21 prints two notes about oneDNN on import whatever its log level is.
    """
    if unless:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            notes.seek(0)
            os.write(2, notes.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def flatten_metrics(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted name, value) for the leaves of nested metrics, in their order."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from flatten_metrics(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def format_value(value: Any) -> str:
    """A number as a person reads it: thousands separated, four significant digits; anything else as it stands."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        if value == int(value) and abs(value) < 1e15:
            return f"{int(value):,}"
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return json.dumps(value) if len(value) <= 8 else f"[{len(value)} values]"
    return str(value)


def print_result(path: Path, metrics: Mapping[str, Any], *, reused: bool) -> None:
    """Prints a step's metrics as aligned lines and where its artifact lies."""
    rows = [(name, format_value(value)) for name, value in flatten_metrics(metrics)]
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {text}")
    click.echo(f"{path} ({'was up to date' if reused else 'written'})")


def markdown_summary(title: str, path: str, metrics: Mapping[str, Any], *, reused: bool, seconds: float) -> str:
    """The same as a Markdown page, for the pipeline's UI."""
    state = "was up to date" if reused else f"written in {seconds:.1f} s"
    lines = [f"# {title}", "", f"`{path}` {state}", "", "| metric | value |", "|---|---|"]
    lines += [f"| {name} | {format_value(value)} |" for name, value in flatten_metrics(metrics)]
    return "\n".join(lines) + "\n"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    """Prints a table of texts."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
