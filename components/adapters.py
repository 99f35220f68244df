"""What every component does around its step function: paths from artifacts, logs kept, metrics and summary logged.

With a `run_dir` the artifact lies in the run directory, whoever runs the task: a killed run resumes there, and a step can be run again
by hand. Without one it lies where kfp wants it. A run directory holds besides the artifacts ``steps.jsonl`` (one JSON object per
finished step: ``step``, ``seconds``, ``status`` "done" or "failed", ``reused``, ``metrics``, and ``reason`` when it failed) and
``logs/STEP.log``, and ``logs/STEP.yaml`` with the options it ran with, which its command takes as ``--config``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from components.configs import make_config
from components.errors import operator_message
from components.output import flatten_metrics, hidden_start_up_notes, markdown_summary, set_up_logging
from components.task_log import RUN_SIGN_VARIABLE, follow_runner, tee_output
from data_prep.durable import write_file
from nann.artifacts import MANIFEST_NAME, StepResult, open_artifact
from nann.digests import code_digest as own_code_digest
from nann.errors import ArtifactError
from nann.placing import made_anew
from nann.reporting.run_summary import TIMINGS_NAME
from nann.reporting.step_page import page_of
from nann.steps.table import IN_SERVICE, STEP_BY_NAME, STEP_ORDER, Step

logger = logging.getLogger(__name__)


def run_step(name: str, given: Mapping[str, Any], *, function: Callable[..., StepResult] | None = None) -> str:
    """Runs one step inside a kfp task.

    Args:
        name: the step, as on the command line.
        given: the arguments of its component by name, as ``locals()`` has them in its body; the table of steps says what becomes of them:

            - artifacts that the step reads, and the one it writes, whose `uri` is set to the run directory's when there is one;
            - ``metrics`` (kfp Metrics: every finite number of the step is logged), ``summary`` (kfp Markdown), and ``page`` (kfp HTML, may
              be absent: the artifact's own ``report.html``, or its manifest as a page);
            - ``config``: field -> value of the step's config; missing fields take their defaults;
            - arguments of the step's own options, such as ``inputs`` or ``service``;
            - ``in_service``: where the step goes on from the version in service, the artifact with it; None: it begins anew;
            - ``run_dir``: durable directory of the run, or "";
            - ``start_from``: steps before this one take their artifact as it lies in ``run_dir``, this one and those after it run anew;
              "": every step whose artifact is up to date is kept;
            - ``overwrite``: replace artifacts made with other settings;
            - ``code_digest``: the digest of the sources the run was made for; a task whose own sources differ fails. "": any will do.
        function: does the work in place of the step function, with the same arguments.

    Returns:
        sha256 (hex) of the artifact's manifest, an input of the tasks that follow so that no cache mistakes other contents for it.

    Raises:
        SystemExit: the step failed; its log has the one-line reason when it is an operator's to act on, else the traceback.
    """
    step, output = STEP_BY_NAME[name], given[STEP_BY_NAME[name].writes]
    run = Path(given["run_dir"]) if given["run_dir"] else None
    if run is not None:
        output.uri = str(run / step.writes)
    follow_runner()
    with tee_output(run / "logs" / f"{name}.log") if run is not None else nullcontext():
        set_up_logging(verbose=False, quiet=False)
        begin = time.perf_counter()
        try:
            logger.info("step %s starts", name)
            _require_code(given["code_digest"])
            arguments, config = _arguments(step, given)
            if step.config:
                arguments["config"] = make_config(name, config)
                _record_options(run, name, arguments["config"])
            result = _result(step, Path(output.path), arguments, given["start_from"], given["overwrite"], function)
        except Exception as error:
            message = operator_message(error)
            reason = message or f"{type(error).__name__}: {' '.join(str(error).split())}"
            failure = {"step": name, "seconds": _since(begin), "status": "failed", "reused": False, "metrics": {}, "reason": reason}
            _append_timing(run, failure)
            if message is None:
                logger.exception("a bug, or something this code does not expect:")
            else:
                logger.error("error: %s", message)
            logger.info("step %s failed after %.1f s", name, _since(begin))
            raise SystemExit(1) from None
        seconds = _since(begin)
        _append_timing(run, {"step": name, "seconds": seconds, "status": "done", "reused": result.reused, "metrics": result.metrics})
        metrics = given["metrics"]
        log_metrics(metrics, result.metrics)
        # kfp keeps logged metrics with the run; its local cache takes an artifact without a file for lost and runs the task again.
        Path(metrics.path).write_text(json.dumps(metrics.metadata, sort_keys=True) + "\n", encoding="utf-8")
        summary = markdown_summary(name, str(result.path), result.metrics, reused=result.reused, seconds=seconds)
        Path(given["summary"].path).write_text(summary)
        if given.get("page") is not None:
            Path(given["page"].path).write_text(page_of(result.path), encoding="utf-8")
        logger.info("step %s %s after %.1f s", name, "was up to date" if result.reused else "done", seconds)
        return manifest_digest(result.path)


def log_metrics(metrics: Any, found: Mapping[str, Any]) -> None:
    """Logs every finite number of a step in a kfp Metrics."""
    for name, value in flatten_metrics(found):
        if isinstance(value, (int, float)) and math.isfinite(value):
            metrics.log_metric(name, float(value))


def manifest_digest(artifact: Path) -> str:
    """sha256 (hex) of an artifact's manifest."""
    return hashlib.sha256((artifact / MANIFEST_NAME).read_bytes()).hexdigest()


def _arguments(step: Step, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of the step function, but config, output and overwrite; and the fields of its config."""
    arguments: dict[str, Any] = {artifact: Path(given[artifact].path) for artifact in step.reads}
    config = dict(given.get("config", {}))
    for option in step.options:
        if option.argument in given:
            value = given[option.argument]
            arguments[option.argument] = [Path(place) for place in value] if option.many else value
    if step.continues and given.get(IN_SERVICE.writes) is not None:
        from nann.steps.in_service import taken_parts

        parts = taken_parts(Path(given[IN_SERVICE.writes].path))
        many = {option.argument for option in step.options if option.many}
        for name, part in step.continues:
            if part in parts and step.takes(name):
                arguments[name] = [parts[part]] if name in many else parts[part]
            elif part in parts:
                config[name] = str(parts[part])
    return arguments, config


def _require_code(expected: str) -> None:
    """Refuses to work with other sources than the run was made for: results would be filed under the wrong code.

    Tasks of the local process runner have the sources of the run by their nature, even if these are edited while it goes on.
    """
    if expected and RUN_SIGN_VARIABLE not in os.environ and expected != own_code_digest():
        raise ArtifactError(
            f"this task has code {own_code_digest()[:12]}, but the run was made for code {expected[:12]}; "
            "build the image of these sources (`make images`), or compile the pipeline from the sources of the image"
        )


def _result(
    step: Step,
    path: Path,
    arguments: Mapping[str, Any],
    start_from: str,
    overwrite: bool,
    function: Callable[..., StepResult] | None,
) -> StepResult:
    anew = bool(start_from) and STEP_ORDER.index(step.name) >= STEP_ORDER.index(start_from)
    if start_from and not anew:
        kept = open_artifact(path, step=step.name)
        return StepResult(path=kept.path, metrics=kept.metrics, reused=True)
    if function is None:
        with hidden_start_up_notes():
            function = step.load_function()
    with made_anew() if anew else nullcontext():
        return function(**arguments, **{step.writes: path}, overwrite=overwrite or anew)


def _record_options(run: Path | None, name: str, config: BaseModel) -> None:
    """Writes what the step is about to run with, so that a failed step can be run by hand as it was."""
    import yaml

    if run is not None:
        options = config.model_dump(mode="json", exclude_none=True)
        write_file(run / "logs" / f"{name}.yaml", yaml.safe_dump({name: options}))


def _append_timing(run: Path | None, entry: Mapping[str, Any]) -> None:
    if run is not None:
        with open(run / TIMINGS_NAME, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def _since(begin: float) -> float:
    return round(time.perf_counter() - begin, 3)
