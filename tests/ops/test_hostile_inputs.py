"""Native ops with bad input: an error or the right answer, never the end of the process and never a hang."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops import scoring

pytestmark = pytest.mark.skipif(not scoring.available(), reason="the native library is not built; run `make install`")
HOSTILE = Path(__file__).parent / "hostile"
Outcomes = dict[str, dict[str, Any]]


def load(name: str) -> Any:
    """A module of the directory, which is no package."""
    sys.path.insert(0, str(HOSTILE))
    try:
        spec = importlib.util.spec_from_file_location(name, HOSTILE / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(HOSTILE))


INSTANCES, CALLS = load("instances").INSTANCES, load("calls").CALLS


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Any]:
    few = {"TF_NUM_INTRAOP_THREADS": "2", "TF_NUM_INTEROP_THREADS": "2", "MALLOC_ARENA_MAX": "2"}  # the address space is limited
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"} | few
    ran = subprocess.run([sys.executable, str(HOSTILE / "run.py")], capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("name", INSTANCES)
def test_what_once_ended_the_process(outcomes: dict[str, Outcomes], name: str) -> None:
    outcome = outcomes["instances"][name]
    assert "signal" not in outcome, outcome
    assert not outcome["outcome"].startswith("Traceback"), outcome["outcome"]
    assert re.search(INSTANCES[name][1], outcome["outcome"]), outcome


@pytest.mark.parametrize("name", CALLS)
def test_other_shapes_types_and_numbers(outcomes: dict[str, Outcomes], name: str) -> None:
    outcome = outcomes["generated"][name]
    assert "signal" not in outcome, outcome
    assert re.fullmatch(r"value: [1-9]\d* refused", outcome["outcome"]) or name in TAKES_ANYTHING, outcome


TAKES_ANYTHING = {"nann_fused_embedding_unique_with_counts"}


def test_every_op_is_called(outcomes: dict[str, Any]) -> None:
    assert sorted(outcomes["ops"]) == sorted(CALLS)
