import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.task_log import RUN_SIGN_VARIABLE

ROOT = Path(__file__).parents[2]


def python(code: str, **environment: str) -> subprocess.Popen[str]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen([sys.executable, "-c", code], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_everything_is_copied_even_from_other_processes_and_a_killed_one(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "step.log"
    code = f"""
import os, pathlib, signal, sys
from components.task_log import tee_output
with tee_output(pathlib.Path({str(log)!r})):
    print("from python", flush=True)
    os.system("echo from a library >&2")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    process = python(code)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert output.splitlines() == ["from python", "from a library"]
    assert log.read_text() == output


def test_output_goes_back_to_where_it_was(tmp_path: Path) -> None:
    code = f"""
import pathlib
from components.task_log import tee_output
with tee_output(pathlib.Path({str(tmp_path / "step.log")!r})):
    print("inside")
print("outside")
"""
    output, _ = python(code).communicate(timeout=60)
    assert output.splitlines() == ["inside", "outside"]
    assert (tmp_path / "step.log").read_text() == "inside\n"


@pytest.mark.parametrize("end", ["the runner is killed", "the sign is taken away"])
def test_a_task_ends_with_its_run(tmp_path: Path, end: str) -> None:
    runner = subprocess.Popen(["sleep", "600"])
    sign = tmp_path / "run-sign"
    sign.write_text(str(runner.pid))
    task = python(
        "import time; from components.task_log import follow_runner; follow_runner(); print('up', flush=True); time.sleep(600)",
        **{RUN_SIGN_VARIABLE: str(sign)},
    )
    assert task.stdout is not None
    assert task.stdout.readline() == "up\n"
    assert task.poll() is None
    if end == "the sign is taken away":
        sign.unlink()
        assert task.wait(timeout=60) == 1
    runner.kill()
    runner.wait()
    assert task.wait(timeout=60) == 1
    task.stdout.close()


def test_without_a_runner_nothing_watches() -> None:
    task = python("from components.task_log import follow_runner; follow_runner(); import threading; print(threading.active_count())")
    assert task.communicate(timeout=60)[0] == "1\n"
