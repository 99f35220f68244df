"""Step `convert`: interaction log -> dataset."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from data_prep.config import RESOURCE_FIELDS, ConvertConfig
from data_prep.convert import convert_log
from data_prep.dry_run import dry_run as dry_run_log
from data_prep.durable import naming, remove_tree
from data_prep.errors import DataError
from data_prep.presets import resolve_format
from data_prep.report import ConvertReport
from data_prep.sources import expand_directories, find_records, require_files
from nann.artifacts import ArtifactWriter, Inputs, StepResult, open_artifact
from nann.digests import sha256_files
from nann.placing import Place, locked
from nann.steps.table import CONVERT

STANDARD_INPUT = Path("-")
logger = logging.getLogger(__name__)


@contextlib.contextmanager
def standard_input_as_file(inputs: Sequence[Path], dataset: Path) -> Iterator[list[Path]]:
    """The inputs with ``-`` replaced by a file beside the dataset that holds what standard input gave, since a log is read twice.

    Raises:
        data_prep.DataError: it is named twice.
    """
    if STANDARD_INPUT not in inputs:
        yield list(inputs)
        return
    if list(inputs).count(STANDARD_INPUT) > 1:
        raise DataError("standard input (-) is given twice, but can be read once; give it once")
    dataset.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{dataset.name}.stdin-"
    _remove_copies(dataset.parent, prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=dataset.parent) as directory, locked(Path(directory)):
        copy = Path(directory) / "stdin"
        with naming(copy), copy.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
        yield [copy if path == STANDARD_INPUT else path for path in inputs]


def _remove_copies(parent: Path, prefix: str) -> None:
    """Removes the copies of standard input that killed processes have left."""
    for left in (path for path in parent.iterdir() if path.name.startswith(prefix)):
        if left.is_symlink() or not left.is_dir() or {entry.name for entry in left.iterdir()} - {"stdin"}:
            continue
        with locked(left) as lock:
            if lock is not None:
                remove_tree(left)


def _digests(kind: str, paths: Sequence[Path]) -> dict[str, str]:
    """``KIND:BASENAME`` -> sha256 of the bytes; names that occur again get their position, so that the order of inputs counts."""
    keys = [f"{kind}:{path.name}" if len(paths) == 1 else f"{kind}:{position}:{path.name}" for position, path in enumerate(paths)]
    return dict(zip(keys, sha256_files(paths), strict=True))


def _adopt(inputs: Sequence[Path], directory: Path, config: ConvertConfig) -> ConvertReport:
    from nann.dataset.ready_made import adopt_records  # it needs TensorFlow's record reader

    return adopt_records(inputs, directory, config)


def input_digests(inputs: Sequence[Path], config: ConvertConfig) -> Callable[[], dict[str, str]]:
    """A function that gives the digest per input of a conversion: log files, items file, users file, earlier dataset. It reads them all;
    that they are there is checked at once.

    Raises:
        data_prep.DataError: a file is missing or empty.
        ArtifactError: the earlier dataset is not whole.
    """
    items, users = ([Path(path)] if path else [] for path in (config.items, config.users))
    require_files([*inputs, *items, *users])
    base = {"base_dataset": open_artifact(config.base, step="convert").digest} if config.base else {}
    return lambda: _digests("log", inputs) | _digests("items", items) | _digests("users", users) | base


def open_writer(dataset: Path, config: ConvertConfig, digests: Inputs | Callable[[], Inputs], *, overwrite: bool) -> ArtifactWriter:
    """The writer of the dataset artifact; options that change no byte are no parameters of it."""
    params = config.model_dump(mode="json", exclude={"items", "users", "base", *RESOURCE_FIELDS})
    return ArtifactWriter(dataset, step=CONVERT.name, params=params, inputs=digests, resumable=CONVERT.resumable, overwrite=overwrite)


def convert(*, inputs: Sequence[Path], dataset: Path, config: ConvertConfig, overwrite: bool = False) -> StepResult:
    """Converts a raw interaction log into a dataset artifact. A conversion that was killed goes on where it was.

    Args:
        inputs: log files (CSV, JSON lines, Parquet; packed or not) and directories of such, read in this order as one log, ``-`` being
            standard input; or ready-made record files and directories of such, as ``config.input_format`` says.
        dataset: directory to write; formats in `docs/data.md`.
        config: options of the conversion.
        overwrite: replace a differing dataset.

    Raises:
        data_prep.DataError: an input is missing, damaged, or breaks a rule beyond the limits.
        ArtifactError: ``dataset`` holds something else, or the earlier dataset to go on from is not whole.
    """
    Place(dataset, CONVERT.name).require_ours()
    with standard_input_as_file([Path(path) for path in inputs], dataset) as paths:
        return _convert(paths, dataset, config, overwrite=overwrite)


def dry_run(*, inputs: Sequence[Path], dataset: Path | None, config: ConvertConfig) -> str:
    """What a conversion would make of a log, as text: what was decided, five rows, bad rows, and the command that fixes it all.

    Args:
        inputs: as of `convert`; standard input cannot be read twice.
        dataset: for the command; None for a placeholder.
        config: options of the conversion.

    Raises:
        data_prep.DataError: an input is missing, damaged, lacks a column, or is standard input or ready-made records.
    """
    if config.input_format != "log" or STANDARD_INPUT in [Path(path) for path in inputs]:
        raise DataError("a dry run reads log files only; leave out --dry-run for ready-made records, and write standard input to a file")
    paths = expand_directories([Path(path) for path in inputs])
    require_files(paths)
    found = dry_run_log(paths, resolve_format(config, paths))
    columns = list(found.rows[0]) if found.rows else []
    table = [columns, *([row[column] for column in columns] for row in found.rows)]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in table] if columns else []
    parts = [
        [f"{found.num_rows:,} rows read, nothing written"],
        ["decided:", *(f"  {line}" for line in found.decisions)],
        ["first rows as understood:", *(f"  {row}" for row in rows)],
        ["bad rows:" if found.bad_rows else "bad rows: none", *(f"  {line}" for line in found.bad_rows)],
        ["the same, with every decision fixed:", f"  {found.command([Path(path) for path in inputs], dataset)}"],
    ]
    return "\n".join(line for part in parts for line in part)


def _convert(inputs: Sequence[Path], dataset: Path, config: ConvertConfig, *, overwrite: bool) -> StepResult:
    inputs = expand_directories(inputs) if config.input_format == "log" else find_records(inputs)
    config = resolve_format(config, inputs)
    writer = open_writer(dataset, config, input_digests(inputs, config), overwrite=overwrite)
    if writer.is_current:
        return writer.current()
    with writer as directory:
        try:
            if config.input_format == "log":
                report = convert_log(inputs, directory, config, writer.digests)
            else:
                report = _adopt(inputs, directory, config)
            writer.metrics.update(report.metrics)
        except DataError:
            writer.discard()
            raise
    return writer.result()
