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
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from components.configs import make_config
from components.errors import operator_message
from components.output import flatten_metrics, hidden_start_up_notes, markdown_summary, set_up_logging
from components.steps import STEP_BY_NAME, STEP_ORDER, Step
from components.task_log import RUN_SIGN_VARIABLE, follow_runner, tee_output
from nann.artifacts import MANIFEST_NAME, StepResult, open_artifact
from nann.artifacts import code_digest as own_code_digest
from nann.errors import ArtifactError
from nann.reporting.run_summary import TIMINGS_NAME
from nann.reporting.step_page import page_of

logger = logging.getLogger(__name__)


def run_step(
    name: str,
    *,
    reads: Mapping[str, str],
    output: Any,
    metrics: Any,
    summary: Any,
    config: Mapping[str, Any],
    run_dir: str,
    start_from: str,
    overwrite: bool,
    code_digest: str = "",
    raw_inputs: Sequence[str] = (),
    page: Any = None,
    in_service: str = "",
    service: str = "",
    function: Callable[..., StepResult] | None = None,
) -> str:
    """Runs one step inside a kfp task.

    Args:
        name: the step, as on the command line.
        reads: artifact name -> its directory.
        output: the kfp output artifact; its `uri` is set to the run directory's when there is one.
        metrics: kfp Metrics; every finite number of the step is logged.
        summary: kfp Markdown.
        config: field -> value of the step's config; missing fields take their defaults.
        run_dir: durable directory of the run, or "".
        start_from: steps before this one take their artifact as it lies in `run_dir`, this one and those after it run anew; "": every
            step whose artifact is up to date is kept.
        overwrite: replace artifacts made with other settings.
        code_digest: the digest of the sources the run was made for; a task whose own sources differ fails. "": any will do.
        raw_inputs: paths of the logs, for `convert`.
        page: kfp HTML: the artifact's own ``report.html``, or its manifest as a page.
        in_service: artifact of `in-service`, for `convert` and `train`, which go on from what is in it; "": they begin anew.
        service: directory or URL of the service, for `in-service` and `publish`.
        function: does the work in place of the step function, with the same arguments.

    Returns:
        sha256 (hex) of the artifact's manifest, an input of the tasks that follow so that no cache mistakes other contents for it.

    Raises:
        SystemExit: the step failed; its log has the one-line reason when it is an operator's to act on, else the traceback.
    """
    step = STEP_BY_NAME[name]
    run = Path(run_dir) if run_dir else None
    if run is not None:
        output.uri = str(run / step.writes)
    follow_runner()
    with tee_output(run / "logs" / f"{name}.log") if run is not None else nullcontext():
        set_up_logging(verbose=False, quiet=False)
        begin = time.perf_counter()
        try:
            logger.info("step %s starts", name)
            _require_code(code_digest)
            given: dict[str, Any] = {"inputs": [Path(place) for place in raw_inputs]} if name == "convert" else {}
            if service:
                given["service"] = service
            if in_service:
                config, given = _continued(name, Path(in_service), config, given)
            _record_options(run, step, config)
            result = _result(step, Path(output.path), reads, config, given, run, start_from, overwrite, function)
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
        for metric, value in flatten_metrics(result.metrics):
            if isinstance(value, (int, float)) and math.isfinite(value):
                metrics.log_metric(metric, float(value))
        # kfp keeps logged metrics with the run; its local cache takes an artifact without a file for lost and runs the task again.
        Path(metrics.path).write_text(json.dumps(metrics.metadata, sort_keys=True) + "\n", encoding="utf-8")
        Path(summary.path).write_text(markdown_summary(name, str(result.path), result.metrics, reused=result.reused, seconds=seconds))
        if page is not None:
            Path(page.path).write_text(page_of(result.path), encoding="utf-8")
        logger.info("step %s %s after %.1f s", name, "was up to date" if result.reused else "done", seconds)
        return hashlib.sha256((result.path / MANIFEST_NAME).read_bytes()).hexdigest()


def _continued(
    name: str, in_service: Path, config: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Config and further arguments of `convert` or `train` that goes on from what is in service, if anything is."""
    if json.loads((in_service / "version.json").read_text(encoding="utf-8"))["version"] is None:
        return config, dict(given)
    if name == "convert":
        return {**config, "base": str(in_service / "dataset")}, dict(given)
    return config, {**given, "warm_start": in_service / "model"}


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
    reads: Mapping[str, str],
    config: Mapping[str, Any],
    given: Mapping[str, Any],
    run: Path | None,
    start_from: str,
    overwrite: bool,
    function: Callable[..., StepResult] | None,
) -> StepResult:
    anew = bool(start_from) and STEP_ORDER.index(step.name) >= STEP_ORDER.index(start_from)
    if start_from and not anew:
        kept = open_artifact(path, step=step.name)
        return StepResult(path=kept.path, metrics=kept.metrics, reused=True)
    arguments: dict[str, Any] = {artifact: Path(place) for artifact, place in reads.items()} | dict(given)
    arguments[step.writes] = path
    if step.name == "report":
        timings = run / TIMINGS_NAME if run is not None else None
        arguments["timings"] = timings if timings is not None and timings.is_file() else None
    if step.config:
        arguments["config"] = make_config(step.name, config)
    if function is None:
        with hidden_start_up_notes():
            function = step.load_function()
    with _set_aside(path) if anew else nullcontext():
        return function(**arguments, overwrite=overwrite or anew)


@contextmanager
def _set_aside(path: Path) -> Iterator[None]:
    """Moves an artifact out of the way so that its step runs anew; puts it back when the step fails."""
    aside = path.with_name(f".{path.name}.aside")
    if aside.exists() and not path.exists():  # an earlier attempt was killed
        aside.rename(path)
    shutil.rmtree(aside, ignore_errors=True)
    if path.exists():
        path.rename(aside)
    try:
        yield
    except BaseException:
        if aside.exists() and not path.exists():
            aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _record_options(run: Path | None, step: Step, config: Mapping[str, Any]) -> None:
    """Writes what the step is about to run with, so that a failed step can be run by hand as it was."""
    import yaml

    if run is not None and step.config:
        options = make_config(step.name, config).model_dump(mode="json", exclude_none=True)
        (run / "logs" / f"{step.name}.yaml").write_text(yaml.safe_dump({step.name: options}), encoding="utf-8")


def _append_timing(run: Path | None, entry: Mapping[str, Any]) -> None:
    if run is not None:
        with open(run / TIMINGS_NAME, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def _since(begin: float) -> float:
    return round(time.perf_counter() - begin, 3)
