"""Runs a pipeline here, with kfp's local runner and the answers to its traps.

One task after the other, each in a process of its own; artifacts, logs, timings and the summary in one run directory, which can be resumed.
"""

import logging
import os
import re
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import nann
from components.run_end import tell_run_end
from components.task_log import RUN_SIGN_VARIABLE
from data_prep.opening import read_json_lines
from nann.digests import code_digest
from nann.errors import NannError
from nann.reporting.run_summary import TIMINGS_NAME, StepEntry
from nann.steps.table import IN_SERVICE, NAMES_OF, load_object
from pipelines.compilation import DAGS
from pipelines.containers import container_runner
from pipelines.parameters import struct_parameters
from pipelines.run_log import RunLog
from pipelines.runs import RunError

TAIL_LINES = 20


class StepError(NannError):
    """A step of a local run failed.

    Attributes:
        step: its name.
        log: its log file.
        tail: the last lines of it.
        explained: whether the step itself gave a one-line reason, which is then in the message.
    """

    def __init__(self, step: str, log: Path, tail: list[str]) -> None:
        reason, self.explained = _reason(tail)
        super().__init__(f"step {step} failed: {reason}; the whole log is {log}")
        self.step = step
        self.log = log
        self.tail = tail


def run_locally(
    *,
    inputs: Sequence[Path],
    run_dir: Path,
    configs: Mapping[str, BaseModel],
    start_from: str = "",
    overwrite: bool = False,
    show: Callable[[str], None] = lambda line: None,
    everything: bool = False,
    runner: str = "process",
    image: str = "",
    pipeline: str = "training",
    service: str = "",
) -> list[dict[str, Any]]:
    """Runs the whole DAG and returns one entry per step, as in ``steps.jsonl``.

    Args:
        inputs: the logs to convert.
        run_dir: where artifacts, logs and timings go; what is up to date there is kept.
        configs: step name -> its config.
        start_from: take the artifacts of the steps before this one as they are, and run anew from here; "": keep what is up to date.
        overwrite: replace artifacts that were made with other settings.
        show: called with every line of the steps' logs, as it comes.
        everything: also show what kfp itself prints.
        runner: "process", every task a process of this Python, or "docker", every task in a container.
        image: with "docker", the image to run all tasks in; "": the one the components name.
        pipeline: "training" or "retraining".
        service: with "retraining", directory or URL of the versions in service.

    Raises:
        StepError: a step failed.
        EngineError: with "docker", there is no container engine, or not the image.
    """
    run_dir = run_dir.absolute()
    names = NAMES_OF[pipeline]
    (run_dir / "logs").mkdir(parents=True, exist_ok=True)
    timings = run_dir / TIMINGS_NAME
    begin = timings.stat().st_size if timings.is_file() else 0
    arguments = {
        "inputs": [str(path.absolute()) for path in inputs],
        "run_dir": str(run_dir),
        "start_from": start_from,
        "overwrite": overwrite,
        "input_digest": input_fingerprint(inputs),
        "code_digest": code_digest(),
        **struct_parameters(pipeline, configs),
        **({"service": service if "://" in service else str(Path(service).absolute())} if pipeline == "retraining" else {}),
    }
    with ExitStack() as stack:
        log = stack.enter_context(RunLog(run_dir / "logs" / "pipeline.log", show=show, everything=everything))
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nann-run-")))
        interruption = stack.enter_context(_interruption(temporary / "run-sign"))
        stack.enter_context(_kfp_surroundings(temporary))
        from kfp import local

        dag = load_object(DAGS[pipeline])
        local.init(
            runner=stack.enter_context(_task_runner(runner, run_dir, inputs, image, service, create=_creates(configs))),
            pipeline_root=str(run_dir / "kfp"),
            workspace_root=str(temporary / "workspace"),
        )
        stack.enter_context(redirect_stdout(log))
        try:
            dag(**arguments)
        except (RuntimeError, KeyboardInterrupt, SystemExit) as error:
            if interruption or not isinstance(error, RuntimeError):  # whatever kfp made of it, and its exit task may not have run
                tell_run_end(os.devnull, run_dir=str(run_dir), steps=names, state="CANCELED", error="interrupted")
                raise (interruption[0] if interruption else error) from None
            log.flush()
            if (failed := _step_error(str(error), run_dir / "logs")) is None:
                raise
            raise failed from error
    return read_timings(timings, begin)


def _step_error(message: str, logs: Path) -> StepError | None:
    """What kfp says of a failed task as an error of the step, with the end of its log; None where it names no step."""
    failed = _failed_step(message)
    if failed is None:
        return None
    path = logs / f"{failed}.log"
    if not path.is_file():  # it failed before its own log was opened
        path = logs / "pipeline.log"
    return StepError(failed, path, _tail(path))


@contextmanager
def _interruption(sign: Path) -> Iterator[list[BaseException]]:
    """Keeps the sign that the run goes on, which tasks look for; SIGINT and SIGTERM take it away, so that the running step ends too.

    Python drops an exception that a signal raises inside a finaliser; then the end of the step ends the run.

    Returns:
        What the signal raised, empty before. Only the main thread can be interrupted.
    """
    raised: list[BaseException] = []

    def interrupt(number: int, _frame: object) -> None:
        sign.unlink(missing_ok=True)
        raised.append(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))
        raise raised[-1]

    sign.write_text(str(os.getpid()), encoding="ascii")
    os.environ[RUN_SIGN_VARIABLE] = str(sign)
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        yield raised
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        del os.environ[RUN_SIGN_VARIABLE]


@contextmanager
def _task_runner(kind: str, run_dir: Path, inputs: Sequence[Path], image: str, service: str, *, create: bool) -> Iterator[Any]:
    from kfp import local

    if kind == "process":
        yield local.SubprocessRunner(use_venv=False)
        return
    mounts = {path.absolute(): "ro" for path in inputs if not path.absolute().is_relative_to(run_dir)}
    if service and "://" not in service:
        if create:  # only what is there can be mounted
            Path(service).mkdir(parents=True, exist_ok=True)
        elif not Path(service).is_dir():
            raise RunError(f"there is no service in {service}; give the path of one, or make one there with --set in-service.create=true")
        mounts[Path(service).absolute()] = "rw"
    with container_runner({**mounts, run_dir: "rw"}, image=image) as runner:
        yield runner


def _creates(configs: Mapping[str, BaseModel]) -> bool:
    """Whether the run may make its service."""
    return bool(getattr(configs.get(IN_SERVICE.name), "create", False))


def input_fingerprint(inputs: Sequence[Path]) -> str:
    """Names, sizes and modification times of the logs: cheap, and enough to tell a cache that the input changed."""
    return "; ".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in inputs)


def read_timings(path: Path, begin: int = 0) -> list[dict[str, Any]]:
    """Entries of a ``steps.jsonl`` from byte `begin` on; a line cut off by a kill is left out."""
    wanted = {"step", "status", "seconds", "reused", "metrics"}
    return [entry for entry in read_json_lines(path, StepEntry, begin=begin) if entry is not None and wanted <= entry.keys()]


@contextmanager
def _kfp_surroundings(temporary: Path) -> Iterator[None]:
    """What kfp's local runner needs around it, and what it leaves changed, put back.

    - It replaces "python3" in every argument of a task, paths included, by `sys.executable`; with "python3" there, and the directory of
      the real interpreter first in PATH, the replacement changes nothing.
    - Tasks import our packages from this source tree, installed or not.
    - Every task leaves a temporary directory behind.
    - The root logger and `print` may stay changed after a failure.
    """
    import builtins

    environment, executable, print_function = dict(os.environ), sys.executable, builtins.print
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    interpreter = Path(executable)
    source_root = str(Path(nann.__file__).parent.parent)
    if (interpreter.parent / "python3").exists():
        os.environ["PATH"] = f"{interpreter.parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
        sys.executable = "python3"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source_root, environment.get("PYTHONPATH", "")]))
    os.environ["PYTHONUNBUFFERED"] = "1"
    os.environ["TMPDIR"] = str(temporary)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        sys.executable = executable
        builtins.print = print_function
        root.setLevel(level)
        root.handlers[:] = handlers


def _failed_step(message: str) -> str | None:
    found = re.search(r"Inner task failed: .*?'([\w-]+)'", re.sub(r"\x1b\[[0-9;]*m", "", message))
    return found.group(1) if found else None


def _tail(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-TAIL_LINES:]


def _reason(tail: list[str]) -> tuple[str, bool]:
    """The operator's line (and True) when there is one, else the last line of a traceback, else that there was no word."""
    for line in reversed(tail):
        if " error: " in line:
            return line.partition(" error: ")[2], True
    for line in reversed(tail):
        if re.match(r"([\w.]+(Error|Exception|Interrupt|Exit)|[A-Z]\w+)(: |$)", line):
            return line.strip(), False
    return "its process ended without giving a reason (killed, or out of memory?)", False
