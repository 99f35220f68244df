"""A fault at every call that changes files: a reader sees the old or the new version, whole, and the same command mends the rest."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory where there is one: syncing takes no time there."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="nann-faults-", dir=memory if os.access(memory, os.W_OK) else None) as directory:
        yield Path(directory)


def run(library: Path, script: str, *words: object) -> dict[str, Any]:
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    command = [sys.executable, HERE / script, *words]
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    return found


def test_killed_at_every_call_the_old_or_the_new_version_is_there(library: Path, place: Path) -> None:
    found = run(library, "drive.py", place, "publish,rollback,overwrite", "kill", 1)
    tried = {name: faults["kill"]["tried"] for name, faults in found["faults"].items()}
    assert tried["publish"] > 80
    assert tried["rollback"] > 5
    assert tried["overwrite"] > 40
    assert {name: faults["kill"]["seen"] for name, faults in found["faults"].items()} == {
        "publish": ["2", "3"],
        "rollback": ["1", "2"],
        "overwrite": ["4", "5"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["first", "refused", "overwrite in two renames", "convert"])
def test_other_commands_killed_at_every_call(library: Path, place: Path, scenario: str) -> None:
    found = run(library, "drive.py", place, scenario, "kill", 1)["faults"][scenario]["kill"]
    assert found["tried"] > 40
    assert "" not in found["seen"]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["publish", "first", "refused", "rollback", "overwrite", "overwrite in two renames", "convert"])
def test_a_disk_that_fails_at_any_call_is_told_in_one_line(library: Path, place: Path, scenario: str) -> None:
    found = run(library, "drive.py", place, scenario, ERRORS, 1)["faults"][scenario]
    assert set(found) == set(ERRORS.split(","))
    assert all(counts["tried"] > 3 for counts in found.values())


@pytest.mark.slow
def test_every_step_tells_a_full_or_failing_disk_in_one_line(library: Path, place: Path) -> None:
    tried = run(library, "steps.py", place)["tried"]
    assert set(tried) >= {"convert", "train", "extract", "build-index", "rewrite", "evaluate", "benchmark", "gate", "publish", "report"}
