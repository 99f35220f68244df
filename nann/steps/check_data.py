"""Step `check-data`: a window of a log against the windows before it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.json_text import write_json
from nann.artifacts import Artifact, StepResult, open_artifact
from nann.config import CheckDataConfig
from nann.contents import read_json
from nann.data_checks.compare import compared_figures
from nann.data_checks.rules import FIGURES, check_window
from nann.data_checks.series import SERIES_NAME, read_series, series_of
from nann.data_checks.statistics import WindowContents, window_statistics
from nann.dataset import Dataset
from nann.dataset.inputs import BEHAVIOR
from nann.digests import sha256_files
from nann.errors import ArtifactError
from nann.forms import CheckVerdict
from nann.option_types import stored_params
from nann.reporting.data_check_page import data_check_page
from nann.reporting.frame import write_page
from nann.steps.opening import open_step

VERDICT_NAME = "verdict.json"
logger = logging.getLogger(__name__)


def check_data(
    *, dataset: Path, data_check: Path, config: CheckDataConfig, earlier: Sequence[Path] = (), overwrite: bool = False
) -> StepResult:
    """Compares statistics of a window with those of the windows before it, and says whether a model may be trained on it.

    ``passed`` in ``verdict.json`` and in the metrics says whether the window is in range. One that is not is not taken into the series
    that the next window is compared with, and is an error once the artifact is written, unless ``config.on_refusal`` is "continue".

    Args:
        dataset: artifact of `convert`, the window.
        data_check: directory to write: ``statistics.json``, ``verdict.json`` (``passed``, ``refused``: figures out of range, ``refusals``:
            a sentence for each, ``checks``), ``series.json`` (the windows for the next check), ``report.html``.
        config: the limits.
        earlier: what checks of earlier windows wrote, or their ``series.json``; without any only absolute bounds hold.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: the window is refused; the dataset or what is said to be earlier is unusable, ``config.accept`` names no figure, or
            ``data_check`` holds something else.
    """
    for name in config.accept:
        if name not in FIGURES:
            raise ArtifactError(f"accept names {name!r}, which is no figure; give some of {', '.join(FIGURES)}")
    files = [path / SERIES_NAME if path.is_dir() else path for path in earlier]
    writer = open_step("check-data", locals(), more_inputs=_made_from(earlier))
    if writer.is_current:
        return _ended(writer.current(), config)
    digest = writer.artifacts["dataset"].digest
    before = read_series(files, besides=digest)
    statistics = {"dataset": digest, **window_statistics(read_window(dataset))}
    statistics["figures"] |= compared_figures(statistics, before)
    checks = check_window(statistics, before, config)
    refused = list(dict.fromkeys(check.name for check in checks if not check.passed and not check.accepted))
    verdict: dict[str, Any] = {
        "passed": not refused,
        "refused": refused,
        "refusals": [check.told() for check in checks if not check.passed and not check.accepted],
        "windows_before": len(before),
        "compared": len(before) >= config.min_windows,
        "checks": [check.as_dict() for check in checks],
    }
    with writer as directory:
        write_json(directory / "statistics.json", {name: value for name, value in statistics.items() if name != "sketches"})
        write_json(directory / VERDICT_NAME, verdict)
        write_json(directory / SERIES_NAME, series_of(before if refused else [*before, statistics], config.keep))
        write_page(directory, data_check_page(verdict, statistics, before), writer.artifacts, {"check-data": stored_params(config)})
        writer.metrics.update({"passed": int(not refused), "refused": ", ".join(refused), "windows_before": len(before)})
        writer.metrics.update({name: value for name, value in statistics["figures"].items() if value is not None})
    for check in checks:
        if not check.passed and (check.accepted or config.on_refusal == "continue"):
            logger.warning("%s: %s", "accepted" if check.accepted else "REFUSED", check.told())
    return _ended(writer.result(), config)


def _ended(result: StepResult, config: CheckDataConfig) -> StepResult:
    """The result, unless the window is refused and that ends the step."""
    if result.metrics["passed"] or config.on_refusal == "continue":
        return result
    refusals = read_json(result.path / VERDICT_NAME, CheckVerdict, "a verdict", step="check-data")["refusals"]
    raise ArtifactError(
        f"the window is refused: {'; '.join(refusals)}; see {result.path / 'report.html'}. "
        "What is known and meant to be so passes with --overwrite and --accept with the names in brackets (in a pipeline with --overwrite "
        "--set check-data.accept=NAME,...)"
    )


def _made_from(earlier: Sequence[Path]) -> dict[str, Artifact | str]:
    """What the verdict depends on beside the dataset.

    Raises:
        ArtifactError: a path is neither a check's artifact nor a file.
    """
    found: dict[str, Artifact | str] = {}
    for number, path in enumerate(earlier, 1):
        if path.is_file():
            [found[f"earlier:{number}"]] = sha256_files([path])
        else:
            found[f"earlier:{number}"] = open_artifact(path, step="check-data").digest
    return found


def read_window(path: Path) -> WindowContents:
    """Reads what is to be known of a dataset.

    Raises:
        ArtifactError: it has no training users, or its catalogue is not in order.
    """
    dataset = Dataset(path)
    kinds = dataset.inputs.get(BEHAVIOR)
    histories = dataset.histories(times=True, inputs=[BEHAVIOR] if kinds else [], user_ids=True)
    table = pq.read_table(path / "items.parquet", columns=["category_id", "count"])
    categories = table["category_id"].combine_chunks()
    neutral: Any = "" if pa.types.is_string(categories.type) or pa.types.is_large_string(categories.type) else 0
    category_ids = categories.fill_null(neutral).to_numpy(zero_copy_only=False)
    items = dataset.items()
    return WindowContents(
        meta=dataset.meta,
        item_rows=histories.item_rows,
        row_splits=histories.row_splits,
        times=histories.times,
        kinds=histories.behaviors,
        kind_names=tuple(kinds["values"]) if kinds else (),
        user_ids=histories.user_ids,
        item_ids=items.item_ids,
        item_counts=np.concatenate([np.zeros(1, np.int64), table["count"].to_numpy()]),
        category_rows=items.category_rows,
        category_ids=np.concatenate([np.asarray([neutral], dtype=category_ids.dtype), category_ids]),
    )
