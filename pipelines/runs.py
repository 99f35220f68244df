"""Run directories: what is in one before the DAG starts, so that a later call can resume it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from data_prep.config import GenerateConfig
from data_prep.durable import write_file
from data_prep.opening import read_json
from nann.artifacts import MANIFEST_NAME
from nann.differences import difference_text
from nann.errors import NannError
from nann.forms import RunInputs
from nann.reporting.run_summary import SUMMARY_NAME, TIMINGS_NAME
from nann.steps.table import STEPS_OF

INPUTS_NAME = "inputs.json"
CONFIG_NAME = "config.yaml"
OWN_NAMES = (INPUTS_NAME, CONFIG_NAME, TIMINGS_NAME, SUMMARY_NAME)


class RunError(NannError):
    """A run directory does not hold what the call needs."""


def new_run_dir(parent: Path) -> Path:
    """A directory name that says when the run began, to the second."""
    return parent / datetime.now().strftime("%Y%m%d-%H%M%S")


def check_inputs(inputs: Sequence[Path]) -> None:
    """Refuses logs that are no readable files, before anything starts."""
    for path in inputs:
        with open(path, "rb"):
            pass


def check_earlier_artifacts(run_dir: Path, start_from: str, pipeline: str = "training") -> None:
    """Refuses a start in the middle when an artifact of an earlier step is not there (it is verified completely by its task).

    Raises:
        RunError: names the artifact and the step to start from instead.
    """
    for step in STEPS_OF[pipeline]:
        if step.name == start_from:
            return
        if not (run_dir / step.writes / MANIFEST_NAME).is_file():
            raise RunError(f"{run_dir / step.writes} is not there, so the run cannot start from {start_from}; use --start-from {step.name}")


def recorded_inputs(run_dir: Path) -> list[Path]:
    """The logs an earlier call in this directory ran on; empty when there was none."""
    record = run_dir / INPUTS_NAME
    if not record.is_file():
        return []
    noted = read_json(record, RunInputs, "the list of a run's logs", remedy="name the logs with --input", error=RunError)
    return [Path(path) for path in noted["inputs"]]


def require_ours(run_dir: Path) -> None:
    """Refuses a directory with files of the names that a run writes, but not of a run.

    Raises:
        RunError: names the file.
    """
    if run_dir.is_symlink() and not run_dir.exists():
        raise RunError(f"--run-dir must be a directory, but {run_dir} is a link to nothing; give another path")
    try:
        inputs = json.loads((run_dir / INPUTS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        inputs = None
    if isinstance(inputs, dict) and "inputs" in inputs:
        return
    for name in OWN_NAMES:
        if os.path.lexists(run_dir / name):
            raise RunError(f"{run_dir / name} is not of a run, and is not replaced; move it away, or give another --run-dir")


def record(run_dir: Path, inputs: Sequence[Path], configs: Mapping[str, BaseModel]) -> None:
    """Writes ``inputs.json`` and ``config.yaml`` (every option of every step; it can be given to --config)."""
    import yaml

    run_dir.mkdir(parents=True, exist_ok=True)
    write_file(run_dir / INPUTS_NAME, json.dumps({"inputs": [str(path.absolute()) for path in inputs]}) + "\n")
    sections = {name: config.model_dump(mode="json", exclude_none=True) for name, config in configs.items()}
    write_file(run_dir / CONFIG_NAME, yaml.safe_dump(sections, sort_keys=False))


def _noted_options(stamp: Path) -> dict[str, Any]:
    noted: dict[str, Any] = read_json(
        stamp, dict[str, Any], "the options of a generated log", remedy="give --overwrite, or another --run-dir", error=RunError
    )
    return noted


def generated_log(run_dir: Path, config: GenerateConfig, *, overwrite: bool) -> Path:
    """The generated log of a run: ``RUN/log.csv``, made once per config.

    Raises:
        RunError: there is one of another config, and overwrite is false.
    """
    path, stamp = run_dir / "log.csv", run_dir / "log.json"
    wanted = config.model_dump_json(indent=1) + "\n"
    if os.path.lexists(path):
        if not stamp.is_file() or path.is_symlink():
            raise RunError(
                f"{path} is no log that a run here has generated, and is not replaced; name it with --input, or give another --run-dir"
            )
        if stamp.read_text(encoding="utf-8") == wanted:
            return path
        if not overwrite:
            differing = difference_text(_noted_options(stamp), json.loads(wanted))
            raise RunError(f"{path} was generated with other settings ({differing}); give --overwrite to replace it, or another --run-dir")
        path.unlink()  # first the log, then the stamp: what has none is not ours
    from nann.steps.generate import generate

    run_dir.mkdir(parents=True, exist_ok=True)
    write_file(stamp, wanted)
    generate(output=path, config=config, overwrite=True)
    return path
