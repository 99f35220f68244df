"""Step `generate`: a synthetic log with planted structure, for trying the pipeline without data of one's own."""

from __future__ import annotations

import os
from pathlib import Path

from data_prep.config import GenerateConfig
from data_prep.errors import DataError
from data_prep.generate import generate_log
from nann.artifacts import StepResult


def generate(*, output: Path, config: GenerateConfig, overwrite: bool = False) -> StepResult:
    """Writes a generated log, a single file without a manifest.

    Args:
        output: `.csv`, `.csv.gz` or `.parquet` file to write.
        config: sizes, structure and seed.
        overwrite: replace an existing file.

    Raises:
        data_prep.DataError: the file exists already, or its name has another suffix.
    """
    if os.path.lexists(output) and not overwrite:
        raise DataError(f"{output} exists already; give --overwrite to replace it, or another path")
    report = generate_log(Path(output), config)
    return StepResult(
        path=report.path, metrics={"num_events": report.num_events, "num_users": report.num_users, "num_items": report.num_items}
    )
