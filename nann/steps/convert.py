"""Step `convert`: interaction log -> dataset."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from data_prep.config import RESOURCE_FIELDS, ConvertConfig
from data_prep.convert import ConvertReport, convert_log
from data_prep.errors import DataError
from data_prep.sources import expand_directories, find_records, require_files
from nann.artifacts import ArtifactWriter, Inputs, StepResult, open_artifact, sha256_files

logger = logging.getLogger(__name__)


def _digests(kind: str, paths: Sequence[Path]) -> dict[str, str]:
    """``KIND:BASENAME`` -> sha256 of the bytes; names that occur again get their position, so that the order of inputs counts."""
    keys = [f"{kind}:{path.name}" if len(paths) == 1 else f"{kind}:{position}:{path.name}" for position, path in enumerate(paths)]
    return dict(zip(keys, sha256_files(paths), strict=True))


def _adopt(inputs: Sequence[Path], directory: Path, config: ConvertConfig) -> ConvertReport:
    from nann.ready_made import adopt_records  # it needs TensorFlow's record reader

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
    return ArtifactWriter(dataset, step="convert", params=params, inputs=digests, resumable=True, overwrite=overwrite)


def convert(*, inputs: Sequence[Path], dataset: Path, config: ConvertConfig, overwrite: bool = False) -> StepResult:
    """Converts a raw interaction log into a dataset artifact. A conversion that was killed goes on where it was.

    Args:
        inputs: log files (CSV, gzip or zstd CSV, Parquet) and directories of such, read in this order as one log; or ready-made record
            files and directories of such, as ``config.input_format`` says.
        dataset: directory to write; formats in `docs/data.md`.
        config: options of the conversion.
        overwrite: replace a differing dataset.

    Raises:
        data_prep.DataError: an input is missing, damaged, or breaks a rule beyond the limits.
        ArtifactError: ``dataset`` holds something else, or the earlier dataset to go on from is not whole.
    """
    inputs = [Path(path) for path in inputs]
    inputs = expand_directories(inputs) if config.input_format == "log" else find_records(inputs)
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
