"""A fault at every call that changes files: a reader sees the old or the new version, whole, and the same command mends the rest."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ERRORS = "EIO,EACCES,EINTR,+ENOSPC,+EROFS"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("faults are injected by a library that is preloaded on Linux, and compiled with cc")
    path = tmp_path_factory.mktemp("faults") / "faults.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", path, HERE / "faults.c", "-ldl"], check=True)
    return path


def drive(library: Path, directory: Path, scenario: str, faults: str, stride: int = 1) -> dict[str, dict[str, object]]:
    """Fault -> how many were tried, and what readers saw."""
    words = [sys.executable, HERE / "drive.py", directory, scenario, faults, stride]
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    done = subprocess.run([str(word) for word in words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    return found["faults"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory in memory where there is one: syncing takes no time there."""
    memory = Path("/dev/shm")
    return Path(shutil.copytree(tmp_path, memory / f"nann-{os.getpid()}-{tmp_path.name}")) if os.access(memory, os.W_OK) else tmp_path
