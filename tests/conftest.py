"""Fixtures shared by all packages: a small generated log, the dataset converted from it, and processes that start quickly."""

import json
import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import logging
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

REPOSITORY = Path(__file__).resolve().parent.parent
LEVELS = {name: logging.getLogger(name).level for name in ("", "nann", "data_prep", "ops", "components", "pipelines", "tensorflow")}


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Takes back what a command set up, in a test or a shared fixture: the next test would log, or not, as that command was told."""
    handlers = list(logging.getLogger().handlers)
    _set_levels()
    yield
    _set_levels()
    logging.getLogger().handlers[:] = handlers


def _set_levels() -> None:
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def nothing_waits_for_the_disk() -> Iterator[None]:
    """Nothing is read after a loss of power here, and artifacts are many: what syncs a file only has to hand over one that is open."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory of the real logs; the test is skipped where they are not."""
    directory = Path(os.environ.get("NANN_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"real logs are not here: no directory {directory} (NANN_SHARED_DATA names another)")
    return directory


@pytest.fixture(scope="session")
def small_log(tmp_path_factory) -> Path:
    """A generated log: 600 users, 500 items, planted structure."""
    from data_prep.config import GenerateConfig
    from data_prep.generate import generate_log

    path = tmp_path_factory.mktemp("log") / "log.csv"
    generate_log(path, GenerateConfig(users=600, items=500, categories=20, events_per_user=15, seed=5))
    return path


@pytest.fixture(scope="session")
def small_dataset(small_log, tmp_path_factory) -> Path:
    """The `user` layout dataset of `small_log`."""
    from data_prep.config import ConvertConfig
    from nann.steps.convert import convert

    path = tmp_path_factory.mktemp("dataset") / "dataset"
    convert(inputs=[small_log], dataset=path, config=ConvertConfig(shards=2, max_length=20))
    return path


class ForkServer:
    """Python programs in processes of their own that have TensorFlow imported and nothing more (see `fork_server.py`).

    Args:
        directory: where the programs' output lies.
    """

    def __init__(self, directory: Path) -> None:
        self._directory, self._count = directory, 0
        command = [sys.executable, str(Path(__file__).with_name("fork_server.py"))]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request: Any) -> dict[str, Any]:
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer: dict[str, Any] = json.loads(self._server.stdout.readline())
        return answer

    def start(self, code: str, *arguments: str, environment: Mapping[str, str] | None = None) -> "Forked":
        """Begins ``python -c code arguments...`` in the sources' directory; the environment is added to this one."""
        self._count += 1
        output = {name: str(self._directory / f"{self._count}.{name}") for name in ("stdout", "stderr")}
        variables = {**os.environ, **(environment or {})}
        pid = self.ask(code=code, arguments=arguments, environment=variables, directory=str(REPOSITORY), **output)["pid"]
        return Forked(self, pid, **{name: Path(path) for name, path in output.items()})

    def run(self, code: str, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        return self.start(code, *arguments, environment=environment).finish()

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


@dataclass
class Forked:
    """A program that a `ForkServer` began.

    Attributes:
        returncode: its exit code, negative a signal; None before it was seen to have ended.
    """

    server: ForkServer
    pid: int
    stdout: Path
    stderr: Path
    returncode: int | None = None

    def wait(self, seconds: float) -> int | None:
        """The exit code; None if it still runs after that time."""
        if self.returncode is None:
            self.returncode = self.server.ask(pid=self.pid, seconds=seconds)["returncode"]
        return self.returncode

    def kill(self) -> int:
        """Ends it; the exit code, which is another one than that of a kill if it had ended before."""
        if self.wait(0) is None:
            os.kill(self.pid, signal.SIGKILL)
        return self.wait(60)

    def finish(self, seconds: float = 240) -> subprocess.CompletedProcess[str]:
        """Waits for its end."""
        if self.wait(seconds) is None:
            self.kill()
            pytest.fail(f"a process did not end within {seconds} s: {self.stderr.read_text()[-3000:]}")
        return subprocess.CompletedProcess([], self.returncode, self.stdout.read_text(), self.stderr.read_text())


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    server = ForkServer(tmp_path_factory.mktemp("forks"))
    yield server
    server.close()
